"""What tasks and seeds say together: means, interquartile means, medians, profiles, all with intervals.

The aggregates are those of Agarwal et al. 2021 (arXiv 2108.13264) on scores ``[S, T]`` of S training seeds on
T tasks; the intervals are percentile bootstraps (Efron 1979). What is drawn again is never an episode:

* ``over="both"``: whole seeds, and whole tasks within their strata (the pigeonhole bootstrap, Owen 2007,
  arXiv 0712.1111). This asks what other seeds would do on other tasks of the same families; all tasks of one
  seed share its agent, and rise and fall together. With one seed only the tasks are drawn.
* ``over="seeds"``: for each task its seeds, each task by itself: the stratified bootstrap of Agarwal et al.,
  as in ``rliable``. This keeps the tasks, and takes the scores of one seed for independent of one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.errors import MetarlError, require

Values: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]

_LARGEST_BATCH = 5_000_000  # numbers that are held at once while resampling: 40 MB


class Interval(NamedTuple):
    """A number, mostly a mean over tasks, and the interval that holds it with the stated confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are made."""

    level: float = 0.95
    """Confidence, between 0 and 1."""
    resamples: int = 9999
    """How often seeds and tasks are drawn again."""
    over: Literal["both", "seeds"] = "both"
    """What is drawn again: seeds and tasks, or for each task its seeds."""
    strata: tuple[str, ...] = ()
    """Of each task, whom it is drawn with, its family for instance; without, all tasks are of one kind."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(0 < self.level < 1, "level must lie between 0 and 1", self.level)
        require(1 <= self.resamples, "resamples must be 1 or more", self.resamples)


class Aggregates(NamedTuple):
    """Three ways to put scores into one number, each with its interval."""

    mean: Interval
    iqm: Interval
    """Mean of the middle half of all scores: far less moved by single ones than the mean."""
    median: Interval
    """Median over tasks of the mean over seeds."""


class Profile(NamedTuple):
    """Which share of the scores lies above each threshold (Agarwal et al. 2021, section 4.2)."""

    thresholds: Values
    """``[K]``."""
    shares: tuple[Interval, ...]
    """K, each with its own interval."""


DEFAULT = Bootstrap()


def mean(scores: Values) -> Values:
    """Return the mean over seeds and tasks, ``[..., S, T]`` to ``[...]``."""
    return np.asarray(scores.mean(axis=(-2, -1)), np.float64)


