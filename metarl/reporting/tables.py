"""Tables of evaluations, which fit into a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np

from metarl.evaluation.factors import Factor
from metarl.evaluation.official import OfficialEvaluation
from metarl.evaluation.record import Axis, Evaluation, steps_axis
from metarl.evaluation.statistics import Values
from metarl.evaluation.summary import Summary
from metarl.reporting.comparison import ComparisonResult
from metarl.reporting.table import Column, Row, Table, Value, number, percent, whole, with_interval
from metarl.text import count, letter, stage_name

WIDTH = 80  # columns into which every table fits
FORMS = {"return": number, "success": percent, "success_last": percent, "success_held": percent}
NAMES = {
    "return": "return",
    "success": "success %",
    "success_last": "success at the last step %",
    "success_held": "success held for the last ten steps %",
}


def evaluation_table(
    evaluation: Evaluation, summary: Summary, title: str, axis: Axis | None = None, seeds: int = 1
) -> Table:
    """Return means and gains by step, with intervals.

    ``evaluation`` is of one seed, ``summary`` of all. ``axis`` is the evaluation's second, if not adaptation
    steps.
    """
    along = axis or steps_axis(evaluation)
    over = "tasks" if seeds == 1 else "seeds and tasks"
    sizes = ["" if seeds == 1 else f"{seeds} seeds", count(len(evaluation.tasks), "task")]
    sizes.append(count(evaluation.returns.shape[2], "episode"))
    caption = f"mean over {' x '.join(filter(None, sizes))} [95 % interval over {over}]"
    columns = [Column("return"), Column("gain")]
    if summary.successes:
        columns += [Column("success %", percent), Column("gain %", percent)]
    rows = []
    for step, value in enumerate(along.values):
        values: list[Value] = [summary.returns[step], summary.return_gains[step] if step else None]
        if summary.successes and summary.success_gains:
            values += [summary.successes[step], summary.success_gains[step] if step else None]
        rows.append(Row(str(value), tuple(values)))
    return Table(along.short, tuple(columns), tuple(rows), title, caption)


def aggregate_table(summary: Summary, trial: str = "parallel") -> Table:
    """Return interquartile means, medians and worsened tasks."""
    last = len(summary.returns) - 1
    rows = [
        Row(
            name,
            (
                with_interval(measures.iqms[last], form),
                with_interval(measures.medians[last], form),
                measures.worse[last] if last else None,  # nothing adapts in one stage
            ),
        )
        for name, measures, form in (
            ("return", summary.of_return, number),
            ("success %", summary.of_success, percent),
        )
        if measures is not None
    ]
    columns = (Column("interquartile mean"), Column("median"), Column("worse, % of tasks", percent))
    return Table("", columns, tuple(rows), stage_name(last, trial))


def change_table(
    names: str,
    parts: Mapping[str, tuple[Values, Values | None]],
    steps: int,
    title: str = "",
    trial: str = "parallel",
) -> Table:
    """Return gains, and means before and after adapting, by task set.

    ``parts`` are returns, and successes if known, ``[tasks, steps + 1]``, by the set's name; ``names`` is the
    label of these names. Steps of a sequential agent's ``trial`` are episodes.
    """
    kinds = [("return", 0)]
    if parts and all(successes is not None for _, successes in parts.values()):
        # success first, where every part reports it
        kinds.insert(0, ("success %", 1))
    columns = [
        Column(f"{kind} {when}", percent if place else number)
        for kind, place in kinds
        for when in ("gain", "before", "after")
    ]
    rows = []
    for name, found in parts.items():
        values: list[Value] = []
        for _, place in kinds:
            mean = np.asarray(found[place], np.float64).mean(axis=0)
            values += [float(mean[-1] - mean[0]), float(mean[0]), float(mean[-1])]
        rows.append(Row(name, tuple(values)))
    return Table(names, tuple(columns), tuple(rows), title, stage_name(steps, trial))


def seed_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Return each seed's means by name."""
    parts = {name: (one.task_returns, one.task_successes) for name, one in evaluations.items()}
    first = next(iter(evaluations.values()))
    return change_table("seed", parts, first.adaptation_steps, "by seed", first.trial)


