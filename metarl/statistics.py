"""Confidence intervals over tasks: the percentile bootstrap of the mean (Efron 1979).

The unit that is drawn again is the task, not the episode: what is asked is how the agent would do on other
tasks of the same distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from metarl.errors import MetarlError

Values = npt.NDArray[np.float64]

_RESAMPLES = 9999
_LARGEST_BATCH = 5_000_000  # numbers that are held at once while resampling: 40 MB


class Interval(NamedTuple):
    """A mean and the interval that holds it with the stated confidence."""

    mean: float
    low: float
    high: float


def confidence_interval(values: Values, rng: np.random.Generator, level: float = 0.95) -> Interval:
    """Return the mean over tasks with its percentile-bootstrap interval.

    One value, or values that are all equal, have an interval of no width.

    Args:
        values: ``[n]``, one number for each task.
        rng: where the resamples are drawn from.
        level: the confidence, between 0 and 1.

    Raises:
        MetarlError: if there are no values, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise MetarlError(
            "A confidence interval needs one finite value for each of at least one task, "
            f"but it is given {values.tolist()}."
        )
    if (values == values[0]).all():
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _LARGEST_BATCH // values.size),
        confidence_level=level,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Interval(float(values.mean()), float(found.low), float(found.high))


def paired_gain(before: Values, after: Values, rng: np.random.Generator, level: float = 0.95) -> Interval:
    """Return the mean over tasks of ``after - before`` with its interval; it is above 0 if adapting helps.

    Args:
        before: ``[n]``, one number for each task.
        after: ``[n]``, the same tasks in the same order.
        rng: where the resamples are drawn from.
        level: the confidence, between 0 and 1.

    Raises:
        MetarlError: if the two do not pair up, or as in :func:`confidence_interval`.
    """
    if np.shape(before) != np.shape(after):
        raise MetarlError(
            f"A gain compares the same tasks, but there are {np.size(before)} values before and "
            f"{np.size(after)} after."
        )
    return confidence_interval(np.subtract(after, before), rng, level)