def median(scores: Values) -> Values:
    """Return the median over tasks of the mean over seeds, ``[..., S, T]`` to ``[...]``."""
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

    One value, or values that are all equal, have an interval of no width.

    Args:
        values: ``[T]``, one number for each task, or ``[S, T]``, for each seed and task.
        rng: where the resamples are drawn from.
        how: what is drawn again, and how often.

    Raises:
        MetarlError: if there are no values, one is not finite, or the strata are not one for each task.
    """
    return _intervals(_matrix(values), lambda scores: mean(scores)[:, None], rng, how)[0]


def aggregates(values: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT) -> Aggregates:
    """Return mean, interquartile mean and median; arguments and errors as :func:`confidence_interval`."""

    def all_three(scores: Values) -> Values:
        return np.stack([mean(scores), interquartile_mean(scores), median(scores)], axis=-1)

    return Aggregates(*_intervals(_matrix(values), all_three, rng, how))


def paired_gain(
    before: Values, after: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Interval:
    """Return the mean of ``after - before`` with its interval; it is above 0 if adapting helps.

    Args:
        before: ``[T]`` or ``[S, T]``, as in :func:`confidence_interval`.
        after: the same seeds and tasks in the same order.
        rng: where the resamples are drawn from.
        how: what is drawn again, and how often.

    Raises:
        MetarlError: if the two do not pair up, or as in :func:`confidence_interval`.
    """
    return confidence_interval(_differences(before, after), rng, how)


def share_worse(
    before: Values, after: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Interval:
    """Return the share of tasks (of each seed) that score lower ``after`` than ``before``, with its interval.

    Arguments and errors as :func:`paired_gain`.
    """
    return confidence_interval((_differences(before, after) < 0).astype(np.float64), rng, how)


def performance_profile(
    values: Values, thresholds: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Profile:
    """Return which share of all scores lies above each threshold, with pointwise intervals.

    Args:
        values: ``[T]`` or ``[S, T]``, as in :func:`confidence_interval`.
        thresholds: ``[K]``.
        rng: where the resamples are drawn from.
        how: what is drawn again, and how often.

    Raises:
        MetarlError: as in :func:`confidence_interval`.
    """
    levels = np.asarray(thresholds, np.float64)

    def shares(scores: Values) -> Values:
        return np.stack([(scores > level).mean(axis=(-2, -1)) for level in levels], axis=-1)

    scores = _matrix(values)
    return Profile(levels, tuple(_intervals(scores, shares, rng, how)))


def probability_of_improvement(
    ours: Values, theirs: Values, rng: np.random.Generator, how: Bootstrap = DEFAULT
) -> Interval:
    """Return how likely a seed of ours beats one of theirs on a task; a tie counts half.

    The mean over tasks of ``P(ours > theirs) + P(ours = theirs) / 2`` over all pairs of seeds, which is the
    Mann-Whitney statistic (Agarwal et al. 2021, section 4.3). Both meet the same tasks, so a task that is
    drawn is drawn for both.

    Args:
        ours: ``[S, T]``, or ``[T]`` of one seed.
        theirs: ``[S', T]`` on the same tasks in the same order.
        rng: where the resamples are drawn from.
        how: what is drawn again, and how often.

    Raises:
        MetarlError: if the tasks are not equally many, or as in :func:`confidence_interval`.
    """
    one, other = _matrix(ours), _matrix(theirs)
    if one.shape[1] != other.shape[1]:
        raise MetarlError(
            f"Two runs are compared on the same tasks, but there are {one.shape[1]} and {other.shape[1]}."
        )
    won = np.sign(one[:, None] - other[None, :]) / 2 + 0.5  # [S, S', T]: 1, a half or 0
    drawn = []
    for count in _batches(how.resamples, won.size):
        tasks = _draw_tasks(one.shape[1], count, rng, how)[:, :, None]
        mine = _draw_seeds(one, count, rng, how)[:, :, None]
        their = _draw_seeds(other, count, rng, how)[:, None]
        drawn.append(won[mine, their, tasks].mean(axis=(1, 2, 3))[:, None])
    return _bounded(won.mean()[None], np.concatenate(drawn), how)[0]


def _differences(before: Values, after: Values) -> Values:
    if np.shape(before) != np.shape(after):
        raise MetarlError(
            f"A gain compares the same tasks, but there are {np.size(before)} values before and "
            f"{np.size(after)} after."
        )
    return np.subtract(after, before)


def _matrix(values: Values) -> Values:
    """Return values as ``[S, T]``."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim not in (1, 2) or scores.size == 0 or not np.isfinite(scores).all():
        raise MetarlError(
            "A confidence interval needs one finite value for each of at least one task, "
            f"but it is given {scores.tolist()}."
        )
    return np.atleast_2d(scores)


def _intervals(
    scores: Values, statistic: Callable[[Values], Values], rng: np.random.Generator, how: Bootstrap
) -> list[Interval]:
    """Return K numbers made of scores, by a ``statistic`` of ``[R, S, T]`` to ``[R, K]``, with intervals."""
    if (scores == scores[0, 0]).all():
        # Resamples are all the same; one score alone says so without the rounding of a sum.
        return [Interval(*[float(value)] * 3) for value in statistic(scores[None, :1, :1])[0]]
    drawn = [statistic(part) for part in _resampled(scores, rng, how)]
    return _bounded(statistic(scores[None])[0], np.concatenate(drawn), how)


def _bounded(found: Values, drawn: Values, how: Bootstrap) -> list[Interval]:
    """Return numbers ``[K]`` with the quantiles of what was drawn again, ``[R, K]``."""
    outside = (1 - how.level) / 2
    lows, highs = np.quantile(drawn, [outside, 1 - outside], axis=0)
    return [Interval(*map(float, row)) for row in zip(found, lows, highs, strict=True)]


def _resampled(scores: Values, rng: np.random.Generator, how: Bootstrap) -> Iterator[Values]:
    """Yield all resamples ``[R, S, T]``, some at a time."""
    for count in _batches(how.resamples, scores.size):
        seeds = _draw_seeds(scores, count, rng, how)
        yield scores[seeds, _draw_tasks(scores.shape[1], count, rng, how)]


def _batches(resamples: int, size: int) -> Iterator[int]:
    most = max(1, _LARGEST_BATCH // size)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _draw_seeds(scores: Values, count: int, rng: np.random.Generator, how: Bootstrap) -> Indices:
    """Return indices of seeds: ``[R, S, 1]`` for whole seeds, ``[R, S, T]`` for each task by itself."""
    seeds, tasks = scores.shape
    return rng.integers(seeds, size=(count, seeds, 1 if how.over == "both" else tasks))


def _draw_tasks(tasks: int, count: int, rng: np.random.Generator, how: Bootstrap) -> Indices:
    """Return indices of tasks, ``[R, 1, T]``."""
    if how.over == "seeds":
        return np.broadcast_to(np.arange(tasks), (count, 1, tasks))
    parts = [
        members[rng.integers(len(members), size=(count, len(members)))]
        for members in _strata(how.strata, tasks)
    ]
    return np.concatenate(parts, axis=1)[:, None]


def _strata(labels: Sequence[str], tasks: int) -> list[Indices]:
    if not labels:
        return [np.arange(tasks)]
    if len(labels) != tasks:
        raise MetarlError(f"Every task needs one stratum, but there are {len(labels)} for {tasks} tasks.")
    names = np.array(labels)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(labels)]