def family_table(evaluation: Evaluation) -> Table:
    """Return the means of each family of tasks."""
    families = sorted({task.family for task in evaluation.tasks})
    of = {family: evaluation.only(family) for family in families}
    parts = {family: (one.task_returns, one.task_successes) for family, one in of.items()}
    return change_table("family", parts, evaluation.adaptation_steps, "by family", evaluation.trial)


def factor_table(evaluation: Evaluation, factors: Sequence[Factor]) -> Table:
    """Return the means of tasks below, inside and above each factor's training range."""
    parts = {}
    for factor in factors:
        low, high = factor.trained
        values = np.array(factor.values, np.float64)  # NaN, of a family without the factor, is in none
        sides = {
            f"{factor.name} < {low:g}": values < low,
            f"{factor.name} {low:g} to {high:g}": (low <= values) & (values <= high),
            f"{factor.name} > {high:g}": values > high,
        }
        for name, chosen in sides.items():
            if chosen.any():
                rates = evaluation.task_successes
                returns = evaluation.task_returns[chosen]
                parts[f"{name} ({int(chosen.sum())})"] = returns, None if rates is None else rates[chosen]
    title = "by factor, below, in and above its training range (number of tasks)"
    return change_table("factor", parts, evaluation.adaptation_steps, title, evaluation.trial)


def protocol_table(evaluation: Evaluation, official: OfficialEvaluation) -> Table:
    """Return both protocols' numbers and difference."""
    step = official.settings.adaptation_steps
    caption = (
        f"per goal: {count(evaluation.returns.shape[2], 'episode')} of every goal, solved at any step\n"
        f"official: {official.evaluator},\nthe first episodes to finish, cut at success; it reports too much"
    )
    paid = official.settings.success_bonus > 0
    if paid:
        caption += "\nThe per-goal return counts the bonus for success, the official one does not."
    # percent, NaN where the suite does not report success
    rates = evaluation.task_successes
    ours = (
        float(evaluation.task_returns[:, step].mean()),
        float("nan") if rates is None else 100 * float(np.mean(rates[:, step])),
    )
    theirs = (official.mean_return, 100 * official.success_rate)
    differences = [f"{b - a:+.1f}" for a, b in zip(ours, theirs, strict=True)]
    tasks, _, episodes = evaluation.returns.shape
    rows = (
        Row("per goal", (tasks, tasks * episodes, *ours)),
        Row("official", (official.tasks, official.counted_episodes, *theirs)),
        Row("difference", (None, None, None if paid else differences[0], differences[1])),
    )
    columns = (Column("goals", whole), Column("episodes", whole), Column("return"), Column("success %"))
    return Table("", columns, rows, f"two protocols, {stage_name(step, evaluation.trial)}", caption)


def official_table(official: OfficialEvaluation, trial: str = "parallel") -> Table:
    """Return families' success by the publisher's evaluator."""
    rates = dict(official.family_successes)
    if len(rates) > 1:
        rates["all"] = official.success_rate
    rows = tuple(Row(family, (100 * rate,)) for family, rate in rates.items())
    title = f"official, {stage_name(official.settings.adaptation_steps, trial)}"
    return Table("family", (Column("success %"),), rows, title)


def comparison_table(quantity: str, results: Sequence[ComparisonResult]) -> Table:
    """Return the scores of A, B, C, …, and A's chance against each.

    ``results`` are of A with B, of A with C, …; ``quantity`` is a key of :data:`FORMS`.
    """
    form = FORMS[quantity]
    letters = [letter(place) for place in range(len(results) + 1)]
    lines = []
    for other, result in zip(letters[1:], results, strict=True):
        chance = with_interval(result.improvement, percent, " %")
        lines.append(f"A beats {other} on a task with a probability of {chance}")
        lines.append(f"A - {other}: {with_interval(result.difference, form)}")
    first = results[0]
    seeds = [first.our_seeds, *(result.their_seeds for result in results)]
    for name, values in zip(letters, seeds, strict=True):
        if len(values) > 1:
            lines += wrap(f"{name} by seed: {', '.join(map(form, values))}", WIDTH)
    scores = [first.ours, *(result.theirs for result in results)]
    rows = tuple(
        Row(name, (score.mean, score.iqm, score.median)) for name, score in zip(letters, scores, strict=True)
    )
    columns = tuple(Column(label, form) for label in ("mean", "interquartile mean", "median"))
    return Table(NAMES[quantity], columns, rows, "", "\n".join(lines))
