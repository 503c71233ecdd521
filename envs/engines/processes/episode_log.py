"""Seeds and actions of the running episodes, kept so that they can be run again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from metarl.envs.engines.processes.messages import Episode, Run
from metarl.vector_env import Array


class EpisodeLog:
    """Tasks and seeds of running episodes, and all actions since the oldest one began."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[Episode, int]] = {}  # by slot, with the clock at which it began
        self._actions: deque[Array] = deque()
        self._clock = 0

    def begin(self, episodes: Sequence[Episode]) -> None:
        """Record fresh episodes; forget actions that no running episode has taken."""
        for episode in episodes:
            self._running[episode.slot] = (episode, self._clock)
        oldest = min((began for _, began in self._running.values()), default=self._clock)
        while len(self._actions) > self._clock - oldest:
            self._actions.popleft()

    def record(self, actions: Array) -> None:
        """Remember the actions of a step, ``[N, A]``."""
        self._actions.append(actions)
        self._clock += 1

    def end(self, slots: Iterable[int]) -> None:
        """Forget the episodes of these slots."""
        for slot in slots:
            self._running.pop(slot, None)

    def steps(self, slot: int) -> int | None:
        """Return a slot's number of episode steps, None where no episode is running."""
        return self._clock - self._running[slot][1] if slot in self._running else None

    def running(self, slots: range) -> Run:
        """Return the command that replays slots' episodes."""
        return Run(tuple(self._up_to_date(slot) for slot in slots if slot in self._running))

    def _up_to_date(self, slot: int) -> Episode:
        episode, began = self._running[slot]
        taken = list(self._actions)[len(self._actions) - (self._clock - began) :]
        return episode._replace(actions=np.array([actions[slot] for actions in taken]))
