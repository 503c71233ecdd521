"""Do observations tell an agent which task it is in? It is to find out by acting."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metarl.tasks import Array


def still_entries(seen: Array) -> npt.NDArray[np.intp]:
    """Return the entries of observations that only the task can have chosen.

    Args:
        seen: ``[steps of several episodes, tasks, O]``, the episodes of all tasks with the same seeds.

    Returns:
        Indices of entries that never change in a task, but are not the same in all tasks.
    """
    constant = (seen == seen[:1]).all(axis=(0, 1))
    differs = (seen[0] != seen[0, :1]).any(axis=0)
    return np.flatnonzero(constant & differs)


def shown_parameters(seen: Array, parameters: Array) -> list[int]:
    """Return where observations show the parameters, if they show all that tells the tasks apart.

    A robot may well see some of them, such as where a thing lies that it has not touched.

    Args:
        seen: as in :func:`still_entries`.
        parameters: ``[tasks, numbers]``.
    """
    still = still_entries(seen)
    telling = np.flatnonzero((parameters != parameters[:1]).any(axis=0))
    places = []
    for number in telling:
        equal = [
            entry
            for entry in still
            if np.allclose(seen[0, :, entry], parameters[:, number], rtol=1e-6, atol=1e-9)
        ]
        if not equal:
            return []
        places.append(int(equal[0]))
    return places


def shows_which_task(seen: Array) -> bool:
    """Return whether some entries are the task's number, or a one-hot vector of it."""
    tasks = seen.shape[1]
    still = seen[0][:, still_entries(seen)]
    count = np.arange(tasks)
    if any(np.array_equal(column - column[0], count) for column in still.T):
        return True
    hot = still[:, np.isin(still, (0.0, 1.0)).all(axis=0)]
    return (
        tasks > 2 and np.array_equal(hot.sum(axis=1), np.ones(tasks)) and len(np.unique(hot, axis=0)) == tasks
    )
