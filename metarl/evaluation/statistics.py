"""Means, interquartile means, medians and profiles with intervals.

The aggregates are those of Agarwal et al. 2021 (arXiv 2108.13264) on scores ``[S, T]`` of S training seeds on
T tasks. There are two kinds of interval:

* ``over="both"``: fresh seeds on fresh tasks of the same families. Seeds and tasks are two
  sources of chance, each with a t interval of its own, and :mod:`metarl.evaluation.intervals` puts the two
  together. For a mean their variances are ``s_seeds^2 / S``, of the seeds' means, and ``s_tasks^2 / T``, of
  the tasks' means; for other statistics they come from a bootstrap that draws only seeds, or only tasks. One
  seed says nothing about others: its interval is over tasks alone, and is about that one agent. Likewise one
  task says nothing about others.
* ``over="seeds"``: fresh seeds on these very tasks, by the stratified percentile bootstrap of
  Agarwal et al., as in ``rliable``. It draws for each task its seeds, and takes the scores of one seed for
  independent of one another: where a seed is good or bad on all tasks, the interval is far too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.errors import MetarlError, require
from metarl.evaluation.intervals import Limits, Source, combine, limits, negligible, rank_limits, unseen
from metarl.evaluation.intervals import Values as Values  # is imported from here too
from metarl.functional.ranks import average_ranks

Indices: TypeAlias = npt.NDArray[np.int64]

_LARGEST_BATCH = 5_000_000  # numbers that are held at once while resampling: 40 MB


class Interval(NamedTuple):
    """Mean, or other number, with its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Level, resamples, coverage and bounds of intervals."""

    level: float = 0.95
    """Confidence, between 0 and 1."""
    resamples: int = 2000
    """Resamples of a bootstrap over seeds and tasks."""
    over: Literal["both", "seeds"] = "both"
    """Cover other seeds on other tasks ("both"), or other seeds on these tasks ("seeds")."""
    strata: tuple[str, ...] = ()
    """Stratum of each task, for instance its family; without, all tasks are of one kind."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """Least and greatest score (``RATE`` for a rate); intervals stay within."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(0 < self.level < 1, "level must lie between 0 and 1", self.level)
        require(1 <= self.resamples, "resamples must be 1 or more", self.resamples)
        require(self.bounds[0] < self.bounds[1], "bounds must rise", [*self.bounds])


class Aggregates(NamedTuple):
    """Mean, interquartile mean and median, with intervals."""

    mean: Interval
    iqm: Interval  # mean of the middle half of scores, which outliers move little
    median: Interval  # median over tasks of the mean over seeds


class Profile(NamedTuple):
    """Share of scores above each threshold (Agarwal et al. 2021, section 4.2)."""

    thresholds: Values  # ``[K]``
    shares: tuple[Interval, ...]  # K shares, each with its own interval


RATE = (0.0, 1.0)  # bounds of a share or a probability
DEFAULT = Bootstrap()


def mean(scores: Values) -> Values:
    """Return means over seeds and tasks, ``[..., S, T]`` to ``[...]``."""
    return np.asarray(scores.mean(axis=(-2, -1)), np.float64)


def median(scores: Values) -> Values:
    """Return medians over tasks of seeds' means, ``[..., S, T]`` to ``[...]``."""
    return np.asarray(np.median(scores.mean(axis=-2), axis=-1), np.float64)


def interquartile_mean(scores: Values) -> Values:
    """Return the mean of the middle half, ``[..., S, T]`` to ``[...]``.

    Of n scores the lowest and the highest ``floor(n / 4)`` are left out.
    """
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    count = ordered.shape[-1]
    cut = count // 4
    return np.asarray(ordered[..., cut : count - cut].mean(axis=-1), np.float64)


def confidence_interval(values: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT) -> Interval:
    """Return the mean with its interval.

    Of seeds' means ``a_i`` and tasks' means ``b_j``, with standard deviations s_a and s_b::

        mean -+ sqrt(t(S - 1)^2 s_a^2 / S + t(T - 1)^2 s_b^2 / T)

    Values that are all equal have an interval of no width, but for ``how.bounds``
    (:func:`metarl.evaluation.intervals.unseen`). So has a single value: it stands for itself.

    Args:
        values: ``[T]``, one number for each task, or ``[S, T]``, for each seed and task.

    Raises:
        MetarlError: if there are no values, one is not finite, or the strata are not one for each task.
    """
    return mean_intervals(_matrix(values)[:, :, None], rng, how)[0]


