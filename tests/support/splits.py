"""A distribution with given lists of tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box

from metarl.tasks import Split, sample_evenly
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv
from support import tiny


@dataclass(frozen=True)
class Splits:
    """A distribution with the given lists, of :class:`tiny.ClimbEnv`."""

    train: tuple[Task, ...]
    test: tuple[Task, ...]
    name: str = "splits"
    horizon: int = 3
    reports_success: bool = False

    @property
    def observation_space(self) -> Box:
        return Box(-np.inf, np.inf, (2,), np.float64)

    @property
    def action_space(self) -> Box:
        return Box(-np.inf, np.inf, (1,), np.float64)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return self.train if split == "train" else self.test

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return sample_evenly(self.tasks(split), num_tasks, rng)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        return tiny.ClimbEnv(num_envs, self.horizon)
