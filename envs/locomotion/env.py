"""Gymnasium's own MuJoCo environments with tasks to set, as workers run them.

A task's reward takes the place of the environment's, and a task's model that of its model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.spaces import Dict
from gymnasium.wrappers import FlattenObservation

from metarl.envs.engines.arrays import vector
from metarl.envs.engines.rendering.offscreen import Offscreen
from metarl.envs.engines.solver_fault import check_solver
from metarl.envs.engines.threads.model_changes import ModelChanger
from metarl.envs.locomotion.robots import Quantities
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.errors import MetarlError, unknown_name
from metarl.types import Task
from metarl.vector_env import Array, Picture

Action: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.float64]"


@dataclass(frozen=True)
class GymnasiumFactory:
    """Picklable builder of a family's environment."""

    family: LocomotionFamily
    horizon: int  # steps after which an episode is truncated
    num_parameters: int  # of every task

    def __call__(self, family: str) -> GymnasiumTaskEnv:
        """Return an environment that waits for its task; raise ``MetarlError`` on other families."""
        if family != self.family.name:
            raise unknown_name("family of this environment", family, [self.family.name])
        return GymnasiumTaskEnv(self.family, self.horizon, self.num_parameters)


class GymnasiumTaskEnv(gymnasium.Env[Array, Action]):
    """Gymnasium's environment under a task; an episode is a function of (task, seed, actions)."""

    def __init__(self, family: LocomotionFamily, horizon: int, num_parameters: int) -> None:
        self._family, self._horizon, self._num_parameters = family, horizon, num_parameters
        self._env, self._inner = make_env(family.robot, family.options)
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self._changer = ModelChanger(self._inner.model)
        self._inner.model = self._changer.model
        self._task: Task | None = None
        self._parameters = np.zeros((num_parameters, 1))
        self._steps = 0
        self._offscreen: tuple[tuple[int, int], Offscreen] | None = None

    def set_task(self, task: Task) -> None:
        """Run this task from the next reset on; raise ``MetarlError`` if it is of another family."""
        wanted = self._num_parameters
        if task.family != self._family.name or len(task.parameters) != wanted:
            raise MetarlError(
                f"A task of {self._family.name!r} with {wanted} parameters was expected; {task.id!r} is of "
                f"{task.family!r} and has {len(task.parameters)}."
            )
        self._task = task

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start an episode of the task, as Gymnasium's environment does; a task must be set."""
        if self._task is None:
            raise MetarlError("A task must be set before the first reset, but there is none.")
        parameters = self._task.parameters
        self._parameters[:, 0] = parameters
        if self._family.dynamics is not None:
            self._changer.put(self._changer.fields(self._family.dynamics(parameters)))
        self._steps = 0
        return self._env.reset(seed=seed, options=options)

    def step(self, action: Action) -> tuple[Array, float, bool, bool, dict[str, object]]:
        """Take one step of Gymnasium's environment with the task's reward."""
        observation, reward, terminated, _, infos = self._env.step(action)
        self._steps += 1
        truncated = not terminated and self._steps >= self._horizon
        return observation, self._paid(infos, float(reward)), bool(terminated), truncated, infos

    def draw(self, *, camera: str | None, width: int, height: int) -> Picture:
        """Return a camera's picture, ``[height, width, 3]``; see :class:`.Offscreen`."""
        if self._offscreen is None or self._offscreen[0] != (width, height):
            self._close_offscreen()
            self._offscreen = (width, height), Offscreen(self._inner.model, width=width, height=height)
        model = self._inner.model
        cameras = [model.camera(index).name for index in range(model.ncam)]
        suits = "track" if "track" in cameras else "".join(cameras[:1])
        return self._offscreen[1].frame(self._inner.data, camera or suits)

    def close(self) -> None:
        """Free what the environment holds."""
        self._close_offscreen()
        self._env.close()

    def _paid(self, infos: Mapping[str, object], reward: float) -> float:
        if self._family.reward is None:
            return reward
        quantities: Quantities = {name: vector(np.asarray([value])) for name, value in infos.items()}
        return float(cast("Array", self._family.reward(quantities, vector(self._parameters)))[0])

    def _close_offscreen(self) -> None:
        if self._offscreen is not None:
            self._offscreen[1].close()
        self._offscreen = None


def make_env(robot: str, options: Mapping[str, object]) -> tuple[gymnasium.Env[Array, Action], MujocoEnv]:
    """Build a MuJoCo environment by Gymnasium's id, without time limit; also return it without wrappers.

    ``PACKAGE:ID`` imports the package that registers the id. Observations in a dictionary become one vector.
    An unknown id or option, and an environment without a MuJoCo model, raise ``MetarlError``.
    """
    if ":" not in robot and robot not in gymnasium.registry:
        raise unknown_name("Gymnasium environment", robot, _mujoco_ids())
    # no time limit: the engine truncates episodes
    try:
        env: gymnasium.Env[Array, Action] = gymnasium.make(
            robot, disable_env_checker=True, max_episode_steps=-1, **options
        )
    except TypeError as error:
        raise MetarlError(f"{robot} does not take these options: {error}.") from error
    except (ImportError, gymnasium.error.Error) as error:
        raise MetarlError(f"Gymnasium cannot make {robot}: {str(error).rstrip('.')}.") from error
    inner = env.unwrapped
    if not isinstance(getattr(inner, "model", None), mujoco.MjModel):
        raise MetarlError(f"Expected a MuJoCo environment, got {robot}.")
    robot_env = cast("MujocoEnv", inner)  # or another class with model, data and dt
    check_solver(robot_env.model)
    if isinstance(cast("object", env.observation_space), Dict):
        env = FlattenObservation(env)
    return env, robot_env


def _mujoco_ids() -> list[str]:
    prefix = "gymnasium.envs.mujoco."
    specs = gymnasium.registry.values()
    return [spec.id for spec in specs if str(spec.entry_point).startswith(prefix) and spec.id.endswith("v5")]
