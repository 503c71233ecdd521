"""Ranks of numbers; equal ones share theirs."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]


def average_ranks(values: npt.NDArray[np.floating]) -> Values:
    """Return ranks ``[N]`` from 1 on; equal values have the mean of theirs.

    ``scipy.stats.rankdata`` does the same, but to import it takes every command half a second.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = np.cumsum(counts) - (counts - 1) / 2
    return ranks[places]


def spearman(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Return Spearman's coefficient of paired values, each ``[N]`` and not all equal."""
    return float(np.corrcoef(average_ranks(one), average_ranks(other))[0, 1])
