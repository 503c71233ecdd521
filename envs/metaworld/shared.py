"""What the Meta-World environments of one family share in a process: a model, and the starts of episodes.

Neither changes a number of an episode. The shared model lacks what only a camera sees, which makes it
3 instead of 20 MB; a reset edits nothing of a model but positions of bodies and sites, so an environment
writes its own before each step. A reset simulates a hundred steps of the hand (8 ms), but what it leaves
behind is a function of the task alone; so it is done once, on an environment kept for nothing else, and
then copied.
"""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import typing
from dataclasses import dataclass
from types import NoneType
from typing import ClassVar, TypeAlias

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import RenderMode, SawyerXYZEnv
from metaworld.types import Task as PublishedTask

from metarl.envs.metaworld.rewards.catalog import RewardVersion, check_reward
from metarl.errors import MetarlError, unknown_name

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_STARTS_KEPT = 1024  # of each family, about 10 kB each
_MAX_DRAWS = 100
_COLLIDES_WITH_NOTHING = 1 << 30
_PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION
_PLAIN = (NoneType, bool, int, float, str, list, tuple, np.generic, np.ndarray)
_NOT_OF_A_START = frozenset({"render_mode", "camera_name", "camera_id", "width", "height"})
_LIVE_FIELDS = ("xpos", "site_xpos", "geom_xpos")


@dataclass(frozen=True)
class Start:
    """Everything that a reset leaves behind for one task."""

    observation: Floats
    """What the reset returned, ``[39]``."""
    physics: Floats
    """MuJoCo's integration state."""
    body_positions: Floats
    """The model's, as the reset edited them."""
    site_positions: Floats
    """The model's, as the reset edited them."""
    attributes: dict[str, object]
    """The environment's own numbers."""
    live: dict[str, tuple[str, int]]
    """Attributes that are no copies but rows of a field of ``mjData``: the field and the row."""

    def place(self, model: mujoco.MjModel) -> None:
        """Write the task's positions into a model that other tasks use too."""
        model.body_pos[:] = self.body_positions
        model.site_pos[:] = self.site_positions

    def restore(self, env: SawyerXYZEnv) -> None:
        """Bring an environment to this start."""
        self.place(env.model)
        mujoco.mj_setState(env.model, env.data, self.physics, _PHYSICS)
        mujoco.mj_kinematics(env.model, env.data)  # for a picture of the start; a step computes it again
        mujoco.mj_camlight(env.model, env.data)
        vars(env).update(copy.deepcopy(self.attributes))
        vars(env).update({name: getattr(env.data, field)[row] for name, (field, row) in self.live.items()})


class Family:
    """The environments of one family in this process; several threads may use them."""

    def __init__(self, name: str, reward: RewardVersion = "v2") -> None:
        """Compile the family's model.

        Raises:
            MetarlError: on an unknown family, or rewards that Meta-World does not have.
        """
        check_reward(reward)
        if name not in ALL_V3_ENVIRONMENTS:
            raise unknown_name("Meta-World task", name, ALL_V3_ENVIRONMENTS)
        self._published: type[SawyerXYZEnv] = ALL_V3_ENVIRONMENTS[name]
        self.name = name
        self._reward = reward
        self._sharing = _sharing(self._published)
        self._reference = self._sharing(reward_function_version=reward)
        self._sharing.shared_model = copy.copy(self._reference.model)
        space = self._reference._random_reset_space
        assert space is not None
        self.num_parameters: int = space.low.size
        self.lock = threading.Lock()
        self.start = functools.lru_cache(_STARTS_KEPT)(self._start)

    def build(self, render_mode: RenderMode | None) -> SawyerXYZEnv:
        """Return an environment on the shared model, or, to render, one on a full model of its own."""
        with self.lock:
            if render_mode is None:
                env: SawyerXYZEnv = self._sharing(reward_function_version=self._reward)
            else:
                env = self._published(render_mode=render_mode, reward_function_version=self._reward)
        env._set_task_called = True
        return env

    def _start(self, parameters: tuple[float, ...]) -> Start:
        """Let Meta-World itself reset to a task.

        Raises:
            MetarlError: if it rejects the parameters.
        """
        data = {
            "env_cls": self._published,
            "rand_vec": np.array(parameters),
            "partially_observable": True,
        }
        with self.lock:
            env = self._reference
            env.draws = 0
            env.set_task(PublishedTask(env_name=self.name, data=pickle.dumps(data)))
            observation, _ = env.reset()
            return _capture(env, observation)


@functools.cache
def family(name: str, reward: RewardVersion = "v2") -> Family:
    """Return what the environments of a family with one kind of reward share in this process.

    Raises:
        MetarlError: on an unknown family, or rewards that Meta-World does not have.
    """
    return Family(name, reward)


class _Sharing(SawyerXYZEnv):
    """A Meta-World environment whose model is given instead of compiled; mixed into the published class."""

    shared_model: ClassVar[mujoco.MjModel | None] = None
    draws = 0

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self.shared_model or _compile(self.fullpath)
        return model, mujoco.MjData(model)

    def _get_state_rand_vec(self) -> Floats:
        """Return the task's parameters; where Meta-World rejects them it would ask for ever."""
        self.draws += 1
        if self.draws > _MAX_DRAWS:
            raise MetarlError(f"{type(self).__name__} rejects the parameters {self._last_rand_vec}.")
        return super()._get_state_rand_vec()


def _sharing(published: type[SawyerXYZEnv]) -> type[_Sharing]:
    return typing.cast("type[_Sharing]", type(published.__name__, (_Sharing, published), {}))


def _compile(path: str) -> mujoco.MjModel:
    """Compile a model without visual geoms, meshes, textures, cameras and lights.

    Rewards and observations read some visual geoms, all by name: those with a name stay, as geoms that
    could collide and never do.
    """
    spec = mujoco.MjSpec.from_file(path)
    for geom in spec.geoms:
        if geom.name and not geom.contype and not geom.conaffinity:
            geom.contype = _COLLIDES_WITH_NOTHING
    for element in [*spec.cameras, *spec.lights]:
        element.delete()
    spec.compiler.discardvisual = True
    return spec.compile()


def _capture(env: SawyerXYZEnv, observation: Floats) -> Start:
    physics = np.empty(mujoco.mj_stateSize(env.model, _PHYSICS))
    mujoco.mj_getState(env.model, env.data, physics, _PHYSICS)
    plain = {
        name: value
        for name, value in vars(env).items()
        if isinstance(value, _PLAIN) and name not in _NOT_OF_A_START
    }
    live = {name: row for name, value in plain.items() if (row := _live_row(env, value))}
    return Start(
        observation=observation.copy(),
        physics=physics,
        body_positions=env.model.body_pos.copy(),
        site_positions=env.model.site_pos.copy(),
        attributes=copy.deepcopy({name: value for name, value in plain.items() if name not in live}),
        live=live,
    )


def _live_row(env: SawyerXYZEnv, value: object) -> tuple[str, int] | None:
    """Return the field of ``mjData`` and the row that an array is a view of, None if it is none."""
    if not isinstance(value, np.ndarray):
        return None
    for field in _LIVE_FIELDS:
        rows = getattr(env.data, field)
        if np.may_share_memory(value, rows):
            return field, (value.ctypes.data - rows.ctypes.data) // rows.strides[0]
    return None
