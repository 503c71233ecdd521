"""The report as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import numpy as np

from metarl.config import to_json
from metarl.evaluation.physics import physics_differences
from metarl.evaluation.summary import Summary
from metarl.reporting.html.figures import adaptation_panels, episode_panels, learning_panels
from metarl.reporting.html.run_data import Group
from metarl.reporting.html.tables import (
    baseline_table,
    baseline_tasks,
    explained,
    family_successes_table,
    family_table,
    official_table,
    policy_table,
    seed_table,
    successes_table,
    task_table,
)
from metarl.reporting.html.videos import Pair
from metarl.reporting.table import Table, brackets, number, percent
from metarl.text import count, stage_name
from metarl.training.notices import kept_notices
from metarl.types import Json


@dataclass(frozen=True)
class Setting:
    """One setting, with each group's value."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the groups differ in it."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Section:
    """A group's part of the page."""

    name: str
    about: str
    headline: str
    families: Table
    tasks: Table
    largest_gain: float  # largest gain of a task, without its sign: the longest bar
    pairs: tuple[Pair, ...]
    no_videos: str  # reason why there are none
    notices: tuple[str, ...]  # notices of all runs, each once


def render(groups: Sequence[Group], pairs: Mapping[str, Sequence[Pair]], no_videos: Mapping[str, str]) -> str:
    """Return the report as HTML.

    ``pairs`` are the videos of each group by its name; ``no_videos`` says why a group has none.
    """
    # style and script go into the page, which then opens without a network
    folder = files("metarl.reporting.html")
    style, script, page = (
        (folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    has_success = groups[0].task_successes is not None
    return environment.from_string(page).render(
        title=f"{groups[0].config.label}: {', '.join(group.name for group in groups)}",
        suite=groups[0].config.label,
        style=style,
        script=script,
        has_success=has_success,
        num_tasks=len(groups[0].tasks),
        episodes=groups[0].runs[0].measured.evaluation.returns.shape[2],
        adaptation_episodes=count(groups[0].adaptation_episodes, "episode"),
        many_seeds=any(len(group.runs) > 1 for group in groups),
        single_runs=any(len(group.runs) == 1 for group in groups),
        sections=[
            section(group, pairs.get(group.name, ()), no_videos.get(group.name, "")) for group in groups
        ],
        policies=policy_table(groups),
        successes=successes_table(groups),
        family_successes=family_successes_table(groups),
        seeds=seed_table(groups),
        baselines=baseline_table(groups),
        baseline_tasks=baseline_tasks(groups),
        official=official_table(groups),
        learning=learning_panels(groups),
        adaptation=adaptation_panels(groups) + episode_panels(groups),
        explained=explained(groups),
        settings=settings([setting_values(group) for group in groups]),
        versions=settings([version_values(group) for group in groups]),
    )


def section(group: Group, pairs: Sequence[Pair], no_videos: str) -> Section:
    """Return a group's part of the page."""
    values = group.task_returns if group.task_successes is None else group.task_successes
    # by success where it is known, or else by return
    gains = values[:, -1] - values[:, 0]
    return Section(
        name=group.name,
        about=about(group),
        headline=headline(group),
        families=family_table(group),
        tasks=task_table(group),
        largest_gain=float(np.abs(gains).max()),
        pairs=tuple(pairs),
        no_videos=no_videos,
        notices=tuple(
            dict.fromkeys(
                sentence
                for about in (run.measured.about for run in group.runs)
                for sentence in [*kept_notices(about), *physics_differences(about.get("physics"))]
            )
        ),
    )


def about(group: Group) -> str:
    """Describe a group's runs in a line."""
    seeds = ", ".join(str(seed) for seed in group.seeds)
    return (
        f"{group.config.agent.kind}, {'seed' if len(group.seeds) == 1 else 'seeds'} {seeds}, "
        f"{_span([run.iteration for run in group.runs], 'iteration')}, "
        f"{_span([run.env_steps for run in group.runs], 'environment step')}"
        f"{'' if len(group.seeds) == 1 else ' a seed'}"
    )


def _span(numbers: Sequence[int], noun: str) -> str:
    """Return the least and the greatest number of something, once where they are the same."""
    low, high = min(numbers), max(numbers)
    return f"{high:,} {noun}{'' if high == 1 else 's'}" if low == high else f"{low:,} to {high:,} {noun}s"


def headline(group: Group) -> str:
    """Describe results before and after adapting."""
    summary, last = group.summary, group.runs[0].measured.evaluation.adaptation_steps
    if last == 0:
        return f"{quantity(summary)} without adapting: {outcome_of(summary, 0)}."
    gains = summary.success_gains or summary.return_gains
    form = percent if summary.success_gains else number
    # one task has no interval
    interval = f" {found}" if (found := brackets(gains[last], form)) else ""
    name, before, after = quantity(summary), outcome_of(summary, 0), outcome_of(summary, last)
    unit = " points" if summary.success_gains else ""
    trial = group.trial
    sequential = trial == "sequential"
    start, what = ("in the first episode", "Experience") if sequential else ("before adapting", "Adapting")
    # the interval excludes 0
    surely = "" if gains[last].low > 0 or gains[last].high < 0 else ", so no clear change"
    return (
        f"{name}: {before} {start}, {after} {stage_name(last, trial)}. "
        f"That is a gain of {form(gains[last].mean)}{unit}{interval}{surely}. "
        f"{what} lowered the return of {percent(summary.of_return.worse[last].mean)} % of the tasks."
    )


def outcome_of(summary: Summary, step: int) -> str:
    """Return success, or else return, after ``step`` steps."""
    if summary.successes:
        return f"{percent(summary.successes[step].mean)} %"
    return number(summary.returns[step].mean)


def quantity(summary: Summary) -> str:
    """Name the first quantity of the report."""
    return "Success on held-out tasks" if summary.successes else "Return on held-out tasks"


def setting_values(group: Group) -> dict[str, str]:
    """Return a group's settings by dotted name, with every value that its runs have."""
    contents = [
        {**json.loads(json.dumps(to_json(run.config))), "name": run.folder.resolve().name}
        for run in group.runs
    ]
    each = [dict(flat("", content)) for content in contents]
    names = dict.fromkeys(name for values in each for name in values)
    return {
        name: ", ".join(dict.fromkeys(values[name] for values in each if name in values)) for name in names
    }


def version_values(group: Group) -> dict[str, str]:
    """Return the versions that saved a group's runs."""
    names = dict.fromkeys(name for run in group.runs for name in run.versions)
    return {
        name: ", ".join(sorted({str(run.versions.get(name, "unknown")) for run in group.runs}))
        for name in names
    }


def settings(values: Sequence[Mapping[str, str]]) -> list[Setting]:
    """Return groups' settings side by side; a group may lack some."""
    names = dict.fromkeys(name for group in values for name in group)
    return [Setting(name, tuple(group.get(name, "") for group in values)) for name in names]


def flat(prefix: str, value: Json) -> list[tuple[str, str]]:
    """Return nested settings by their dotted names."""
    if isinstance(value, dict):
        return [pair for name in value for pair in flat(f"{prefix}.{name}" if prefix else name, value[name])]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value))]
    return [(prefix, str(value))]
