"""Tables of evaluations for the terminal; they fit into 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.table import Table

from metarl.evaluation import Evaluation, Summary
from metarl.statistics import Interval


def evaluation_table(evaluation: Evaluation, summary: Summary, title: str) -> Table:
    """Return means over tasks with 95 % intervals, and gains by adapting, a row for each number of steps."""
    count, episodes = len(evaluation.tasks), evaluation.returns.shape[2]
    caption = (
        f"mean over {_plural(count, 'task')} x {_plural(episodes, 'episode')} [95 % interval over tasks]"
    )
    table = _table(title, caption)
    columns = ["steps", "return", "gain"] + (["success %", "gain %"] if summary.successes else [])
    for column in columns:
        table.add_column(column, justify="right")
    for step in range(evaluation.adaptation_steps + 1):
        cells = [number(summary.returns[step]), number(summary.return_gains[step]) if step else ""]
        if summary.successes and summary.success_gains:
            cells += [percent(summary.successes[step]), percent(summary.success_gains[step]) if step else ""]
        table.add_row(str(step), *cells)
    return table


def family_table(evaluation: Evaluation) -> Table:
    """Return each family's mean return and success before adapting and after the last step."""
    last = evaluation.adaptation_steps
    table = _table(f"by family: before -> after {_plural(last, 'adaptation step')}")
    table.add_column("family")
    columns = ["return"] + ([] if evaluation.successes is None else ["success %"])
    for column in columns:
        table.add_column(column, justify="right")
    for family in sorted({task.family for task in evaluation.tasks}):
        part = evaluation.only(family)
        cells = [" -> ".join(_short(value) for value in part.task_returns.mean(axis=0)[[0, last]])]
        if part.task_successes is not None:
            rates = 100 * np.mean(part.task_successes, axis=0)[[0, last]]
            cells.append(" -> ".join(f"{rate:.0f}" for rate in rates))
        table.add_row(family, *cells)
    return table


def list_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Return names with what they stand for."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(no_wrap=True, min_width=9)
    table.add_column()
    for name, about in rows:
        table.add_row(name, about)
    return table


def number(interval: Interval) -> str:
    """Format a mean with its interval; without decimals where the numbers are large."""
    mean, low, high = (_short(value) for value in interval)
    return f"{mean} [{low}, {high}]"


def percent(interval: Interval) -> str:
    """Format a share with its interval as percentages, without the sign."""
    mean, low, high = (f"{100 * value:.0f}" for value in interval)
    return f"{mean} [{low}, {high}]"


def _table(title: str, caption: str = "") -> Table:
    return Table(
        title=title,
        caption=caption or None,
        min_width=max(len(title), len(caption)),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
