"""Records of both steppers: worlds, the inputs of a step, and how a step ends."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

import mujoco
import numpy as np

from metarl.envs.engines.threads.features import Array, Layout
from metarl.errors import EngineError, MetarlError

Flags: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int32]]
Mask: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
FATAL = 1 << 30  # flag of an error raised by MuJoCo; the lower bits are those of MuJoCo's warnings
EXACT_VERSIONS = (330,)  # of MuJoCo under which a reused forward pass was shown to give the same bits
BAD_NUMBER = 1e10  # MuJoCo calls a number bad that is NaN or larger than this


class Finish(IntEnum):
    """The computation after a step's last substep."""

    NOTHING = 0
    FORWARD = 1  # mj_forward, as Meta-World: poses and contacts then belong to the state
    RNE = 2  # mj_rnePostConstraint, as Gymnasium: contact forces on bodies


class Computation(NamedTuple):
    """The addresses of a compiled :class:`~.c_functions.CFunction` and of a world's rows."""

    function: int
    rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass
class World:
    """One simulated world."""

    family: int  # index of its model
    model: mujoco.MjModel  # the family's, shared; never written to
    data: mujoco.MjData
    fields: dict[str, Array]  # model fields of its own by name, in the model's shape
    layout: Layout
    row: Array  # where its features are written, [layout.width]
    finish: Finish
    can_reuse: bool  # whether a step may start from the forward pass at the end of the step before
    computation: Computation | None  # runs after each step; compiled steppers only


class Inputs(NamedTuple):
    """Inputs of every world for a step; None leaves the previous ones."""

    mask: Mask | None  # [num_worlds], which worlds step
    ctrl: Array | None  # [num_worlds, nu]
    mocap_pos: Array | None  # [num_worlds, nmocap, 3], metres
    mocap_quat: Array | None  # [num_worlds, nmocap, 4], wxyz


class Stepper(Protocol):
    """Steps worlds on threads."""

    def attach(self, index: int, world: World) -> None:
        """Assign this world, as it now is, to slot ``index``."""

    def step(self, inputs: Inputs, num_substeps: int) -> None:
        """Step the worlds; gather features and flags."""

    def close(self) -> None:
        """End the threads."""


@dataclass
class WorldStatus:
    """Flags of every world, shared with the stepper."""

    num_worlds: int
    # whether the data's forward pass belongs to its state
    forward_is_current: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = field(init=False)
    flags: Flags = field(init=False)  # bit w for mjtWarning w, since the last set_state

    def __post_init__(self) -> None:
        self.forward_is_current = np.zeros(self.num_worlds, np.uint8)
        self.flags = np.zeros(self.num_worlds, np.int32)


def check_process(process: int) -> None:
    """Raise ``EngineError`` in another process than the threads': they do not survive a fork."""
    if os.getpid() != process:
        raise EngineError(
            "The physics threads stayed in the parent process; build the environment after the fork."
        )


def integration_state(model: mujoco.MjModel, data: mujoco.MjData) -> Array:
    """Return the state from which a simulation continues exactly, ``mjSTATE_INTEGRATION``."""
    state = np.empty(mujoco.mj_stateSize(model, STATE))
    mujoco.mj_getState(model, data, state, STATE)
    return state


def read_field(model: mujoco.MjModel, name: str) -> Array:
    """Return a copy of a model's field; raise ``MetarlError`` if there is none of that name.

    Besides the arrays of :class:`mujoco.MjModel` these are the numbers of its options (``"opt.gravity"``) and
    ``"stat.meaninertia"``, by which the solver measures its progress; a single number has shape ``[1]``.
    """
    holder, _, leaf = name.rpartition(".")
    known = holder in ("", "opt") or name == "stat.meaninertia"
    value = getattr(getattr(model, holder) if holder else model, leaf, None) if known else None
    if isinstance(value, float):
        return np.array([value])
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        raise MetarlError(f"A model has no field of numbers called {name!r}.")
    return np.array(value)


def write_field(model: mujoco.MjModel, name: str, values: Array) -> None:
    """Set a model's field as :func:`read_field` returns it."""
    holder, _, leaf = name.rpartition(".")
    owner = getattr(model, holder) if holder else model
    setattr(owner, leaf, values.item() if isinstance(getattr(owner, leaf), float) else values)


def can_reuse_forward(model: mujoco.MjModel, finish: Finish) -> bool:
    """Whether a step may reuse the forward pass with the same result, bit for bit.

    Between the two only controls and mocap bodies change, so nothing that ``step_from_forward`` of
    ``stepper.c`` leaves out may depend on these.
    """
    # conditions under which the forward pass of a step's end equals that of the next one's start
    mocap = np.flatnonzero(model.body_mocapid >= 0)
    colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    plain = model.nsensor == model.ntendon == model.nflex == model.nplugin == model.opt.enableflags == 0
    joints_only = np.all(model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT))
    holds_sites = np.any(model.eq_objtype == int(mujoco.mjtObj.mjOBJ_SITE))
    return bool(
        mujoco.mj_version() in EXACT_VERSIONS
        and finish is Finish.FORWARD
        and model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_EULER)
        and plain
        and joints_only
        and not holds_sites
        # mocap bodies are moved between the steps: nothing may hang on them or collide with them
        and not np.isin(model.body_parentid, mocap).any()
        and not np.isin(model.geom_bodyid[colliding], mocap).any()
    )