def mean_intervals(values: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT) -> list[Interval]:
    """Return K means and their intervals.

    ``values`` are ``[S, T, K]``, all finite; each is treated as in :func:`confidence_interval`.
    """
    return _pair_intervals(values[:, None], rng, how)


def aggregates(values: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT) -> Aggregates:
    """Return mean, interquartile mean and median, with intervals."""
    scores = _matrix(values)

    def others(drawn: Values) -> Values:
        return np.stack([interquartile_mean(drawn), median(drawn)], axis=-1)

    return Aggregates(confidence_interval(scores, rng, how), *_drawn_intervals(scores, others, rng, how))


def paired_gain(
    before: Values, after: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Interval:
    """Return ``after - before``'s mean with its interval.

    Both are ``[T]`` or ``[S, T]``, of the same seeds and tasks in the same order; ``how.bounds`` are theirs.

    Raises:
        MetarlError: if the two do not pair up, or as in :func:`confidence_interval`.
    """
    return confidence_interval(_differences(before, after), rng, _of_differences(how))


def share_worse(
    before: Values, after: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Interval:
    """Return the share of tasks that score lower ``after`` than ``before``.

    It counts the tasks of each seed. Arguments and errors as :func:`paired_gain`.
    """
    worse = (_differences(before, after) < 0).astype(np.float64)
    return confidence_interval(worse, rng, replace(how, bounds=RATE))


def performance_profile(
    values: Values, thresholds: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Profile:
    """Return the share of scores above each of ``[K]`` thresholds, with pointwise intervals.

    Other arguments and errors as :func:`confidence_interval`.
    """
    levels = np.asarray(thresholds, np.float64)
    above = (_matrix(values)[:, :, None] > levels).astype(np.float64)
    return Profile(levels, tuple(mean_intervals(above, rng, replace(how, bounds=RATE))))


def difference(ours: Values, theirs: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT) -> Interval:
    """Return by how much ours exceeds theirs on the same tasks.

    The interval has three sources: the seeds of ours, the seeds of theirs, and the tasks with the difference
    that each shows. A side of one seed is about that agent. Arguments and errors as
    :func:`probability_of_improvement`.
    """
    one, other = _same_tasks(ours, theirs)
    cells = (one[:, None] - other[None])[..., None]  # [S, S', T, 1]
    return _pair_intervals(cells, rng, _of_differences(how))[0]


def probability_of_improvement(
    ours: Values, theirs: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Interval:
    """Return the probability that a seed of ours beats one of theirs.

    The mean over tasks of ``P(ours > theirs) + P(ours = theirs) / 2`` over all pairs of seeds, which is the
    Mann-Whitney statistic (Agarwal et al. 2021, section 4.3). The interval has the three sources of
    :func:`difference`, and is no narrower than :func:`metarl.evaluation.intervals.rank_limits`, so three
    seeds that all beat three others are not taken for certain.

    Args:
        ours: ``[S, T]``, or ``[T]`` of one seed.
        theirs: ``[S', T]`` on the same tasks in the same order.

    Raises:
        MetarlError: if the tasks are not equally many, or as in :func:`confidence_interval`.
    """
    one, other = _same_tasks(ours, theirs)
    how = replace(how, bounds=RATE)
    won = (np.sign(one[:, None] - other[None]) / 2 + 0.5)[..., None]  # [S, S', T, 1]: 1, a half or 0
    interval = _pair_intervals(won, rng, how)[0]
    if how.over == "seeds" or len(one) == len(other) == 1:
        return interval
    found = np.array([interval.mean])
    tasks = limits(found, _task_source(won.mean(axis=(0, 1)), how), how.level, RATE)
    ranked = rank_limits(interval.mean, (len(one), len(other)), _concordance(one, other), tasks, how.level)
    low, high = min(interval.low, float(ranked.low[0])), max(interval.high, float(ranked.high[0]))
    return Interval(interval.mean, low, high)


def _concordance(*runs: Values) -> float:
    """Return how far seeds keep their order over tasks, Kendall's W, meaned over runs.

    1 if the order is the same on all tasks, about 1 / T if the tasks' orders have nothing in common.
    """
    found = []
    for scores in runs:
        if len(scores) > 1:
            ranks = np.apply_along_axis(average_ranks, 0, scores)
            spread = ranks.var(axis=0).mean()
            found.append(float(ranks.mean(axis=1).var() / spread) if spread > 0 else 0.0)
    return float(np.mean(found))


def _differences(before: Values, after: Values) -> Values:
    if np.shape(before) != np.shape(after):
        raise MetarlError(
            f"A gain compares the same tasks, but there are {np.size(before)} values before and "
            f"{np.size(after)} after."
        )
    return np.subtract(after, before)


def _of_differences(how: Bootstrap) -> Bootstrap:
    low, high = how.bounds
    return replace(how, bounds=(low - high, high - low))


def _same_tasks(ours: Values, theirs: Values) -> tuple[Values, Values]:
    one, other = _matrix(ours), _matrix(theirs)
    if one.shape[1] != other.shape[1]:
        raise MetarlError(
            f"Two runs are compared on the same tasks, but there are {one.shape[1]} and {other.shape[1]}."
        )
    return one, other


def _matrix(values: Values) -> Values:
    """Return values as ``[S, T]``."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim not in (1, 2) or scores.size == 0 or not np.isfinite(scores).all():
        raise MetarlError(
            "A confidence interval needs one finite value for each of at least one task, "
            f"but it is given {scores.tolist()}."
        )
    return np.atleast_2d(scores)


def _pair_intervals(cells: Values, rng: np.random.Generator, how: Bootstrap) -> list[Interval]:
    """Return means with intervals of values ``[S, S', T, K]`` of pairs of seeds."""
    # Of equal cells one says the mean without the rounding of a sum.
    equal = (cells == cells[:1, :1, :1]).all(axis=(0, 1, 2))
    found = np.where(equal, cells[0, 0, 0], cells.mean(axis=(0, 1, 2)))
    if how.over == "seeds":
        return _percentiles(found, _draw_pairs(cells, rng, how), how)
    sources = (
        _seed_source(cells.mean(axis=(1, 2))),
        _seed_source(cells.mean(axis=(0, 2))),
        _task_source(cells.mean(axis=(0, 1)), how),
    )
    return _joined(found, sources, cells.shape[2], how)


def _seed_source(means: Values) -> Source:
    """Return the seeds, with means ``[S, K]``, as a source of chance; one seed is none."""
    seeds, count = means.shape
    if seeds == 1:
        return Source(np.zeros(count), np.ones(count))
    return Source(_variance(means) / seeds, np.full(count, seeds - 1.0))


def _variance(values: Values) -> Values:
    """Return the unbiased variance over the first axis, exactly zero where all are equal."""
    return np.asarray((values - values[0]).var(axis=0, ddof=1), np.float64)


def _task_source(means: Values, how: Bootstrap) -> Source:
    """Return the tasks, with means ``[T, K]``, as a source of chance.

    Over strata of T_h tasks the variance is ``sum_h V_h`` with ``V_h = (T_h / T)^2 s_h^2 / T_h``, and has
    ``(sum_h V_h)^2 / sum_h V_h^2 / (T_h - 1)`` degrees of freedom (Satterthwaite 1946).
    """
    tasks, count = means.shape
    variance, squares = np.zeros(count), np.zeros(count)
    strata = _strata(how.strata, tasks)
    for members in strata if tasks > 1 else []:
        part = _variance(means[members]) * len(members) / tasks**2
        variance += part
        squares += part**2 / (len(members) - 1)
    most = max(1.0, float(tasks - len(strata)))
    dof = np.divide(variance**2, squares, out=np.full(count, most), where=squares > 0)
    return Source(variance, np.clip(dof, 1, most))


def _drawn_intervals(
    scores: Values, statistic: Callable[[Values], Values], rng: np.random.Generator, how: Bootstrap
) -> list[Interval]:
    """Return bootstrap intervals of ``statistic``, which maps ``[R, S, T]`` to ``[R, K]``.

    Each source's variance is that over resamples which draw it alone. Drawing n of n again gives (n - 1) / n
    of the variance, which is made good; over H strata, T - H of T tasks are free. The degrees of freedom are
    those of the mean.
    """
    seeds, tasks = scores.shape
    if (scores == scores[0, 0]).all():
        # Resamples are all the same; one score alone says so without the rounding of a sum.
        return _joined(statistic(scores[None, :1, :1])[0], (), tasks, how)
    found = statistic(scores[None])[0]
    each_seed, each_task = np.arange(seeds)[:, None], np.arange(tasks)

    def drawn(draw: Callable[[int], tuple[Indices, Indices]]) -> Values:
        parts = [statistic(scores[draw(count)]) for count in _batches(how.resamples, scores.size)]
        return np.concatenate(parts)

    if how.over == "seeds":
        by_task = drawn(lambda count: (rng.integers(seeds, size=(count, seeds, tasks)), each_task))
        return _percentiles(found, by_task, how)
    sources = []
    if seeds > 1:
        values = drawn(lambda count: (rng.integers(seeds, size=(count, seeds, 1)), each_task))
        dof = _seed_source(scores.mean(axis=1)[:, None]).dof
        sources.append(Source(values.var(axis=0) * seeds / (seeds - 1), dof))
    if tasks > 1:
        values = drawn(lambda count: (each_seed, _draw_tasks(tasks, count, rng, how)))
        dof = _task_source(scores.mean(axis=0)[:, None], how).dof
        sources.append(Source(values.var(axis=0) * tasks / (tasks - len(_strata(how.strata, tasks))), dof))
    return _joined(found, sources, tasks, how)


def _joined(found: Values, sources: Sequence[Source], tasks: int, how: Bootstrap) -> list[Interval]:
    """Return numbers ``[K]`` with combined intervals."""
    both = combine(found, [limits(found, source, how.level, how.bounds) for source in sources])
    alone = unseen(found, tasks, how.level, how.bounds)
    variance = sum((source.variance for source in sources), np.zeros_like(found))
    still = negligible(variance, how.bounds)
    low, high = (np.clip(np.where(still, *ends), *how.bounds) for ends in zip(alone, both, strict=True))
    return _intervals(found, Limits(low, high))


def _percentiles(found: Values, drawn: Values, how: Bootstrap) -> list[Interval]:
    """Return numbers ``[K]`` with quantiles of their resamples ``[R, K]``."""
    outside = (1 - how.level) / 2
    return _intervals(found, Limits(*np.quantile(drawn, [outside, 1 - outside], axis=0)))


def _intervals(found: Values, ends: Limits) -> list[Interval]:
    return [Interval(*map(float, row)) for row in zip(found, ends.low, ends.high, strict=True)]


def _draw_pairs(cells: Values, rng: np.random.Generator, how: Bootstrap) -> Values:
    """Draw means ``[R, K]`` of pairs ``[S, S', T, K]``; both runs' seeds are drawn for each task."""
    ours, theirs, tasks, _ = cells.shape
    drawn = []
    for count in _batches(how.resamples, cells.size):
        mine = rng.integers(ours, size=(count, ours, 1, tasks))
        their = rng.integers(theirs, size=(count, 1, theirs, tasks))
        drawn.append(cells[mine, their, np.arange(tasks)].mean(axis=(1, 2, 3)))
    return np.concatenate(drawn)


def _batches(resamples: int, size: int) -> Iterator[int]:
    most = max(1, _LARGEST_BATCH // size)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _draw_tasks(tasks: int, count: int, rng: np.random.Generator, how: Bootstrap) -> Indices:
    """Draw task indices within strata, ``[R, 1, T]``."""
    strata = _strata(how.strata, tasks)
    parts = [members[rng.integers(len(members), size=(count, len(members)))] for members in strata]
    return np.concatenate(parts, axis=1)[:, None]


def _strata(labels: Sequence[str], tasks: int) -> list[Indices]:
    """Return each stratum's task indices; all tasks together where a stratum has only one."""
    if labels and len(labels) != tasks:
        raise MetarlError(f"Every task needs one stratum, but there are {len(labels)} for {tasks} tasks.")
    names = np.array(labels)
    parts = [np.flatnonzero(names == name) for name in dict.fromkeys(labels)]
    return parts if parts and min(map(len, parts)) > 1 else [np.arange(tasks)]
