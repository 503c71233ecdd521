"""States that worlds start from, as the arrays that MuJoCo Warp keeps of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeAlias

import mujoco
import numpy as np
import numpy.typing as npt

from metarl.envs.physics.batched import WorldState
from metarl.envs.physics.sawyer import EXPANDED

Start: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""By name, what a world starts from; with a leading axis, what many worlds do."""

_IN_FRAME = (int(mujoco.mjtSameFrame.mjSAMEFRAME_BODY), int(mujoco.mjtSameFrame.mjSAMEFRAME_INERTIA))
_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
STATE_FIELDS = ("time", "qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat", "qacc_warmstart")
"""What changes with every step."""
POSES = ("geom_xpos", "geom_xmat")
"""MuJoCo Warp computes these of geoms that are fixed to the world once, when its data is made. A world whose
body stands elsewhere needs them written, or its contacts stay where the model has them."""
VELOCITIES = ("cvel", "cdof_dot")
"""MuJoCo Warp builds a weld's constraint from these as the step before left them, so they are state: without
them the first step after a reset depends on what the world did before, and a NaN outlives it."""
START_FIELDS = (*STATE_FIELDS, *POSES, *VELOCITIES, *EXPANDED)


class StartReader:
    """Turns states of MuJoCo's own into starts, by way of a scratch world.

    Args:
        model: what the states belong to; it stays as it is.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._original = model
        self._model: mujoco.MjModel = copy.copy(model)
        self._data = mujoco.MjData(self._model)
        self._in_frame = np.isin(model.site_sameframe, _IN_FRAME)

    def read(self, state: WorldState) -> Start:
        """Return a state's numbers; quaternions come out with length one, as MuJoCo itself uses them."""
        model, data = self._model, self._data
        for field in EXPANDED:
            getattr(model, field)[...] = state.fields.get(field, getattr(self._original, field))
        mujoco.mj_setState(model, data, state.integration, _STATE)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        data.mocap_quat[...] /= np.linalg.norm(data.mocap_quat, axis=-1, keepdims=True)
        names = (*STATE_FIELDS, *POSES, *VELOCITIES)
        read = {name: np.array(getattr(data, name), np.float32) for name in names}
        # Quirk, kept: MuJoCo does not look at the place of a site that was compiled into its body's frame.
        model.site_pos[self._in_frame] = self._original.site_pos[self._in_frame]
        return read | {name: np.array(getattr(model, name), np.float32) for name in EXPANDED}

    def initial(self) -> Start:
        """Return the model's initial state."""
        data = mujoco.MjData(self._original)
        integration = np.empty(mujoco.mj_stateSize(self._original, _STATE))
        mujoco.mj_getState(self._original, data, integration, _STATE)
        return self.read(WorldState(integration, {}, np.zeros(0)))


def stacked(starts: Sequence[Start]) -> Start:
    """Return starts along a new first axis."""
    return {name: np.stack([start[name] for start in starts]) for name in starts[0]}
