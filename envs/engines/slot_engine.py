"""The base of engines that step all worlds themselves: slots and the tasks that they run."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.envs.engines.reset_arguments import split_options
from metarl.errors import MetarlError, require
from metarl.settings import fits
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv, check_fits

logger = logging.getLogger(__name__)


class _Flags(Protocol):
    """Truth per slot, in NumPy or torch."""

    def __setitem__(self, slots: slice, value: bool, /) -> None: ...


class SlotEngine(TaskVectorEnv):
    """A :class:`~metarl.vector_env.TaskVectorEnv` with slots as rows of arrays.

    The slots run ``tasks`` in turn until ``set_tasks`` is called; :func:`check_slots` is for engines to call
    before.
    """

    closed = True  # until there is something to close
    _live: _Flags  # [num_envs], which slots have an episode that runs

    def __init__(
        self,
        observation_space: Box,
        action_space: Box | Discrete,
        *,
        tasks: Sequence[Task],
        num_envs: int,
        horizon: int,
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._horizon = horizon
        self._tasks = [tasks[slot % len(tasks)] for slot in range(num_envs)]

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assign ``tasks[i]`` to slot i; see :meth:`.TaskVectorEnv.set_tasks`."""
        self._check_open()
        check_fits(tasks, self.num_envs)
        self._accept(tasks)
        self._tasks = list(tasks)
        self._live[len(tasks) :] = False

    @abstractmethod
    def _accept(self, tasks: Sequence[Task]) -> None:
        """Get ready for some tasks; raise ``MetarlError`` on one that this engine cannot run."""

    def _to_start(self, options: dict[str, object] | None) -> list[int]:
        """Return the masked slots that have a task: the ones to start."""
        self._check_open()
        mask, _ = split_options(options, self.num_envs)
        return [slot for slot in range(len(self._tasks)) if mask[slot]]

    def _check_shape(self, shape: Iterable[int]) -> None:
        self._check_open()
        if tuple(shape) != self.action_space.shape:
            raise MetarlError(f"Expected actions of shape {self.action_space.shape}, got {tuple(shape)}.")


def check_slots(tasks: Sequence[Task], num_envs: int, horizon: int) -> None:
    """Check that there are slots, steps and tasks; raise ``MetarlError`` if not."""
    require(fits(num_envs, int) and num_envs >= 1, "num_envs must be 1 or more", repr(num_envs))
    require(fits(horizon, int) and horizon >= 1, "horizon must be 1 or more", repr(horizon))
    require(len(tasks) > 0, "default_tasks must name at least one task", "empty")


def log_diverged(diverged: npt.NDArray[np.bool_], tasks: Sequence[Task], steps: npt.NDArray[np.int64]) -> int:
    """Log the task and step of each diverged slot ``[N]``; return how many there are."""
    slots = np.flatnonzero(diverged).tolist()
    for slot in slots:
        task, step = tasks[slot], steps[slot]
        logger.warning("The physics of task %s diverged at step %d; its episode is cut.", task.id, step)
    return len(slots)
