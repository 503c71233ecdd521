"""Initial states as MuJoCo Warp's arrays."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeAlias

import mujoco
import numpy as np
import numpy.typing as npt

from metarl.envs.engines.threads.batched import WorldState
from metarl.envs.engines.threads.worlds import STATE, integration_state, read_field, write_field

# initial arrays of a world by name; with a leading axis, of many worlds
Start: TypeAlias = dict[str, npt.NDArray[np.float32]]

_IN_FRAME = (int(mujoco.mjtSameFrame.mjSAMEFRAME_BODY), int(mujoco.mjtSameFrame.mjSAMEFRAME_INERTIA))
# they change with every step
STATE_FIELDS = ("time", "qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat", "qacc_warmstart")
# MuJoCo Warp computes the poses of geoms fixed to the world once, when its data is made: a world with the
# body elsewhere needs them written, or its contacts stay where the model has them.
POSES = ("geom_xpos", "geom_xmat")
# MuJoCo Warp builds a weld's constraint from these as the step before left them, so they are state: without
# them the first step after a reset depends on what the world did before, and a NaN outlives it.
VELOCITIES = ("cvel", "cdof_dot")
START_FIELDS = (*STATE_FIELDS, *POSES, *VELOCITIES)  # initial states, besides per-world model fields


class StartReader:
    """Converts between MuJoCo states and starts, in a scratch copy of ``model``.

    ``expanded`` are the model fields of each world's own.
    """

    def __init__(self, model: mujoco.MjModel, expanded: Sequence[str] = ()) -> None:
        self._original, self._expanded = model, tuple(expanded)
        self._model: mujoco.MjModel = copy.copy(model)
        self._data = mujoco.MjData(self._model)
        self._in_frame = np.isin(model.site_sameframe, _IN_FRAME)

    def read(self, state: WorldState) -> Start:
        """Return a state's numbers; quaternions have length one, as MuJoCo itself uses them."""
        model, data = self._model, self._data
        # the model first, since poses depend on it
        for field in self._expanded:
            values = state.fields.get(field)
            write_field(model, field, read_field(self._original, field) if values is None else values)
        mujoco.mj_setState(model, data, state.integration, STATE)
        # positions and velocities that Warp keeps as state
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        # Warp does not normalise mocap quaternions itself, but MuJoCo C does
        data.mocap_quat[...] /= np.linalg.norm(data.mocap_quat, axis=-1, keepdims=True)
        read = {name: np.array(getattr(data, name), np.float32) for name in START_FIELDS}
        if "site_pos" in self._expanded:
            # Quirk, kept: MuJoCo does not look at the place of a site compiled into its body's frame.
            model.site_pos[self._in_frame] = self._original.site_pos[self._in_frame]
        return read | {name: read_field(model, name).astype(np.float32) for name in self._expanded}

    def state(self, start: Start) -> WorldState:
        """Return a world's state from the changing numbers of a start."""
        for name in STATE_FIELDS:
            if name == "time":
                self._data.time = start[name].item()
            else:
                values = getattr(self._data, name)
                values[...] = start[name].reshape(values.shape)
        fields = {name: start[name].astype(np.float64) for name in self._expanded}
        for name, values in fields.items():
            fields[name] = values.reshape(read_field(self._model, name).shape)
        return WorldState(integration_state(self._model, self._data), fields, np.zeros(0))

    def initial(self) -> Start:
        """Return the model's initial state."""
        return self.read(initial_state(self._original))


def initial_state(model: mujoco.MjModel) -> WorldState:
    """Return a model's initial state."""
    return WorldState(integration_state(model, mujoco.MjData(model)), {}, np.zeros(0))


def stacked(starts: Sequence[Start]) -> Start:
    """Return starts along a new first axis."""
    return {name: np.stack([start[name] for start in starts]) for name in starts[0]}
