"""The tables of a report: policies, baselines, the official protocol, and every held-out task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metarl.evaluation.record import Evaluation, join
from metarl.evaluation.statistics import Interval, Values
from metarl.evaluation.summary import Summary, summarize, summarize_seeds
from metarl.reporting.html.run_data import Group, Run
from metarl.text import stage_name
from metarl.training.evaluation_reader import Measured
from metarl.types import Json

_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cell:
    """A number as it is read, and as it is sorted."""

    text: str
    value: float = 0.0
    interval: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    cells: tuple[Cell | None, ...]
    detail: str = ""
    emphasis: bool = False


@dataclass(frozen=True)
class Table:
    """A table of numbers."""

    columns: tuple[str, ...]
    """The first is that of the rows' names."""
    rows: tuple[Row, ...]


def policy_table(groups: Sequence[Group]) -> Table:
    """Return each group's agent after 0, 1, … adaptation steps."""
    success = ("Success", "Success gain") if groups[0].task_successes is not None else ()
    columns = ("Policy", "Return", "Interquartile mean", "Return gain", *success, "Tasks made worse")
    return Table(columns, tuple(row for group in groups for row in _policy_rows(group)))


def seed_table(groups: Sequence[Group]) -> Table:
    """Return the means of each run of a group of several, before adapting and after the last step."""
    runs = [run for group in groups if len(group.runs) > 1 for run in group.runs]
    rows = [
        _change_row(Group(name, (run,)), name, range(len(run.measured.evaluation.tasks)))
        for run, name in ((run, run.folder.resolve().name) for run in runs)
    ]
    return Table(("Run", *_change_columns(groups[0])), tuple(rows))


def baseline_table(groups: Sequence[Group]) -> Table:
    """Return what ``metarl baseline`` measured, the meta-learned agent on the same tasks among it."""
    success = ("Success", "Success gain") if groups[0].task_successes is not None else ()
    columns = ("Policy", "Return", "Return gain", *success, "Steps on the task", "Steps before")
    rows = [
        row
        for group in groups
        for label, found in group.baselines().items()
        for row in _baseline_rows(f"{group.name}: {label}" if len(groups) > 1 else label, found)
    ]
    return Table(columns, tuple(rows))


def baseline_tasks(groups: Sequence[Group]) -> str:
    """Say on how many held-out tasks the baselines were measured: ``"5"``, or ``"2 to 5"``."""
    found = [each for group in groups for parts in group.baselines().values() for each in parts]
    counts = sorted({len(each.evaluation.tasks) for each in found})
    return " to ".join(str(number) for number in dict.fromkeys((counts[0], counts[-1]))) if counts else ""


def official_table(groups: Sequence[Group]) -> Table:
    """Return what the suite's publisher's own evaluator says, beside what was measured on every task."""
    columns = ("Official success", "Success per task", "Difference", "Official return", "Return per task")
    rows = [row for group in groups for run in group.runs for row in _official_rows(run)]
    return Table(("Run", *columns, "Episodes counted"), tuple(rows))


def task_table(group: Group) -> Table:
    """Return each held-out task, the greatest gain first."""
    rows = [_change_row(group, group.tasks[place].id, [place]) for place in group.by_gain()]
    return Table(("Task", *_change_columns(group)), tuple(rows))


def family_table(group: Group) -> Table:
    """Return the mean over each family's tasks; nothing where all are of one family."""
    places: dict[str, list[int]] = {}
    for place, task in enumerate(group.tasks):
        places.setdefault(task.family, []).append(place)
    rows = [_change_row(group, family, places[family]) for family in sorted(places)]
    return Table(("Family", *_change_columns(group)), tuple(rows) if len(rows) > 1 else ())


def number(value: float) -> str:
    """Write a number with as many decimals as its size calls for."""
    text = f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", _MINUS)


