"""Tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metarl.errors import MetarlError
from metarl.evaluation.record import Evaluation, join
from metarl.evaluation.references import Reference, references_from_json
from metarl.evaluation.statistics import Values
from metarl.evaluation.summary import Summary, summarize, summarize_seeds
from metarl.reporting.explanation_tables import explanation_tables
from metarl.reporting.html.run_data import Group, Run, unique
from metarl.reporting.success_tables import family_success_table, has_ends, success_table
from metarl.reporting.table import Column, Row, Table, Value, number, percent, whole
from metarl.reporting.tables import change_table
from metarl.text import stage_name
from metarl.training.evaluation_reader import Measured
from metarl.types import Json

_RETURN, _SUCCESS = Column("return"), Column("success %", percent)
_GAINS = (Column("return gain"), Column("success gain %", percent))


@dataclass(frozen=True)
class Explained:
    """Tables that explain one run."""

    run: str  # name of the run
    tables: tuple[Table, ...]


def policy_table(groups: Sequence[Group]) -> Table:
    """Return groups' agents after 0, 1, … steps."""
    success = (_SUCCESS, _GAINS[1]) if groups[0].task_successes is not None else ()
    columns = (
        _RETURN,
        Column("interquartile mean"),
        _GAINS[0],
        *success,
        Column("tasks made worse, %", percent),
    )
    return Table("policy", columns, tuple(row for group in groups for row in _policy_rows(group)))


def seed_table(groups: Sequence[Group]) -> Table:
    """Return each run's means in groups of several."""
    runs = [run for group in groups if len(group.runs) > 1 for run in group.runs]
    names = unique([run.folder.resolve().name for run in runs])
    parts = {name: _values(run.measured.evaluation) for name, run in zip(names, runs, strict=True)}
    return change_table("run", parts, _steps(groups[0]), trial=groups[0].trial)


def successes_table(groups: Sequence[Group]) -> Table:
    """Return every kind of success by group and step, beside policies that learn nothing.

    It has no rows where success is not reported, or a run was evaluated by a version that did not record it.
    """
    parts = _evaluations(groups)
    if not all(map(has_ends, parts.values())):
        return Table("", (), ())
    return success_table(parts, _references(groups))


def family_successes_table(groups: Sequence[Group]) -> Table:
    """Return every kind of success of each family after the last step, if there are several families."""
    parts = _evaluations(groups)
    if len({task.family for task in groups[0].tasks}) == 1 or not all(map(has_ends, parts.values())):
        return Table("", (), ())
    return family_success_table(parts, _references(groups))


def _evaluations(groups: Sequence[Group]) -> dict[str, list[Evaluation]]:
    """Return each group's evaluations by its name, which is empty of a lone group."""
    named = len(groups) > 1
    parts = {group.name if named else "": [run.measured.evaluation for run in group.runs] for group in groups}
    likely = {group.name: [run.most_likely for run in group.runs] for group in groups}
    for name, found in likely.items():
        known = [each.evaluation for each in found if each is not None]
        if len(known) == len(found):
            parts[f"{name}, most likely" if named else "most likely"] = known
    return parts


def _references(groups: Sequence[Group]) -> tuple[Reference, ...]:
    """Return the references of the first run that has them; all runs have the same tasks and physics."""
    found = [references_from_json(run.measured.about.get("references")) for g in groups for run in g.runs]
    return next(filter(None, found), ())


def task_table(group: Group) -> Table:
    """Return each held-out task, the greatest gain first."""
    parts = {group.tasks[place].id: _part(group, [place]) for place in group.by_gain()}
    return change_table("task", parts, _steps(group), trial=group.trial)


def family_table(group: Group) -> Table:
    """Return each family's means over its tasks, if there are several families."""
    places: dict[str, list[int]] = {}
    for place, task in enumerate(group.tasks):
        places.setdefault(task.family, []).append(place)
    families = sorted(places) if len(places) > 1 else []
    return change_table(
        "family", {name: _part(group, places[name]) for name in families}, _steps(group), trial=group.trial
    )


def baseline_table(groups: Sequence[Group]) -> Table:
    """Return the results of ``metarl baseline``."""
    success = (_SUCCESS, _GAINS[1]) if groups[0].task_successes is not None else ()
    steps = (Column("steps on the task", whole), Column("steps before", whole))
    rows = [
        row
        for group in groups
        for label, found in group.baselines().items()
        for row in _baseline_rows(f"{group.name}: {label}" if len(groups) > 1 else label, found)
    ]
    return Table("policy", (_RETURN, _GAINS[0], *success, *steps), tuple(rows))


