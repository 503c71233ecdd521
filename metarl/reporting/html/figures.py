"""The curves of a report, embedded as SVG."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.intervals import Source, limits
from metarl.evaluation.statistics import RATE, Values
from metarl.evaluation.summary import Summary, summarize_seeds
from metarl.reporting.figures.curves import Line, draw_line, interval_line, measured_steps, series
from metarl.reporting.figures.style import (
    AFTER,
    BEFORE,
    PALETTE,
    TEXT,
    blank,
    label_axes,
    label_env_steps,
    svg,
)
from metarl.reporting.html.run_data import COUNTS, Group
from metarl.storage.metrics import Row
from metarl.text import stage_name

_SIZE = (3.9, 3.2)  # inches; narrow, for a telephone
LEVEL = 0.95
ENV_STEPS = ""  # axis label of environment steps, in fitting units


@dataclass(frozen=True)
class Panel:
    """A figure with its words."""

    title: str
    image: str  # SVG as a data URI
    words: str  # description for readers who cannot see it
    lines: tuple[Line, ...]


def learning_panels(groups: Sequence[Group]) -> list[Panel]:
    """Draw learning curves on held-out and training tasks."""
    panels = []
    for split, tasks in (("test", "held-out"), ("train", "training")):
        for quantity in ("success", "return"):
            lines = [line for i, group in enumerate(groups) for line in _learning(groups, i, split, quantity)]
            title = f"{quantity.capitalize()} on {tasks} tasks"
            panels += panel(title, lines, quantity, ENV_STEPS)
    return panels


def adaptation_panels(groups: Sequence[Group]) -> list[Panel]:
    """Draw held-out success and return over adaptation steps."""
    panels = []
    for quantity in ("success", "return"):
        lines = []
        for index, group in enumerate(groups):
            steps = np.arange(len(group.summary.returns)) + 0.04 * index  # side by side
            lines += _summary_lines(group.name, index, steps.tolist(), group.summary, quantity)
        along = "Episodes" if groups[0].trial == "sequential" else "Adaptation steps"
        panels += panel(f"{quantity.capitalize()} after {along.lower()}", lines, quantity, along)
    return panels


def episode_panels(groups: Sequence[Group]) -> list[Panel]:
    """Draw success and return over episodes, if measured."""
    panels = []
    for quantity in ("success", "return"):
        lines = [line for i, group in enumerate(groups) for line in _by_episodes(group, i, quantity)]
        title = f"{quantity.capitalize()} after one step from some episodes"
        panels += panel(title, lines, quantity, "Episodes adapted from")
    return panels


def panel(title: str, lines: Sequence[Line], quantity: str, horizontal: str) -> list[Panel]:
    """Draw curves, if there are any."""
    if not lines:
        return []
    figure, (axes,) = blank("", 1, top=0.995, size=_SIZE)
    for line in lines:
        draw_line(axes, line)
    label_axes(axes, quantity)
    if horizontal == ENV_STEPS:
        # steps in thousands or millions, or whole numbers of episodes
        label_env_steps(axes, [{"env_steps": float(line.x.max())} for line in lines])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(horizontal)
    axes.legend(frameon=False, fontsize=8, labelcolor=TEXT)
    # inside the page, so that the report is one file
    image = f"data:image/svg+xml;base64,{base64.b64encode(svg(figure).encode()).decode()}"
    return [Panel(title, image, f"{title}. {'; '.join(map(describe, lines))}.", tuple(lines))]


def describe(line: Line) -> str:
    """Return a curve in words."""
    first, last = (f"{value:.3g}" for value in (line.mean[0], line.mean[-1]))
    return f"{line.label}: from {first} to {last}"


def over_seeds(values: Values, bounds: tuple[float, float]) -> tuple[Values, Values, Values]:
    """Return means ``[points]`` with 95 % t intervals for fresh seeds.

    ``values`` are ``[seeds, points]`` of two or more seeds, within ``bounds``.
    """
    seeds, points = values.shape
    mean = values.mean(axis=0)
    source = Source((values - values[0]).var(axis=0, ddof=1) / seeds, np.full(points, seeds - 1.0))
    return mean, *limits(mean, source, LEVEL, bounds)


def _learning(groups: Sequence[Group], index: int, split: str, quantity: str) -> list[Line]:
    """Return a group's curves before and after adapting."""
    runs, lines = [run.rows for run in groups[index].runs], []
    steps = measured_steps(runs[0], quantity, split)
    for step in steps:
        name, after = f"{split}/{quantity}/step_{step}", step > steps[0]
        x, values = _columns(runs, name)
        if len(x) == 0:
            continue
        mean, low, high = _interval(runs, name, values)
        label = stage_name(step if after else 0, groups[index].trial)
        # one colour a group; a single group has colours by stage
        if len(groups) > 1:
            label, colour = f"{groups[index].name}, {label}", PALETTE[index % len(PALETTE)]
        else:
            colour = AFTER if after else BEFORE
        lines.append(Line(label, x, mean, low, high, colour, dashed=not after, band=True))
    return lines


def _interval(
    runs: Sequence[Sequence[Row]], name: str, values: Values
) -> tuple[Values, Values | None, Values | None]:
    """Return a metric with its interval over seeds, or of one seed over tasks."""
    if len(runs) > 1:
        return over_seeds(values, RATE if "/success/" in name else (-np.inf, np.inf))
    if any(f"{name}/low" in row for row in runs[0]):
        return values[0], *(_columns(runs, f"{name}/{end}")[1][0] for end in ("low", "high"))
    return values[0], None, None


def _columns(runs: Sequence[Sequence[Row]], name: str) -> tuple[Values, Values]:
    """Return steps ``[points]`` and a metric ``[runs, points]``, of iterations in which all runs have it."""
    # a run may have ended early, or its metrics a gap
    measured = [{row["iteration"] for row in run if name in row} for run in runs]
    shared = set.intersection(*measured)
    found = [
        series(
            [{"env_steps": row["iteration"], **row} for row in run if row["iteration"] in shared],
            "env_steps",
            name,
        )
        for run in runs
    ]
    x, values = (np.array([pair[place] for pair in found]) for place in (0, 1))
    return x.mean(axis=0), values


def _by_episodes(group: Group, index: int, quantity: str) -> list[Line]:
    """Return a group's curve over episodes, if all its runs measured it alike."""
    found = [run.by_episodes for run in group.runs]
    measured = [each for each in found if each is not None]
    alike = {(str(each.about[COUNTS]), each.evaluation.tasks) for each in measured}
    if len(measured) < len(found) or len(alike) > 1:
        return []
    summary = summarize_seeds([each.evaluation for each in measured], np.random.default_rng(0))
    counts = np.array(measured[0].about[COUNTS], dtype=np.float64)
    return _summary_lines(group.name, index, counts.tolist(), summary, quantity)


def _summary_lines(label: str, index: int, x: Sequence[float], summary: Summary, quantity: str) -> list[Line]:
    intervals = summary.returns if quantity == "return" else summary.successes
    return [] if intervals is None else [interval_line(label, x, intervals, PALETTE[index % len(PALETTE)])]
