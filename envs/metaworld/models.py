"""Models of Meta-World's arm without visual parts, and actions that move its mocap body.

Source: https://github.com/Farama-Foundation/Metaworld, ``SawyerXYZEnv.set_xyz_action`` and ``step``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerMocapBase, SawyerXYZEnv

from metarl.envs.engines.arrays import Vector, namespace, vector
from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.slim import slim_model
from metarl.envs.engines.threads.worlds import Mask
from metarl.errors import unknown_name

FRAME_SKIP = 5  # simulation steps of one environment step, 12.5 ms
EXPANDED = ("body_pos", "site_pos")  # model fields that a reset edits, at most one row of each

WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)


def reset_mocap_welds(self: SawyerMocapBase) -> None:
    """Write a model's mocap welds, as ``SawyerMocapBase.reset_mocap_welds`` does."""
    if self.model.nmocap > 0:
        welds = np.flatnonzero(self.model.eq_type == int(mujoco.mjtEq.mjEQ_WELD))
        self.model.eq_data[welds, : len(WELD)] = WELD


# Meta-World's own method fails under a newer MuJoCo with longer rows: replace it before anyone calls it.
if mujoco.mjNEQDATA > len(WELD):
    SawyerMocapBase.reset_mocap_welds = reset_mocap_welds  # type: ignore[method-assign]  # as above

Actions: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def environment_class(family: str) -> type[SawyerXYZEnv]:
    """Return Meta-World's class of a family; raise ``MetarlError`` if there is none."""
    classes: dict[str, type[SawyerXYZEnv]] = ALL_V3_ENVIRONMENTS
    if family not in classes:
        raise unknown_name("Meta-World environment", family, classes)
    return classes[family]


def sawyer_model(family: str, read_geoms: Iterable[str] = ()) -> mujoco.MjModel:
    """Compile a family's model without visual parts; states stay the same, bit for bit.

    ``read_geoms`` are the geoms with a pose that is read as a feature.
    """
    model = slim_model(SawyerXYZEnv.__new__(environment_class(family)).model_name, read_geoms)
    weld_hand(model)
    return model


def weld_hand(model: mujoco.MjModel) -> None:
    """Weld the hand to the mocap body, as Meta-World does once it has compiled a model."""
    blank = SawyerXYZEnv.__new__(SawyerXYZEnv)
    blank.model = model
    blank.reset_mocap_welds()


def no_fields(family: str, rand_vec: Array) -> dict[str, Array]:
    """Return nothing: a family's tasks share all that a reset does not edit."""
    del family, rand_vec
    return {}


class Models(NamedTuple):
    """Sources of a reset bank's families; by default Meta-World's own."""

    environment: Callable[[str], type[SawyerXYZEnv]] = environment_class
    # compiles a family's model, given the geoms with a pose that is read
    stepped: Callable[[str, tuple[str, ...]], mujoco.MjModel] = sawyer_model
    # model fields of a family's task, besides EXPANDED
    fields: Callable[[str, Array], dict[str, Array]] = no_fields
    expanded: tuple[str, ...] = EXPANDED  # model fields that a family's tasks do not share
    # of the reset files: changes with the state that a reset leaves, so that no older file is read
    version: str = ""


METAWORLD_MODELS = Models()


class ArmInputs(NamedTuple):
    """The inputs of a physics step."""

    ctrl: Array  # [num_worlds, 2], the two fingers; MuJoCo clips it
    mocap_pos: Array  # [num_worlds, 1, 3], metres
    mocap_quat: Array  # [num_worlds, 1, 4]; Meta-World writes them not of length one


class Arm(NamedTuple):
    """A hand's target and the limits within which actions move it, metres."""

    position: Array  # [3]
    low: Array  # [3]
    high: Array  # [3]
    scale: Array  # metres a unit of action, a single number


def read_arm(env: SawyerXYZEnv) -> Arm:
    """Return a Meta-World environment's present arm."""
    position, low, high, scale = (
        np.array(value, np.float64)
        for value in (env.data.mocap_pos[0], env.mocap_low, env.mocap_high, env.action_scale)
    )
    return Arm(position, low, high, scale)


def hand_target(actions: Vector, position: Vector, low: Vector, high: Vector, scale: Vector) -> Vector:
    """Return the targets that actions have moved, ``[3, worlds]``, metres.

    The sum is taken as NumPy takes it in Meta-World: the move in the precision of the actions (float32 from
    its action space), the position in its own. Shapes: ``actions [4, worlds]`` in [-1, 1], of which three are
    moves; ``position``, ``low``, ``high [3, worlds]``; ``scale [1, worlds]``, metres a unit of action.
    """
    xp = namespace(actions)
    move = xp.clip(actions[:3], -1, 1) * xp.asarray(scale, dtype=actions.dtype)
    return xp.clip(position + move, low, high)


class MocapArms:
    """The targets of the arms' hands, which actions move within each environment's box."""

    def __init__(self, num_worlds: int) -> None:
        self.position: Array = np.zeros((num_worlds, 3))  # where the mocap bodies are, metres
        self._low: Array = np.zeros((num_worlds, 3))
        self._high: Array = np.zeros((num_worlds, 3))
        self._scale: Array = np.zeros((num_worlds, 1))
        self._quat: Array = np.tile([1.0, 0.0, 1.0, 0.0], (num_worlds, 1, 1))

    def reset(self, world: int, arm: Arm) -> None:
        """Let one world's arm be this one."""
        self.position[world], self._low[world], self._high[world], self._scale[world] = arm

    def act(self, actions: Actions, mask: Mask | None = None) -> ArmInputs:
        """Move the targets and the fingers of masked worlds by ``actions [num_worlds, 4]``."""
        arms = (vector(self.position.T), vector(self._low.T), vector(self._high.T), vector(self._scale.T))
        position = np.asarray(hand_target(vector(actions.T), *arms)).T
        self.position = position if mask is None else np.where(mask[:, None], position, self.position)
        ctrl = np.empty((len(actions), 2))
        ctrl[:, 0] = actions[:, 3]
        np.negative(ctrl[:, 0], out=ctrl[:, 1])
        return ArmInputs(ctrl, self.position[:, None], self._quat)
