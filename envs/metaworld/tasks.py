"""Tasks of Meta-World's arm as a distribution with lists, spaces and engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.model_files import model_sum
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.envs.metaworld.env import MAX_HORIZON, MetaWorldFactory, action_space, observation_space
from metarl.envs.metaworld.resets import METAWORLD, Families
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.errors import unknown_name
from metarl.system.caches import cache_folder
from metarl.tasks import Parameter, Split, check_split, sample_evenly
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv


@dataclass(frozen=True, kw_only=True)
class SawyerTasks:
    """Training and test tasks of the Sawyer arm."""

    name: str  # "ml10", "ml1-reach-v3"
    train: tuple[Task, ...]  # family by family
    test: tuple[Task, ...]
    horizon: int = MAX_HORIZON  # steps after which an episode is truncated
    reward: RewardVersion = "v2"
    reports_success: bool = True

    engines: ClassVar[tuple[str, ...]] = ("auto", "threads", "processes")

    @property
    def known(self) -> Families:
        """Source of the families' environments, models and rewards."""
        return METAWORLD

    @property
    def families(self) -> list[str]:
        """Every family of both splits."""
        return list(dict.fromkeys(task.family for task in (*self.train, *self.test)))

    @property
    def env_factory(self) -> MetaWorldFactory:
        """Builds a family's own environment, in a worker."""
        return MetaWorldFactory(self.horizon, self.reward, self.known)

    @property
    def observation_space(self) -> Box:
        """Space of one observation, ``[39]``; the goal's three entries are zero."""
        return observation_space()

    @property
    def action_space(self) -> Box:
        """Space of one action, ``[4]``."""
        return action_space()

    def control_step(self) -> float:
        """Return the seconds from an action to the next: five steps of physics."""
        return 0.0125

    def model_sums(self) -> Mapping[str, str]:
        """Return SHA-256 sums of families' model files."""
        models = self.known.models
        blank = {family: SawyerXYZEnv.__new__(models.environment(family)) for family in self.families}
        return {family: model_sum(str(env.model_name), models.version) for family, env in blank.items()}

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return all tasks of a split."""
        check_split(split)
        return self.train if split == "train" else self.test

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw tasks, with every family equally often, give or take one."""
        return sample_evenly(self.tasks(split), num_tasks, rng)

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Return each parameter's name and visibility: objects are seen, goals are not."""
        every = [Parameter(f"object[{axis}]", observed=True) for axis in range(3)]
        every += [Parameter(f"goal[{axis}]", observed=False) for axis in range(3)]
        count = next(len(task.parameters) for task in (*self.train, *self.test) if task.family == family)
        return every[:count]

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment; raise ``MetarlError`` on an unknown engine.

        The engine "threads", which "auto" takes, steps all worlds in this process; "processes" runs the
        families' own environments in worker processes. Both give the same episodes, bit for bit but for the
        rounding of rewards.
        """
        if engine in ("auto", "threads"):
            return SawyerVectorEnv(
                families=self.families,
                default_tasks=self.train,
                num_envs=num_envs,
                num_threads=num_workers,
                horizon=self.horizon,
                cache=cache_folder() / "resets",
                reward_version=self.reward,
                known=self.known,
            )
        if engine != "processes":
            raise unknown_name("engine", engine, self.engines)
        return ProcessTaskVectorEnv(
            self.env_factory,
            default_tasks=self.train,
            num_envs=num_envs,
            num_workers=num_workers,
            observation_space=self.observation_space,
            action_space=self.action_space,
        )
