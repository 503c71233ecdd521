"""A map of tasks by their adaptation vectors.

How far a policy moves depends on more than the task, how long it is adapted for instance; where to, on what
the task asks for. So tasks are compared by the directions of their adaptation vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform

from metarl.evaluation.statistics import Values
from metarl.functional.ranks import average_ranks
from metarl.types import Task

PERMUTATIONS = 9999
_LARGEST_BATCH = 2_000_000  # ranks that are held at once


@dataclass(frozen=True)
class TaskMap:
    """Tasks in the plane, except those that do not move the policy."""

    places: tuple[int, ...]  # places of the tasks on the map
    points: Values  # ``[len(places), 2]``
    shown: float  # share of variance that the plane shows
    cosines: Values  # cosines between adaptation vectors, ``[len(places), len(places)]``


@dataclass(frozen=True)
class Likeness:
    """Test whether close tasks move policies alike."""

    # Spearman's correlation of both distances over the pairs of a family, meaned over families
    correlation: float
    p_value: float  # share of exchanges of tasks within their family that correlate as much (Mantel 1967)
    pairs: int
    families: int  # families counted: those of three tasks or more, at different distances from each other


def task_map(vectors: Values) -> TaskMap:
    """Return the principal components of the directions of vectors ``[T, D]``.

    This is classical multidimensional scaling of the distances ``sqrt(2 - 2 cos)`` between directions.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    places = np.flatnonzero(lengths > 0)
    # unit vectors: only the direction of the adaptation counts, not its length
    directions = vectors[places] / lengths[places, None]
    # principal components are the singular vectors of the centred directions
    left, spread, _ = np.linalg.svd(directions - directions.mean(axis=0), full_matrices=False)
    points = np.zeros((len(places), 2))
    shown = min(2, len(spread))
    points[:, :shown] = left[:, :shown] * spread[:shown]
    total = float(np.square(spread).sum())
    return TaskMap(
        places=tuple(places.tolist()),
        points=points,
        shown=float(np.square(spread[:2]).sum() / total) if total > 0 else 1.0,
        cosines=np.clip(directions @ directions.T, -1.0, 1.0),
    )


def likeness(tasks: Sequence[Task], cosines: Values, rng: np.random.Generator) -> Likeness | None:
    """Correlate distances of tasks and adaptation vectors; None if no family counts.

    Tasks are as far apart as their parameters (Euclidean), vectors as ``1 - cos`` of ``cosines`` ``[T, T]``;
    only tasks of one family are compared. The p-value is one-sided: that of a correlation as large or larger.
    """
    families = dict.fromkeys(task.family for task in tasks)
    found = [ranks for family in families if (ranks := _ranks(tasks, cosines, family)) is not None]
    if not found:
        return None
    correlation = float(
        np.mean([_correlations(*ranks, np.arange(len(ranks[0]))[None])[0] for ranks in found])
    )
    # as large by chance alone: exchange the tasks of each family
    exchanged = np.mean([_exchanged(*ranks, rng) for ranks in found], axis=0)
    as_large = int((exchanged >= correlation - 1e-9).sum())
    pairs = sum(len(ours) * (len(ours) - 1) // 2 for ours, _ in found)
    return Likeness(correlation, (1 + as_large) / (1 + PERMUTATIONS), pairs, len(found))


Ranks = tuple[Values, Values]
"""Ranks of vectors' and of tasks' distances in a family, symmetric ``[n, n]`` each."""


def _ranks(tasks: Sequence[Task], cosines: Values, family: str) -> Ranks | None:
    """Return a family's ranks; None unless distances differ."""
    places = [place for place, task in enumerate(tasks) if task.family == family]
    if len(places) < 3:
        return None
    between_tasks = pdist(np.array([tasks[place].parameters for place in places], np.float64))
    # 1 - cos, in the order of scipy's pdist
    upper = np.triu_indices(len(places), 1)
    between_vectors = 1 - cosines[np.ix_(places, places)][upper]
    if np.ptp(between_tasks) == 0 or np.ptp(between_vectors) < 1e-12:
        return None
    return squareform(average_ranks(between_vectors)), squareform(average_ranks(between_tasks))


def _exchanged(ours: Values, theirs: Values, rng: np.random.Generator) -> Values:
    """Return correlations ``[PERMUTATIONS]`` of tasks exchanged at random."""
    at_once = max(1, _LARGEST_BATCH // ours.size)
    found = []
    for start in range(0, PERMUTATIONS, at_once):
        number = min(at_once, PERMUTATIONS - start)
        orders = rng.permuted(np.tile(np.arange(len(ours)), (number, 1)), axis=1)
        found.append(_correlations(ours, theirs, orders))
    return np.concatenate(found)


def _correlations(ours: Values, theirs: Values, orders: npt.NDArray[np.int64]) -> Values:
    """Return correlations over pairs of tasks for each order ``[R, n]`` of ours."""
    first, second = np.triu_indices(len(ours), 1)
    fixed = theirs[first, second] - theirs[first, second].mean()
    moving = ours[orders[:, first], orders[:, second]]
    size = np.linalg.norm(fixed) * np.linalg.norm(moving[0] - moving[0].mean())
    return np.asarray(moving @ fixed / size, np.float64)
