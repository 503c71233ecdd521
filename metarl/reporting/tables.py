"""Tables of evaluations for the terminal; they fit into 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap

import numpy as np
from rich.table import Table

from metarl.evaluation.official import OfficialEvaluation
from metarl.evaluation.record import Axis, Evaluation, steps_axis
from metarl.evaluation.statistics import Interval
from metarl.evaluation.summary import Summary
from metarl.reporting.comparison import Verdict
from metarl.reporting.plain_tables import plain_table
from metarl.text import count

WIDTH = 80
"""Columns of a terminal that all tables fit into."""


def evaluation_table(
    evaluation: Evaluation, summary: Summary, title: str, axis: Axis | None = None, seeds: int = 1
) -> Table:
    """Return means with 95 % intervals, and gains by adapting, a row for each number of steps.

    Args:
        evaluation: of one of the seeds.
        summary: of all of them.
        title: what stands above it.
        axis: what the evaluation is laid out along, if not adaptation steps.
        seeds: how many the summary is of.
    """
    along = axis or steps_axis(evaluation)
    tasks, episodes = len(evaluation.tasks), evaluation.returns.shape[2]
    over = "tasks" if seeds == 1 else "seeds and tasks"
    parts = ["" if seeds == 1 else f"{seeds} seeds", count(tasks, "task"), count(episodes, "episode")]
    caption = f"mean over {' x '.join(filter(None, parts))} [95 % interval over {over}]"
    table = plain_table(title, caption)
    columns = [along.short, "return", "gain"] + (["success %", "gain %"] if summary.successes else [])
    for column in columns:
        table.add_column(column, justify="right")
    for step, value in enumerate(along.values):
        cells = [number(summary.returns[step]), number(summary.return_gains[step]) if step else ""]
        if summary.successes and summary.success_gains:
            cells += [percent(summary.successes[step]), percent(summary.success_gains[step]) if step else ""]
        table.add_row(str(value), *cells)
    return table


def seed_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Return each seed's mean return and success before adapting and after the last step, by its name."""
    last = next(iter(evaluations.values())).adaptation_steps
    table = plain_table(f"by seed: before -> after {count(last, 'adaptation step')}")
    _add_change_columns(table, "seed", success=all(one.successes is not None for one in evaluations.values()))
    for name, evaluation in evaluations.items():
        table.add_row(name, *_changes(evaluation))
    return table


def aggregate_table(summary: Summary) -> Table:
    """Return interquartile means, medians, and the share of tasks made worse, after the last step."""
    last = len(summary.returns) - 1
    table = plain_table(f"after {count(last, 'adaptation step')}")
    for column in ("", "interquartile mean", "median", "worse, % of tasks"):
        table.add_column(column, justify="right" if column else "left")
    kinds = {"return": (summary.of_return, number), "success %": (summary.of_success, percent)}
    for name, (measures, shown) in kinds.items():
        if measures is not None:
            worse = percent(measures.worse[last])
            table.add_row(name, shown(measures.iqms[last]), shown(measures.medians[last]), worse)
    return table


def protocol_table(evaluation: Evaluation, official: OfficialEvaluation) -> Table:
    """Return what both protocols say after equally many adaptation steps, and the difference."""
    step = official.settings.adaptation_steps
    caption = (
        f"per goal: {count(evaluation.returns.shape[2], 'episode')} of every goal, solved at any step\n"
        f"official: {official.evaluator},\nthe first episodes to finish, cut at success; it reports too much"
    )
    table = plain_table(f"two protocols, after {count(step, 'adaptation step')}", caption)
    for column in ("", "goals", "episodes", "return", "success %"):
        table.add_column(column, justify="right" if column else "left")
    returns = float(evaluation.task_returns[:, step].mean())
    rates = evaluation.task_successes
    success = float(np.mean(rates[:, step])) if rates is not None else float("nan")
    tasks, _, episodes = evaluation.returns.shape
    table.add_row("per goal", str(tasks), str(tasks * episodes), _short(returns), f"{100 * success:.1f}")
    counts = (str(official.tasks), str(official.counted_episodes))
    rate = official.success_rate
    table.add_row("official", *counts, _short(official.mean_return), f"{100 * rate:.1f}")
    table.add_row(
        "difference", "", "", f"{official.mean_return - returns:+.1f}", f"{100 * (rate - success):+.1f}"
    )
    return table


def official_table(official: OfficialEvaluation) -> Table:
    """Return each family's success rate as the publisher's evaluator reports it."""
    table = plain_table(f"official, after {count(official.settings.adaptation_steps, 'adaptation step')}")
    table.add_column("family")
    table.add_column("success %", justify="right")
    for family, rate in official.family_successes.items():
        table.add_row(family, f"{100 * rate:.1f}")
    if len(official.family_successes) > 1:
        table.add_row("all", f"{100 * official.success_rate:.1f}")
    return table


def verdict_table(quantity: str, verdict: Verdict) -> Table:
    """Return what two contenders, A and B, score, and how likely A beats B."""
    shown = number if quantity == "return" else percent
    chance, low, high = (f"{100 * value:.0f}" for value in verdict.improvement)
    said = [
        f"A beats B on a task with a probability of {chance} % [{low}, {high}]",
        f"A - B: {shown(verdict.difference)}",
    ]
    for name, seeds in (("A", verdict.our_seeds), ("B", verdict.their_seeds)):
        if len(seeds) > 1:
            values = ", ".join(
                _short(value) if quantity == "return" else f"{100 * value:.0f}" for value in seeds
            )
            said += wrap(f"{name} by seed: {values}", WIDTH)
    table = plain_table("", "\n".join(said))
    unit = "" if quantity == "return" else " %"
    for column in (quantity + unit, "mean", "interquartile mean", "median"):
        table.add_column(column, justify="left" if column.startswith(quantity) else "right")
    for name, found in (("A", verdict.ours), ("B", verdict.theirs)):
        table.add_row(name, shown(found.mean), shown(found.iqm), shown(found.median))
    return table


def family_table(evaluation: Evaluation) -> Table:
    """Return each family's mean return and success before adapting and after the last step."""
    last = evaluation.adaptation_steps
    table = plain_table(f"by family: before -> after {count(last, 'adaptation step')}")
    _add_change_columns(table, "family", success=evaluation.successes is not None)
    for family in sorted({task.family for task in evaluation.tasks}):
        table.add_row(family, *_changes(evaluation.only(family)))
    return table


def _add_change_columns(table: Table, of: str, *, success: bool) -> None:
    table.add_column(of)
    for column in ["return", *(["success %"] if success else [])]:
        table.add_column(column, justify="right")


def _changes(evaluation: Evaluation) -> list[str]:
    """Return mean return and success, each before adapting and after the last step."""
    cells = [" -> ".join(_short(value) for value in evaluation.task_returns.mean(axis=0)[[0, -1]])]
    if evaluation.task_successes is not None:
        rates = 100 * np.mean(evaluation.task_successes, axis=0)[[0, -1]]
        cells.append(" -> ".join(f"{rate:.0f}" for rate in rates))
    return cells


def number(interval: Interval) -> str:
    """Format a mean with its interval; without decimals where the numbers are large."""
    mean, low, high = (_short(value) for value in interval)
    return f"{mean} [{low}, {high}]"


def percent(interval: Interval) -> str:
    """Format a share with its interval as percentages, without the sign."""
    mean, low, high = (str(round(100 * value)) for value in interval)
    return f"{mean} [{low}, {high}]"


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