def baseline_tasks(groups: Sequence[Group]) -> str:
    """Return the baselines' number of held-out tasks, such as ``"5"`` or ``"2 to 5"``."""
    found = [each for group in groups for parts in group.baselines().values() for each in parts]
    counts = sorted({len(each.evaluation.tasks) for each in found})
    return " to ".join(str(number) for number in dict.fromkeys((counts[0], counts[-1]))) if counts else ""


def official_table(groups: Sequence[Group]) -> Table:
    """Return the publisher's results beside ours."""
    columns = (
        Column("official success %", percent),
        Column("success per task %", percent),
        Column("difference, points", percent),
        Column("official return", number),
        Column("return per task", number),
        Column("episodes counted", whole),
    )
    return Table(
        "run", columns, tuple(_official_row(r) for group in groups for r in group.runs if r.official)
    )


def explained(groups: Sequence[Group]) -> list[Explained]:
    """Return tables of the first explained run of each group that has one.

    Raises:
        MetarlError: if a file is not an explanation.
    """
    found = []
    for group in groups:
        run = next((run for run in group.runs if run.explanation is not None), None)
        if run is None or run.explanation is None:
            continue
        try:
            tables = tuple(explanation_tables(run.explanation))
        except (KeyError, TypeError, AssertionError) as error:
            raise MetarlError(
                f"An explanation of {run.folder} is not one that metarl wrote ({error})."
            ) from error
        found.append(Explained(run.folder.resolve().name, tables))
    return found


def _policy_rows(group: Group) -> list[Row]:
    summary, rows = group.summary, []
    last, trial = len(summary.returns) - 1, group.trial
    for step in range(last + 1):
        values: list[Value] = [
            summary.returns[step],
            summary.of_return.iqms[step],
            *_gain_and_success(summary, step),
            summary.of_return.worse[step] if step else None,
        ]
        rows.append(Row(group.name, tuple(values), stage_name(step, trial), emphasis=step == last))
    return rows


def _baseline_rows(label: str, found: Sequence[Measured]) -> list[Row]:
    """Return a baseline's rows, one for each stage."""
    summary, about = _over_runs([measured.evaluation for measured in found]), found[0].about
    stages = len(summary.returns)
    rows = []
    for step in range(stages):
        values = [summary.returns[step], *_gain_and_success(summary, step)]
        values += [_number(_item(about.get("task_steps"), step)), _number(about.get("training_steps"))]
        stage = _item(about.get("stages"), step)
        named = stage if isinstance(stage, str) else stage_name(step) if stages > 1 else ""
        rows.append(Row(label, tuple(values), named, emphasis=about.get("baseline") == "meta"))
    return rows


def _over_runs(parts: Sequence[Evaluation]) -> Summary:
    """Summarize runs over seeds, or as one seed if their tasks differ."""
    rng = np.random.default_rng(0)
    same = all(part.tasks == parts[0].tasks for part in parts)
    return summarize_seeds(parts, rng) if same else summarize(join(parts), rng)


def _official_row(run: Run) -> Row:
    found, settings = run.official, run.official.get("settings")
    step = settings.get("adaptation_steps") if isinstance(settings, dict) else None
    rates = ("success_rate", "per_goal_success_rate", "success_rate_difference")
    names = (*rates, "mean_return", "per_goal_mean_return", "counted_episodes")
    values = tuple(_number(found.get(name)) for name in names)
    trial = run.measured.evaluation.trial
    return Row(run.folder.resolve().name, values, stage_name(step, trial) if isinstance(step, int) else "")


def _gain_and_success(summary: Summary, step: int) -> list[Value]:
    values: list[Value] = [summary.return_gains[step] if step else None]
    if summary.successes and summary.success_gains:
        values += [summary.successes[step], summary.success_gains[step] if step else None]
    return values


def _values(evaluation: Evaluation) -> tuple[Values, Values | None]:
    return evaluation.task_returns, evaluation.task_successes


def _part(group: Group, places: Sequence[int]) -> tuple[Values, Values | None]:
    successes = group.task_successes
    return group.task_returns[places], None if successes is None else successes[places]


def _steps(group: Group) -> int:
    return group.runs[0].measured.evaluation.adaptation_steps


def _number(value: Json) -> Value:
    return value if isinstance(value, int | float) else None


def _item(values: Json, index: int) -> Json:
    return values[index] if isinstance(values, list) and index < len(values) else None
