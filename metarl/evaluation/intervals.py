"""Confidence intervals under several independent sources of chance.

A score of seed i on task j is modelled as a mean + a seed effect + a task effect + a rest. All seeds meet the
same tasks, so both effects stay in the mean over all scores, however many of the other there are. Each source
gets a t interval of its own (:func:`limits`), and these are put together as Howe does (:func:`combine`).

``benchmarks/learning/interval_coverage.py`` measures how often these intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri, stdtrit

Values: TypeAlias = npt.NDArray[np.float64]

_NOTHING = 1e-18  # a variance, in squares of the range, that is rounding alone
_GRID = 2001  # probabilities that are tried: ends are exact to 0.0005


class Source(NamedTuple):
    """One source of chance: seeds, or tasks."""

    variance: Values  # ``[K]``, its part of each estimate's variance
    dof: Values  # ``[K]``, degrees of freedom of that variance


class Limits(NamedTuple):
    """Lower and upper ends of K intervals."""

    low: Values
    high: Values


def limits(
    found: Values, source: Source, level: float, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Limits:
    """Return K intervals for one source of chance.

    Without finite bounds, Student's ``found ± t sqrt(variance)``, with the t quantile of ``source.dof``.

    Between two bounds, rescaled to p in 0..1, the interval of Korn and Graubard (1998, Survey Methodology 24,
    193-201): that of Clopper and Pearson for ``n p`` successes among the effective number of trials
    ``n = p (1 - p) / variance * (z / t)^2``. It stays within the bounds, and is skew near them.

    Args:
        found: ``[K]``.
        source: its variance; where this is zero the interval has no width.
        bounds: least and greatest value that an estimate can have.
    """
    outside = (1 - level) / 2
    quantile = -stdtrit(source.dof, outside)
    width = bounds[1] - bounds[0]
    if not np.isfinite(width):
        # found ± t sqrt(variance)
        half = quantile * np.sqrt(source.variance)
        return Limits(np.clip(found - half, *bounds), np.clip(found + half, *bounds))
    # rescale to p in 0..1
    share = np.clip((found - bounds[0]) / width, 0, 1)
    # the variance of m = dof + 1 values, taken (m + 1) / m times since few skew values hide their tail
    variance = source.variance / width**2 * (source.dof + 2) / (source.dof + 1)
    known = ~negligible(variance, (0, 1)) & (share > 0) & (share < 1)
    # n = p (1 - p) / variance, shrunk by (z / t)^2 for the unknown variance
    trials = share * (1 - share) / np.where(known, variance, 1) * (ndtri(outside) / quantile) ** 2
    hits, misses = np.where(known, share * trials, 1), np.where(known, (1 - share) * trials, 1)
    # Clopper-Pearson with p n successes in n trials
    low = np.where(known, betaincinv(hits, misses + 1, outside), share)
    high = np.where(known, betaincinv(hits + 1, misses, 1 - outside), share)
    return Limits(bounds[0] + width * np.minimum(low, share), bounds[0] + width * np.maximum(high, share))


def negligible(variance: Values, bounds: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Return which variances are zero, or mere rounding beside finite bounds."""
    width = bounds[1] - bounds[0]
    return np.asarray(variance <= (_NOTHING * width**2 if np.isfinite(width) else 0.0))


def combine(found: Values, parts: Sequence[Limits]) -> Limits:
    """Combine the intervals of independent parts.

    The distances from the estimate add up as squares::

        low = found - sqrt(sum_k (found - low_k)^2),   high = found + sqrt(sum_k (high_k - found)^2)

    (Howe 1974, JASA 69, 789-794; for skew intervals Zou and Donner 2008, Statistics in Medicine 27,
    1693-1702.)
    """
    below = np.sqrt(sum(((found - part.low) ** 2 for part in parts), np.zeros_like(found)))
    above = np.sqrt(sum(((part.high - found) ** 2 for part in parts), np.zeros_like(found)))
    return Limits(found - below, found + above)


def unseen(found: Values, tasks: int, level: float, bounds: tuple[float, float]) -> Limits:
    """Return intervals where all tasks agree.

    Tasks of a kind that none of T drawn ones is of have a probability of at most
    ``r = 1 - ((1 - level) / 2)^(1 / T)``, about 3.7 / T at 95 % (the two-sided rule of three). Their scores
    could be as far off as the bounds, so ``low = found - r (found - bounds[0])``, and ``high`` likewise.
    Without finite bounds nothing follows, and the interval has no width.
    """
    if not np.isfinite(bounds[1] - bounds[0]):
        return Limits(found, found)
    rate = 1 - ((1 - level) / 2) ** (1 / tasks)
    return Limits(found - rate * (found - bounds[0]), found + rate * (bounds[1] - found))


def rank_limits(
    found: float, seeds: tuple[int, int], concordance: float, tasks: Limits, level: float
) -> Limits:
    """Return few seeds' narrowest Mann-Whitney interval.

    Where all seeds of one run beat all of another, the spread over seeds is zero, and yet of two equal agents
    with three seeds each one does so in one case of ten. So the variance over seeds is taken from the
    probability ``p`` that is tried (Newcombe 2006, Statistics in Medicine 25, 559-573, method 5)::

        V(p) = p (1 - p) / (S S') * (1 + ((S + S') / 2 - 1) ((1 - p) / (2 - p) + p / (1 + p)))

    and every p with ``(found - p)^2 <= W (z sqrt(V(p)) + 1 / (2 S S'))^2 + d^2`` is kept, where d is the
    distance to the end of the tasks' interval, and W is 1 if the seeds keep their order on all tasks. The
    less they do, the more each task is a comparison of its own.

    Args:
        found: share of pairs that were won.
        seeds: S and S'.
        concordance: W, Kendall's coefficient of concordance of each run's seeds over the tasks.
        tasks: ``[1]``, interval for the tasks as a source of chance.
    """
    ours, theirs = seeds
    grid = np.linspace(0, 1, _GRID)
    spread = (1 - grid) / (2 - grid) + grid / (1 + grid)
    variance = grid * (1 - grid) / (ours * theirs) * (1 + ((ours + theirs) / 2 - 1) * spread)
    step = 1 / (2 * ours * theirs)  # half a step of the statistic: the correction for continuity
    over_seeds = concordance * (-ndtri((1 - level) / 2) * np.sqrt(variance) + step) ** 2
    over_tasks = np.where(grid < found, found - tasks.low, tasks.high - found)
    kept = np.append(grid[(found - grid) ** 2 <= over_seeds + over_tasks**2], found)
    return Limits(np.array([kept.min()]), np.array([kept.max()]))
