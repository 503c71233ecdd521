"""Simulated coverage of 95 % intervals, and how often they separate equal agents.

A score is a mean + a seed effect + a task effect + a rest, all normal; every seed meets the same tasks. The
truth is the mean over fresh seeds and fresh tasks, or of one seed over fresh tasks. For success rates the
sum is a log-odds, and a score is a share of a few Bernoulli episodes. Several kinds of interval are tried on
means; metarl's are tried on interquartile means, rates and comparisons too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge
from rich.table import Table
from scipy.special import expit, ndtr, ndtri, stdtrit

from benchmarks.program import run
from benchmarks.workloads import wide_console
from metarl.evaluation.intervals import Limits, Values
from metarl.evaluation.statistics import (
    RATE,
    Bootstrap,
    Interval,
    aggregates,
    difference,
    mean_intervals,
    probability_of_improvement,
)
from metarl.reporting.csv_files import write_csv
from metarl.settings import Seed

Row = dict[str, str | float]

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
RESAMPLES = 500
"""Resamples of a bootstrap in a repetition."""
_WORDS = ("statistic", "interval", "quantity")  # columns of words
CHUNK = 100
"""Repetitions that are resampled at once."""


class Spread(NamedTuple):
    """Standard deviations of the parts of a score."""

    seeds: float
    tasks: float
    rest: float

    def draw(self, rng: np.random.Generator, count: int, seeds: int, tasks: int) -> Values:
        """Return scores without their mean, ``[count, S, T]``; with one seed, without its effect."""
        found = self.tasks * rng.normal(size=(count, 1, tasks)) + self.rest * rng.normal(
            size=(count, seeds, tasks)
        )
        return found + self.seeds * rng.normal(size=(count, seeds, 1)) if seeds > 1 else found

    def of_fresh(self, seeds: int) -> Spread:
        """Return the deviations of a fresh score; one seed leaves its own out."""
        return self if seeds > 1 else self._replace(seeds=0.0)

    def ideal_width(self, seeds: int, tasks: int) -> float:
        """Return the width of a mean's interval if all deviations were known."""
        spread = self.of_fresh(seeds)
        variance = spread.seeds**2 / seeds + spread.tasks**2 / tasks + spread.rest**2 / (seeds * tasks)
        return float(-2 * ndtri(TAIL) * np.sqrt(variance))


SPREADS = (Spread(0.3, 1.0, 0.3), Spread(1.0, 1.0, 0.3), Spread(1.0, 0.2, 0.3))
"""Seeds differ less than tasks, as much, and far more."""
ALL_SPREADS = (Spread(0.0, 1.0, 0.3), *SPREADS, Spread(0.0, 0.2, 1.0))
"""As :data:`SPREADS`, and: seeds do not differ at all; nearly all is rest."""
RARE_FAILURES = Spread(0.6, 2.0, 0.6)
"""Deviations of log-odds: nearly all failures are on a few tasks, which may not be drawn."""


@dataclass(frozen=True)
class Setting:
    """One line of a table."""

    seeds: int
    tasks: int
    spread: Spread

    def row(self) -> Row:
        """Return the columns that describe it."""
        names = {f"sd_{name}": value for name, value in self.spread._asdict().items()}
        return {"seeds": self.seeds, "tasks": self.tasks, **names}