def signed(value: float) -> str:
    """Write a gain with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def percent(value: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * value:.0f}{_SPACE}%"


def points(value: float) -> str:
    """Write a gain in percentage points."""
    return f"{100 * value:+.0f}".replace("-", _MINUS)


def _policy_rows(group: Group) -> list[Row]:
    summary, rows = group.summary, []
    last = len(summary.returns) - 1
    for step in range(last + 1):
        cells = [
            interval_cell(summary.returns[step], number),
            interval_cell(summary.of_return.iqms[step], number),
            *_gain_and_success(summary, step),
            interval_cell(summary.of_return.worse[step], percent) if step else None,
        ]
        rows.append(Row(group.name, tuple(cells), stage_name(step), emphasis=step == last))
    return rows


def _baseline_rows(label: str, found: Sequence[Measured]) -> list[Row]:
    """Return a baseline after each of its stages, over the runs that have it."""
    parts = [measured.evaluation for measured in found]
    summary, about = _over_runs(parts), found[0].about
    stages = len(summary.returns)
    rows = []
    for step in range(stages):
        cells = [interval_cell(summary.returns[step], number), *_gain_and_success(summary, step)]
        cells += [_steps(_item(about.get("task_steps"), step)), _steps(about.get("training_steps"))]
        stage = _item(about.get("stages"), step)
        named = stage if isinstance(stage, str) else stage_name(step) if stages > 1 else ""
        rows.append(Row(label, tuple(cells), named, emphasis=about.get("baseline") == "meta"))
    return rows


def _over_runs(parts: Sequence[Evaluation]) -> Summary:
    """Summarize over seeds; where they were measured on different tasks, as if all were of one seed."""
    same = all(part.tasks == parts[0].tasks for part in parts)
    return (
        summarize_seeds(parts, np.random.default_rng(0))
        if same
        else summarize(join(parts), np.random.default_rng(0))
    )


def _official_rows(run: Run) -> list[Row]:
    """Return the row of a run that was evaluated officially, or nothing."""
    said, settings = run.official, run.official.get("settings")
    if not said:
        return []
    step = settings.get("adaptation_steps") if isinstance(settings, dict) else None
    cells = [
        _number(said.get("success_rate"), percent),
        _number(said.get("per_goal_success_rate"), percent),
        _number(said.get("success_rate_difference"), points),
        _number(said.get("mean_return"), number),
        _number(said.get("per_goal_mean_return"), number),
        _steps(said.get("counted_episodes")),
    ]
    return [Row(run.folder.resolve().name, tuple(cells), stage_name(step) if isinstance(step, int) else "")]


def _gain_and_success(summary: Summary, step: int) -> list[Cell | None]:
    cells = [interval_cell(summary.return_gains[step], signed) if step else None]
    if summary.successes and summary.success_gains:
        cells.append(interval_cell(summary.successes[step], percent))
        cells.append(interval_cell(summary.success_gains[step], points) if step else None)
    return cells


def _change_columns(group: Group) -> list[str]:
    quantities = ["Return"] if group.task_successes is None else ["Success", "Return"]
    return [f"{quantity} {when}" for quantity in quantities for when in ("gain", "before", "after")]


def _change_row(group: Group, name: str, places: Sequence[int]) -> Row:
    """Return gain, before and after of the mean over some tasks."""
    successes = group.task_successes
    cells = [] if successes is None else _change(successes[places].mean(axis=0), points, percent)
    cells += _change(group.task_returns[places].mean(axis=0), signed, number)
    return Row(name, tuple(cells))


def _change(values: Values, gain: Callable[[float], str], form: Callable[[float], str]) -> list[Cell]:
    """Return the gain, before and after, of values ``[adaptation steps + 1]``."""
    before, after = float(values[0]), float(values[-1])
    return [Cell(gain(after - before), after - before), Cell(form(before), before), Cell(form(after), after)]


def interval_cell(values: Interval, form: Callable[[float], str]) -> Cell:
    """Return a cell with a number and its interval."""
    return Cell(form(values.mean), values.mean, f"[{form(values.low)}, {form(values.high)}]")


def _number(value: Json, form: Callable[[float], str]) -> Cell | None:
    return Cell(form(value), value) if isinstance(value, int | float) else None


def _steps(value: Json) -> Cell | None:
    return Cell(f"{value:,}", value) if isinstance(value, int) else None


def _item(values: Json, index: int) -> Json:
    return values[index] if isinstance(values, list) and index < len(values) else None
