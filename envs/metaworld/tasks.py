"""What distributions over tasks of Meta-World's arm have in common: lists and spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box

from metarl.envs.metaworld.env import MAX_HORIZON, action_space, observation_space
from metarl.tasks import Parameter, Split, sample_evenly
from metarl.types import Task


@dataclass(frozen=True, kw_only=True)
class SawyerTasks:
    """Tasks of the Sawyer arm, those to train on and those to be tested on."""

    name: str
    """``"ml10"``, ``"ml1-reach-v3"``."""
    train: tuple[Task, ...]
    """The training split, family by family."""
    test: tuple[Task, ...]
    """The test split."""
    horizon: int = MAX_HORIZON
    """Steps after which an episode is truncated."""
    reports_success: bool = True
    """Every family says whether its task is solved."""

    @property
    def observation_space(self) -> Box:
        """Space of one observation, ``[39]``; the goal's three entries are zero."""
        return observation_space()

    @property
    def action_space(self) -> Box:
        """Space of one action, ``[4]``."""
        return action_space()

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return all tasks of a split."""
        return self.train if split == "train" else self.test

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw tasks with every family as often as every other, give or take one.

        Raises:
            MetarlError: if ``num_tasks`` is not positive.
        """
        return sample_evenly(self.tasks(split), num_tasks, rng)

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Return the name of each parameter; the arm sees where an object is, but no goal."""
        every = [Parameter(f"object[{axis}]", observed=True) for axis in range(3)]
        every += [Parameter(f"goal[{axis}]", observed=False) for axis in range(3)]
        count = next(len(task.parameters) for task in (*self.train, *self.test) if task.family == family)
        return every[:count]