def main(*, output: Path | None = None, repetitions: Annotated[int, Ge(2)] = 2000, seed: Seed = 0) -> None:
    """Simulate, print both tables, and write them.

    Args:
        output: folder for coverage.csv and equal_agents.csv.
        repetitions: number for each setting; half as many where a bootstrap or all pairs of seeds are needed.
        seed: of the random numbers.
    """
    tables = {
        "coverage": list(coverage_rows(repetitions, np.random.default_rng([seed, 0]))),
        "equal_agents": list(equal_rows(repetitions // 2, np.random.default_rng([seed, 1]))),
    }
    for name, rows in tables.items():
        wide_console().print(table_of(rows, name.replace("_", " ")))
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            write_csv(output / f"{name}.csv", rows)


def coverage_rows(repetitions: int, rng: np.random.Generator) -> Iterator[Row]:
    """Yield how often each kind of interval holds the truth, and its width over the ideal one."""
    for setting in settings((1, 2, 3, 5, 10), (5, 20, 50), ALL_SPREADS):
        scores = setting.spread.draw(rng, repetitions, setting.seeds, setting.tasks)
        ideal = setting.spread.ideal_width(setting.seeds, setting.tasks)
        for name, method in METHODS.items() if setting.tasks == 50 else [("metarl", METHODS["metarl"])]:
            yield _row("mean", name, setting, method(scores, rng), 0.0, ideal)
    for setting in settings((1, 3, 5, 10), (50,), SPREADS):
        scores = setting.spread.draw(rng, repetitions // 2, setting.seeds, setting.tasks)
        how = Bootstrap(resamples=RESAMPLES)
        found = ends_of([aggregates(each, rng, how).iqm for each in scores])
        ideal = setting.spread.ideal_width(setting.seeds, setting.tasks)
        yield _row("interquartile mean", "metarl", setting, found, 0.0, ideal)
    for setting in settings((1, 3, 5, 10), (5, 20, 50), (*SPREADS, RARE_FAILURES)):
        for rate in (0.02, 0.5, 0.9, 0.98):
            yield _rate_row(setting, rate, 5, repetitions, rng)
    for setting in settings((3, 5, 10), (50,), SPREADS):
        for shift in (0.5, 2.0):
            yield _improvement_row(setting, shift, repetitions // 2, rng)


def _rate_row(setting: Setting, rate: float, episodes: int, count: int, rng: np.random.Generator) -> Row:
    """Return the row of success rates with a true mean of ``rate``."""
    noise = setting.spread.draw(rng, count, setting.seeds, setting.tasks)
    deviation = float(np.linalg.norm(setting.spread.of_fresh(setting.seeds)))
    chances = expit(log_odds(rate, deviation) + noise)
    scores = rng.binomial(episodes, chances) / episodes
    found = metarl_means(scores, rng, Bootstrap(bounds=RATE))
    return _row("success rate", "metarl", setting, found, rate) | {"rate": rate, "episodes": episodes}


def _improvement_row(setting: Setting, shift: float, count: int, rng: np.random.Generator) -> Row:
    """Return the row of the probability that the better of two agents improves on the other."""
    pairs = pair_of(setting, 0.0, count, rng)
    found = ends_of([probability_of_improvement(ours + shift, theirs, rng) for ours, theirs in pairs])
    apart = np.sqrt(2) * np.hypot(setting.spread.seeds, setting.spread.rest)
    row = _row("probability of improvement", "metarl", setting, found, float(ndtr(shift / apart)))
    return row | {"shift": shift}


def _row(
    statistic: str, method: str, setting: Setting, found: Limits, truth: float, ideal: float | None = None
) -> Row:
    width = float(np.mean(found.high - found.low))
    row: Row = {"statistic": statistic, "interval": method, **setting.row()}
    row["coverage"] = float(np.mean((found.low <= truth) & (truth <= found.high)))
    row["width"] = round(width, 4)
    return row if ideal is None else row | {"times_ideal_width": round(width / ideal, 3)}


def equal_rows(repetitions: int, rng: np.random.Generator) -> Iterator[Row]:
    """Yield how often an interval separates two equal agents, by return and by success in 5 episodes.

    All tasks are as hard for one as for the other, or each agent has tasks of its own that it is good at.
    """
    for setting in settings((3, 5, 10), (5, 50), SPREADS):
        for own in (0.0, 0.5):
            pairs = pair_of(setting, own, repetitions, rng)
            row = setting.row() | {"sd_own_tasks": own}
            yield {"quantity": "return", **row} | told_apart(pairs, Bootstrap(), rng)
            rates = [(_successes(ours, rng), _successes(theirs, rng)) for ours, theirs in pairs]
            yield {"quantity": "success", **row} | told_apart(rates, Bootstrap(bounds=RATE), rng)


def _successes(scores: Values, rng: np.random.Generator) -> Values:
    return np.asarray(rng.binomial(5, expit(1 + 2 * scores)) / 5, np.float64)


def told_apart(pairs: list[tuple[Values, Values]], how: Bootstrap, rng: np.random.Generator) -> Row:
    """Return the share of pairs of equal agents of which an interval says that one is better."""
    chances = ends_of([probability_of_improvement(*pair, rng, how) for pair in pairs])
    differences = ends_of([difference(*pair, rng, how) for pair in pairs])
    return {
        "told_apart_by_probability": _excluded(chances, 0.5),
        "told_apart_by_difference": _excluded(differences, 0.0),
        "width_of_probability": round(float(np.mean(chances.high - chances.low)), 4),
    }


def _excluded(found: Limits, truth: float) -> float:
    return float(np.mean((found.low > truth) | (found.high < truth)))


def pair_of(
    setting: Setting, own: float, count: int, rng: np.random.Generator
) -> list[tuple[Values, Values]]:
    """Return scores of two equal agents, ``[S, T]`` each, on the same tasks.

    Both share the setting's deviation over tasks; each agent alone has the deviation ``own``.
    """
    shared = setting.spread.tasks * rng.normal(size=(count, 1, setting.tasks))
    alone = setting.spread._replace(tasks=own)
    ours, theirs = (shared + alone.draw(rng, count, setting.seeds, setting.tasks) for _ in range(2))
    return list(zip(ours, theirs, strict=True))


def settings(
    seeds: tuple[int, ...], tasks: tuple[int, ...], spreads: tuple[Spread, ...]
) -> Iterator[Setting]:
    """Yield all combinations."""
    for spread in spreads:
        for some_tasks in tasks:
            for some_seeds in seeds:
                yield Setting(some_seeds, some_tasks, spread)


def log_odds(rate: float, deviation: float) -> float:
    """Return the mean log-odds at which a share of ``rate`` succeeds, by bisection."""
    noise = deviation * ndtri((np.arange(2000) + 0.5) / 2000)
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(middle + noise).mean() < rate else (low, middle)
    return low


def ends_of(intervals: list[Interval]) -> Limits:
    """Return the ends of intervals as arrays."""
    return Limits(np.array([each.low for each in intervals]), np.array([each.high for each in intervals]))


def metarl_means(scores: Values, rng: np.random.Generator, how: Bootstrap | None = None) -> Limits:
    """Return metarl's intervals of the means of ``[count, S, T]``."""
    return ends_of(mean_intervals(np.moveaxis(scores, 0, -1), rng, how or Bootstrap()))


def percentile(scores: Values, rng: np.random.Generator) -> Limits:
    """Return percentile bootstraps over whole seeds and tasks (Owen 2007), metarl's intervals up to 0.1."""
    return _percentile(scores, rng, 1.0)


def widened(scores: Values, rng: np.random.Generator) -> Limits:
    """Return the same, widened by ``sqrt(S / (S - 1))`` and the t quantile of S - 1 over the normal one."""
    seeds = scores.shape[1]
    if seeds == 1:
        return percentile(scores, rng)
    quantiles = float(stdtrit(seeds - 1, TAIL) / ndtri(TAIL))
    return _percentile(scores, rng, float(np.sqrt(seeds / (seeds - 1))) * quantiles)


def _percentile(scores: Values, rng: np.random.Generator, factor: float) -> Limits:
    count, seeds, tasks = scores.shape
    lows, highs = [], []
    for start in range(0, count, CHUNK):
        part = scores[start : start + CHUNK]
        by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
        by_task = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=RESAMPLES) / tasks
        drawn = np.einsum("rs,nst,rt->nr", by_seed, part, by_task, optimize=True)
        ends = np.quantile(drawn, [TAIL, 1 - TAIL], axis=1)
        found = part.mean(axis=(1, 2))
        lows.append(found + factor * (ends[0] - found))
        highs.append(found + factor * (ends[1] - found))
    return Limits(np.concatenate(lows), np.concatenate(highs))


def studentised(scores: Values, rng: np.random.Generator) -> Limits:
    """Return studentised bootstraps over the seeds' means (over the tasks', if there is one seed).

    Of few seeds too many resamples hold one seed alone: their spread is 0, and the interval is endless.
    """
    means = scores.mean(axis=2) if scores.shape[1] > 1 else scores[:, 0]
    count = means.shape[1]
    drawn = means[:, rng.integers(count, size=(RESAMPLES, count))]
    found, error = means.mean(axis=1, keepdims=True), means.std(axis=1, ddof=1) / np.sqrt(count)
    spread = drawn.std(axis=2, ddof=1) / np.sqrt(count)
    off = drawn.mean(axis=2) - found
    ratio = np.divide(off, spread, out=np.copysign(np.inf, off), where=spread > 1e-12)
    low, high = np.quantile(ratio, [TAIL, 1 - TAIL], axis=1, method="nearest")
    return Limits(found[:, 0] - high * error, found[:, 0] - low * error)


def satterthwaite(scores: Values, _rng: np.random.Generator) -> Limits:
    """Return t intervals with the variance ``(MS_seeds + MS_tasks - MS_rest) / (S T)`` of a crossed design.

    Its degrees of freedom are Satterthwaite's (1946); the variance is no less than that of either source.
    """
    _, seeds, tasks = scores.shape
    by_seed, by_task = scores.mean(axis=2, keepdims=True), scores.mean(axis=1, keepdims=True)
    found = by_seed.mean(axis=1, keepdims=True)
    of_tasks = by_task.var(axis=2, ddof=1)[:, 0] / tasks
    if seeds == 1:
        half = -stdtrit(tasks - 1, TAIL) * np.sqrt(of_tasks)
        return Limits(found[:, 0, 0] - half, found[:, 0, 0] + half)
    of_seeds = by_seed.var(axis=1, ddof=1)[:, 0] / seeds
    free = (seeds - 1) * (tasks - 1)
    rest = ((scores - by_seed - by_task + found) ** 2).sum(axis=(1, 2)) / free / (seeds * tasks)
    variance = np.maximum(of_seeds + of_tasks - rest, np.maximum(of_seeds, of_tasks))
    squares = of_seeds**2 / (seeds - 1) + of_tasks**2 / (tasks - 1) + rest**2 / free
    half = -stdtrit(np.maximum(1, variance**2 / squares), TAIL) * np.sqrt(variance)
    return Limits(found[:, 0, 0] - half, found[:, 0, 0] + half)


METHODS: Mapping[str, Callable[[Values, np.random.Generator], Limits]] = {
    "metarl": metarl_means,
    "percentile": percentile,
    "widened percentile": widened,
    "studentised": studentised,
    "Satterthwaite": satterthwaite,
}


def table_of(rows: list[Row], title: str) -> Table:
    """Return rows under the names of all their columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(title=title)
    for name in names:
        table.add_column(name.replace("_", " "), justify="left" if name in _WORDS else "right")
    for row in rows:
        cells = [row.get(name, "") for name in names]
        table.add_row(*(f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells))
    return table


if __name__ == "__main__":
    run(main)
