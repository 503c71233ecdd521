"""Locomotion tasks and their episodes' initial states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.utils import seeding

from metarl.envs.engines.arrays import Array, Vector
from metarl.envs.engines.rendering.offscreen import Offscreen
from metarl.envs.engines.threads.batched import WorldState
from metarl.envs.engines.threads.features import Layout, flat
from metarl.envs.engines.threads.model_changes import Change, Fields, ModelChanger
from metarl.envs.engines.threads.worlds import STATE, integration_state
from metarl.envs.locomotion.robots import Options, Quantities, Robot, noise
from metarl.vector_env import Picture

# of infos [worlds] under Gymnasium's names and task parameters [P, worlds]; returns [worlds]
Reward: TypeAlias = Callable[[Quantities, Vector], Array]
Dynamics: TypeAlias = Callable[[tuple[float, ...]], Sequence[Change]]  # from task parameters to model changes


@dataclass(frozen=True, kw_only=True)
class LocomotionFamily:
    """A robot and its tasks' parameters."""

    name: str  # the family of its tasks
    robot: str  # Gymnasium's id; threads step those of ROBOTS
    options: Mapping[str, object] = field(default_factory=dict)  # arguments of Gymnasium's constructor
    reward: Reward | None = None  # in place of Gymnasium's; terminations and infos remain
    dynamics: Dynamics | None = None  # model changes of tasks, or none


class Start(NamedTuple):
    """Where an episode begins."""

    state: WorldState
    timestep: float  # of the world's model, seconds


class Starts:
    """Initial states by Gymnasium's ``reset``, made in a simulation kept for it.

    ``env`` gives model and initial state; each slot draws from a generator of its own.
    """

    def __init__(self, env: MujocoEnv, robot: Robot, options: Options, num_slots: int) -> None:
        self.height = float(env.init_qpos[1])  # second coordinate of the initial state
        self._init_qpos, self._init_qvel = env.init_qpos, env.init_qvel
        self._robot, self._scale = robot, options.reset_noise_scale
        self._changer = ModelChanger(env.model)
        self._data = mujoco.MjData(env.model)
        self._generators: list[np.random.Generator | None] = [None] * num_slots
        self._offscreen: Offscreen | None = None
        self._size = (0, 0)

    def fields(self, changes: Iterable[Change]) -> Fields:
        """Return the model fields that some changes entail; see :meth:`.ModelChanger.fields`."""
        return self._changer.fields(changes)

    def draw(self, slot: int, seed: int | None, fields: Fields, layout: Layout) -> Start:
        """Draw a slot's initial state, by its generator; a seed starts that anew.

        ``fields`` are the model fields that are not the robot's own; ``layout`` says what is read from the
        state.
        """
        model, data = self._changer.model, self._data
        # the task's model first, since MuJoCo derives the initial state from it
        self._changer.put(fields)
        mujoco.mj_resetData(model, data)
        # Gymnasium's order of draws: positions, then velocities
        positions, velocities = noise(
            self._robot, self._scale, model.nq, model.nv, self._generator(slot, seed)
        )
        data.qpos[:] = self._init_qpos + positions
        data.qvel[:] = self._init_qvel + velocities
        mujoco.mj_forward(model, data)
        # the whole state, so that another simulation continues bit for bit
        integration = integration_state(model, data)
        row = np.zeros(layout.width)
        for part in layout.numbers:
            row[part.column : part.column + part.size] = flat(data, part)
        return Start(WorldState(integration, fields, row), model.opt.timestep)

    def picture(self, state: WorldState, camera: str, width: int, height: int) -> Picture:
        """Return a state's picture by a camera, ``[height, width, 3]``; see :class:`.Offscreen`."""
        model, data = self._changer.model, self._data
        self._changer.put(state.fields)
        mujoco.mj_setState(model, data, state.integration, STATE)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)  # the camera follows the centre of mass
        mujoco.mj_camlight(model, data)
        if self._offscreen is None or self._size != (width, height):
            self.close()
            self._offscreen, self._size = Offscreen(model, width=width, height=height), (width, height)
        return self._offscreen.frame(data, camera)

    def close(self) -> None:
        """Free what the graphics library holds."""
        if self._offscreen is not None:
            self._offscreen.close()
        self._offscreen = None

    def _generator(self, slot: int, seed: int | None) -> np.random.Generator:
        rng = self._generators[slot]
        if seed is not None or rng is None:
            rng, _ = seeding.np_random(seed)
            self._generators[slot] = rng
        return rng
