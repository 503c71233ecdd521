"""Summaries, with intervals, of seeds' evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from metarl.evaluation.record import KINDS, Evaluation, check_same_tasks
from metarl.evaluation.statistics import (
    RATE,
    Aggregates,
    Bootstrap,
    Interval,
    Values,
    aggregates,
    paired_gain,
    share_worse,
)
from metarl.functional.ranks import spearman

FEWEST_RANKED = 5  # fewest tasks with a meaningful rank correlation
LEAST_AGREEMENT = 0.3  # rank correlation below which return and success disagree


@dataclass(frozen=True)
class Measures:
    """Aggregates of returns or successes after 0, 1, … adaptation steps."""

    means: tuple[Interval, ...]
    iqms: tuple[Interval, ...]  # interquartile means
    medians: tuple[Interval, ...]
    gains: tuple[Interval, ...]  # mean over tasks of the score after k steps minus that before adapting
    worse: tuple[Interval, ...]  # share of tasks that adapting makes worse


@dataclass(frozen=True)
class Summary:
    """Summary of an evaluation, with 95 % intervals over tasks and seeds.

    An interval says what fresh seeds would do on fresh tasks of the same families; of one seed, what that
    agent would do. How it is made: :mod:`metarl.evaluation.statistics`.
    """

    of_return: Measures
    of_success: Measures | None  # None where the suite does not say

    @property
    def measures(self) -> dict[str, Measures]:
        """Measures by quantity: ``"return"`` and, where the suite says, ``"success"``."""
        found = {"return": self.of_return, "success": self.of_success}
        return {quantity: measures for quantity, measures in found.items() if measures is not None}

    @property
    def returns(self) -> tuple[Interval, ...]:
        """Mean return after 0, 1, … steps."""
        return self.of_return.means

    @property
    def successes(self) -> tuple[Interval, ...] | None:
        """Mean success rate after 0, 1, … steps."""
        return None if self.of_success is None else self.of_success.means

    @property
    def return_gains(self) -> tuple[Interval, ...]:
        """Mean gain of return by adapting, after 0, 1, … steps."""
        return self.of_return.gains

    @property
    def success_gains(self) -> tuple[Interval, ...] | None:
        """Mean gain of success rate by adapting, after 0, 1, … steps."""
        return None if self.of_success is None else self.of_success.gains

    def metrics(self) -> dict[str, float]:
        """Return the summary by a run's metric names."""
        return {
            f"test/{name}/step_{step}{ending}": value
            for quantity, measures in self.measures.items()
            for name, intervals in _named(quantity, measures).items()
            for step, interval in enumerate(intervals)
            if step > 0 or name not in (f"{quantity}_gain", f"{quantity}_worse")
            for ending, value in zip(("", "/low", "/high"), interval, strict=True)
        }


def _named(quantity: str, measures: Measures) -> dict[str, tuple[Interval, ...]]:
    return {
        quantity: measures.means,
        f"{quantity}_iqm": measures.iqms,
        f"{quantity}_median": measures.medians,
        f"{quantity}_gain": measures.gains,
        f"{quantity}_worse": measures.worse,
    }


def summarize(evaluation: Evaluation, rng: np.random.Generator) -> Summary:
    """Summarize one evaluation, with resamples drawn from ``rng``."""
    return summarize_seeds([evaluation], rng)


def summarize_seeds(evaluations: Sequence[Evaluation], rng: np.random.Generator) -> Summary:
    """Summarize several seeds' evaluations on shared tasks.

    Raises:
        MetarlError: if the tasks, or the numbers of adaptation steps, are not the same.
    """
    check_same_tasks(evaluations)
    how = Bootstrap(strata=tuple(task.family for task in evaluations[0].tasks))
    successes = [rates for part in evaluations if (rates := part.task_successes) is not None]
    return Summary(
        of_return=_measures(np.stack([part.task_returns for part in evaluations]), rng, how),
        of_success=_measures(np.stack(successes), rng, replace(how, bounds=RATE))
        if len(successes) == len(evaluations)
        else None,
    )


def summarize_ends(evaluations: Sequence[Evaluation], rng: np.random.Generator) -> dict[str, Measures]:
    """Summarize success at the last step, and held for the last ten.

    Returns:
        Measures by kind, ``"success_last"`` and ``"success_held"``; a kind that is not recorded is left out.

    Raises:
        MetarlError: as :func:`summarize_seeds`.
    """
    check_same_tasks(evaluations)
    how = Bootstrap(strata=tuple(task.family for task in evaluations[0].tasks), bounds=RATE)
    found = {}
    for kind in KINDS[1:]:
        rates = [known for part in evaluations if (known := part.rates(kind)) is not None]
        if len(rates) == len(evaluations):
            found[kind] = _measures(np.stack(rates), rng, how)
    return found


def rank_correlation(evaluation: Evaluation) -> float | None:
    """Return how alike return and success rank the tasks, after the last step.

    It is Spearman's coefficient over tasks, of mean returns and success rates.

    Returns:
        None where success is not known, there are fewer than five tasks, or all agree in one of the two.
    """
    rates = evaluation.task_successes
    if rates is None or len(rates) < FEWEST_RANKED:
        return None
    returns, successes = evaluation.task_returns[:, -1], rates[:, -1]
    if np.ptp(returns) == 0 or np.ptp(successes) == 0:
        return None
    return spearman(returns, successes)


def disagreement(evaluation: Evaluation) -> str:
    """Return a sentence where return and success disagree over tasks; empty where they do not.

    They disagree if their rank correlation is below 0.3.
    """
    correlation = rank_correlation(evaluation)
    if correlation is None or correlation >= LEAST_AGREEMENT:
        return ""
    return (
        f"Return and success disagree over the {len(evaluation.tasks)} tasks: their rank correlation is "
        f"{correlation:.2f} after the last step, so a higher return does not mean more success here."
    )


def _measures(scores: Values, rng: np.random.Generator, how: Bootstrap) -> Measures:
    """Summarize scores ``[S, T, adaptation steps + 1]``."""
    columns = [scores[:, :, step] for step in range(scores.shape[2])]
    found: list[Aggregates] = [aggregates(column, rng, how) for column in columns]
    none = Interval(0.0, 0.0, 0.0)  # before adapting nothing is gained or worse, by definition
    return Measures(
        means=tuple(each.mean for each in found),
        iqms=tuple(each.iqm for each in found),
        medians=tuple(each.median for each in found),
        gains=(none, *(paired_gain(columns[0], column, rng, how) for column in columns[1:])),
        worse=(none, *(share_worse(columns[0], column, rng, how) for column in columns[1:])),
    )
