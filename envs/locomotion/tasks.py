"""Tasks on a Gymnasium MuJoCo robot: their distribution and its engines."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box

from metarl.envs.engines.model_files import model_sum
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.envs.engines.warp.available import device_of, extra_imported
from metarl.envs.locomotion.env import GymnasiumFactory, make_env
from metarl.envs.locomotion.robots import ROBOTS
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.envs.task_sampling.ranges import Draw, Parameters, TestRange
from metarl.errors import MetarlError, unknown_name
from metarl.tasks import Split, check_draw, check_split, sample_evenly
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv, is_warp

_log = logging.getLogger(__name__)

# tasks of a split's fixed list, as many as Rakelly et al. 2019 train and test on
LISTED = {"train": 100, "test": 30}
_SEEDS = {"train": 1903, "test": 8254}
_SHORT = 3


@dataclass(frozen=True, kw_only=True)
class MujocoTasks:
    """Tasks from a continuous or finite distribution.

    Training draws fresh tasks. The test split is a fixed list of tasks that training meets with probability
    zero; a fixed list of other tasks stands for the training split. Where there are only a few tasks,
    ``only`` names them, and both splits are these.
    """

    name: str
    family: LocomotionFamily
    horizon: int
    train: Draw | None = None
    test: Draw | None = None
    only: tuple[Parameters, ...] = ()  # all tasks of a finite distribution
    observation_space: Box
    action_space: Box
    reports_success: bool = False

    @property
    def tests_on_training_tasks(self) -> bool:
        """Whether training covers all tasks."""
        return bool(self.only)

    def control_step(self) -> float:
        """Return the seconds from an action to the next, of the robot as Gymnasium has it."""
        env, robot = make_env(self.family.robot, self.family.options)
        with closing(env):
            return float(robot.dt)

    def model_sums(self) -> Mapping[str, str]:
        """Return the robot's model files' SHA-256 sum."""
        env, robot = make_env(self.family.robot, self.family.options)
        with closing(env):
            path: object = getattr(robot, "fullpath", None)  # an environment of another package may have none
            return {self.family.name: model_sum(path)} if isinstance(path, str) else {}

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return the split's fixed list."""
        check_split(split)
        if self.only:
            return tuple(self._task(split, parameters) for parameters in self.only)
        return tuple(self._fresh(LISTED[split], np.random.default_rng(_SEEDS[split]), split))

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw tasks: fresh ones for training, others evenly from the test list."""
        check_draw(num_tasks, rng, split)
        if split == "train" and not self.only:
            return self._fresh(num_tasks, rng, split)
        return sample_evenly(self.tasks(split), num_tasks, rng)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment with ``num_envs`` slots.

        The engine "threads" steps all worlds in this process; it knows the robots of :data:`~.robots.ROBOTS`,
        and "auto" takes it for them. "processes" runs Gymnasium's own environments, whichever they are, in
        workers. Both give the same episodes. "warp" keeps the worlds of these robots, but for Humanoid, in
        the memory of a GPU, under a newer MuJoCo and in float32; without CUDA it runs on the CPU, slowly. A
        device may follow it, "warp:cuda:1". Other engines and robots raise ``MetarlError``, a missing Warp
        ``EngineError``.
        """
        robot, tasks = self.family.robot, self.tasks("train")
        # array arithmetic exists for Gymnasium's own robots only
        if engine == "auto":
            engine = "threads" if robot in ROBOTS else "processes"
        if (engine == "threads" or is_warp(engine)) and robot not in ROBOTS:
            known = ", ".join(sorted(ROBOTS))
            raise MetarlError(f"The engine {engine} steps {known}; {robot} needs the engine processes.")
        # the extra's module is imported on demand: it needs Warp
        if is_warp(engine):
            with extra_imported():
                from metarl.envs.locomotion.warp import WarpLocomotionVectorEnv  # noqa: PLC0415  # an extra

            return WarpLocomotionVectorEnv(
                self.family,
                default_tasks=tasks[: max(num_envs, 1)],
                num_envs=num_envs,
                horizon=self.horizon,
                device=device_of(engine),
            )
        if engine == "threads":
            return LocomotionVectorEnv(
                self.family,
                default_tasks=tasks[: max(num_envs, 1)],
                num_envs=num_envs,
                num_threads=num_workers,
                horizon=self.horizon,
            )
        if engine != "processes":
            raise unknown_name("engine", engine, ("auto", "threads", "processes", "warp"))
        return ProcessTaskVectorEnv(
            GymnasiumFactory(self.family, self.horizon, len(tasks[0].parameters)),
            default_tasks=tasks,
            num_envs=num_envs,
            num_workers=num_workers,
            observation_space=self.observation_space,
            action_space=self.action_space,
        )

    def _fresh(self, count: int, rng: np.random.Generator, split: Split) -> list[Task]:
        draw = self.train if split == "train" else self.test
        assert draw is not None
        return [self._task(split, draw(rng)) for _ in range(count)]

    def _task(self, split: Split, parameters: Parameters) -> Task:
        return Task(self.family.name, parameters, f"{self.family.name}/{split}/{_label(parameters)}")


def many_tasks(
    family: LocomotionFamily, test_range: TestRange, *, train: Draw, test: Draw, horizon: int
) -> MujocoTasks:
    """Return a distribution over fresh tasks; ``…-out`` in its name means a test out of range."""
    name = f"{family.name}-out" if test_range == "out" else family.name
    observations, actions = _spaces(family)
    return MujocoTasks(
        name=name,
        family=family,
        horizon=horizon,
        train=train,
        test=test,
        observation_space=observations,
        action_space=actions,
    )


def fixed_tasks(family: LocomotionFamily, only: tuple[Parameters, ...], horizon: int) -> MujocoTasks:
    """Return a distribution over all of a few tasks, tested on them too, as in the papers.

    Its name says so: ``…-published``.
    """
    name = f"{family.name}-published"
    _log.warning("%s is tested on its %d training tasks, as there are no others.", name, len(only))
    seen, actions = _spaces(family)
    return MujocoTasks(
        name=name, family=family, horizon=horizon, only=only, observation_space=seen, action_space=actions
    )


def _spaces(family: LocomotionFamily) -> tuple[Box, Box]:
    env, _ = make_env(family.robot, family.options)
    observations, actions = env.observation_space, env.action_space
    env.close()
    if not isinstance(observations, Box) or not isinstance(actions, Box):
        raise MetarlError(f"Expected observations and actions of numbers, got others in {family.robot}.")
    return observations, actions


def _label(parameters: Sequence[float]) -> str:
    """Return a task's numbers, or a digest."""
    text = ",".join(repr(value) for value in parameters)
    return text if len(parameters) <= _SHORT else hashlib.sha256(text.encode()).hexdigest()[:16]
