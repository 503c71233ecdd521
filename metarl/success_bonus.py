"""Success bonus: steps that solve a task are worth more.

Some rewards of robots pay failing steps nearly as much as solving ones, so a policy that maximises them need
not solve the task (docs/metaworld.md). The bonus is part of the suite's name wherever a result stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium.vector import VectorWrapper

from metarl.action_map import MapsActions
from metarl.errors import require
from metarl.step_values import truths
from metarl.tasks import (
    ControlledInTime,
    DescribesParameters,
    Parameter,
    Split,
    TaskDistribution,
    TestsOnTrainingTasks,
)
from metarl.types import Task
from metarl.vector_env import Array, Picture, Renderable, TaskVectorEnv, TensorStep, TensorVectorEnv


def with_success_bonus(base: TaskDistribution, bonus: float) -> TaskDistribution:
    """Return a distribution that pays success; MetarlError if it reports none."""
    if bonus == 0:
        return base
    wanted = f"The suite {base.name} does not report success, so success_bonus must be 0"
    require(base.reports_success, wanted, bonus)
    return BonusTasks(base, bonus)


def without_bonus(suite: TaskDistribution) -> TaskDistribution:
    """Return the distribution that a bonus was put on, or the suite itself."""
    return suite.base if isinstance(suite, BonusTasks) else suite


def bonus_name(name: str, bonus: float) -> str:
    """Name a suite with a bonus as results do, ``"ml1-push-v3+success10"``."""
    return f"{name}+success{bonus:g}" if bonus else name


class BonusTasks:
    """A :class:`~metarl.tasks.TaskDistribution` that pays for success on top of its base's reward."""

    reports_success = True

    def __init__(self, base: TaskDistribution, bonus: float) -> None:
        self.base, self.bonus = base, bonus
        self.name = bonus_name(base.name, bonus)
        self.observation_space, self.action_space = base.observation_space, base.action_space
        self.horizon = base.horizon
        self.action_map = base.action_map if isinstance(base, MapsActions) else None
        self.tests_on_training_tasks = isinstance(base, TestsOnTrainingTasks) and base.tests_on_training_tasks

    def control_step(self) -> float | None:
        """Return the base's seconds per action."""
        return self.base.control_step() if isinstance(self.base, ControlledInTime) else None

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Describe the base's parameters, if it does."""
        return self.base.describe_parameters(family) if isinstance(self.base, DescribesParameters) else ()

    def tasks(self, split: Split) -> Sequence[Task]:
        """Return the base's list."""
        return self.base.tasks(split)

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw tasks as the base does."""
        return self.base.sample(num_tasks, rng, split)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build the base's environment with the bonus."""
        env = self.base.make_vector_env(num_envs, engine=engine, num_workers=num_workers)
        drawable, tensors = isinstance(env, Renderable), isinstance(env, TensorVectorEnv)
        kinds = {
            (False, False): BonusVectorEnv,
            (True, False): DrawableBonusVectorEnv,
            (False, True): TensorBonusVectorEnv,
            (True, True): DrawableTensorBonusVectorEnv,
        }
        return kinds[drawable, tensors](env, self.bonus)


class BonusVectorEnv(VectorWrapper[Array, Array, Array, Array, Array], TaskVectorEnv):
    """Vector environment that pays ``bonus`` for each step that solves the task."""

    env: TaskVectorEnv

    def __init__(self, env: TaskVectorEnv, bonus: float) -> None:
        super().__init__(env)
        self.bonus = bonus
        self._every = np.ones(env.num_envs, np.bool_)

    @property
    def restarts(self) -> int:
        """Number of lost workers."""
        return self.env.restarts

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Set slot i's next task, ``tasks[i]``."""
        self.env.set_tasks(tasks)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot, and pay for success."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if "success" in infos:
            solved = truths(infos["success"], self._every, "infos['success']")
            rewards = rewards + self.bonus * solved
        return observations, rewards, terminated, truncated, infos


class DrawableBonusVectorEnv(BonusVectorEnv):
    """One that can be looked at."""

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a slot's picture."""
        assert isinstance(self.env, Renderable)
        return self.env.render_slot(slot, camera=camera, width=width, height=height)


class TensorBonusVectorEnv(BonusVectorEnv):
    """One that speaks tensors too."""

    @property
    def tensor_device(self) -> torch.device:
        """The environment's device."""
        return self._tensors.tensor_device

    def reset_tensors(
        self, mask: torch.Tensor | None = None, seeds: Sequence[int | None] | None = None
    ) -> torch.Tensor:
        """Start episodes."""
        return self._tensors.reset_tensors(mask, seeds)

    def step_tensors(self, actions: torch.Tensor) -> TensorStep:
        """Step every live slot, and pay for success."""
        step = self._tensors.step_tensors(actions)
        if step.success is None:
            return step
        return step._replace(rewards=step.rewards + self.bonus * step.success)

    @property
    def _tensors(self) -> TensorVectorEnv:
        assert isinstance(self.env, TensorVectorEnv)
        return self.env


class DrawableTensorBonusVectorEnv(DrawableBonusVectorEnv, TensorBonusVectorEnv):
    """Success-bonus environment with pictures and tensors."""
