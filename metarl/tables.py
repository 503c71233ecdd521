"""Tables of evaluations for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from metarl.evaluation import Evaluation, Summary
from metarl.statistics import Interval


def evaluation_table(evaluation: Evaluation, summary: Summary, title: str) -> Table:
    """Return means over tasks with 95 % intervals, and the gain by adapting, a row for each number of steps."""
    episodes = evaluation.returns.shape[2]
    table = Table(
        title=title,
        caption=f"mean over {len(evaluation.tasks)} held-out tasks x {episodes} episodes, "
        "[95 % bootstrap interval over tasks]",
    )
    for column in ("adaptation steps", "return", "gain", "success", "gain "):
        table.add_column(column, justify="right")
    for step in range(evaluation.adaptation_steps + 1):
        table.add_row(
            str(step),
            number(summary.returns[step]),
            number(summary.return_gains[step]) if step else "",
            percent(summary.successes[step]) if summary.successes else "not reported",
            percent(summary.success_gains[step]) if summary.success_gains and step else "",
        )
    return table


def family_table(evaluation: Evaluation) -> Table:
    """Return each family's mean return and success before adapting and after the last step."""
    last = evaluation.adaptation_steps
    table = Table(title="by family")
    table.add_column("family")
    for column in ("return before", f"after {last}", "success before", f"after {last} "):
        table.add_column(column, justify="right")
    for family in sorted({task.family for task in evaluation.tasks}):
        part = evaluation.only(family)
        returns = [f"{part.task_returns[:, step].mean():.1f}" for step in (0, last)]
        table.add_row(family, *returns, *_success_rates(part, (0, last)))
    return table


def number(interval: Interval) -> str:
    """Format a mean with its interval."""
    return f"{interval.mean:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def percent(interval: Interval) -> str:
    """Format a share with its interval as percentages."""
    return f"{100 * interval.mean:.0f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _success_rates(evaluation: Evaluation, steps: Sequence[int]) -> list[str]:
    rates = evaluation.task_successes
    return ["" if rates is None else f"{100 * np.mean(rates[:, step]):.0f} %" for step in steps]
