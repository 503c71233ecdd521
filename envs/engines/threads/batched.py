"""Many MuJoCo worlds, of several models, as arrays, in the manner of the package mjbatch.

``bind`` names the numbers to read and gives a live array of them, ``expand`` gives every world a model field
of its own, ``step`` advances all worlds in parallel. Worlds of one family share a model, and worlds of
several families a batch. No result depends on the number of threads or on which stepper runs, bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import mujoco
import numpy as np

from metarl.envs.engines.solver_fault import check_solver
from metarl.envs.engines.threads.c_functions import CFunction, Rows
from metarl.envs.engines.threads.compiled import CompiledStepper, compile_functions, load
from metarl.envs.engines.threads.features import Array, Layout, Named, resolve
from metarl.envs.engines.threads.portable import PortableStepper
from metarl.envs.engines.threads.worlds import (
    FATAL,
    STATE,
    Computation,
    Finish,
    Flags,
    Inputs,
    Mask,
    Stepper,
    World,
    WorldStatus,
    can_reuse_forward,
    integration_state,
    read_field,
)
from metarl.errors import EngineError, MetarlError
from metarl.system.c_compiler import BuildError
from metarl.system.cores import usable_cores

_LOG = logging.getLogger(__name__)
StepperName: TypeAlias = Literal["auto", "compiled", "portable"]

_BAD = [getattr(mujoco.mjtWarning, f"mjWARN_BAD{name}") for name in ("QPOS", "QVEL", "QACC", "CTRL")]
_DIVERGED = FATAL | sum(1 << int(warning) for warning in _BAD)


class WorldState(NamedTuple):
    """State of a world from which any stepper continues exactly."""

    integration: Array  # mjSTATE_INTEGRATION: positions, velocities, controls, mocap poses, warm start, time
    fields: dict[str, Array]  # the expanded model fields
    features: Array  # bound, [width]; fewer leave the rest zero


class BatchedPhysics:
    """Worlds that are stepped together."""

    def __init__(
        self,
        models: Sequence[mujoco.MjModel],
        families: Sequence[int],
        *,
        stepper: StepperName = "auto",
        num_threads: int = 0,
        finish: Finish = Finish.FORWARD,
        reuse_forward: bool = True,
    ) -> None:
        """Make the worlds: one model a family, and for each world the index of its family.

        ``stepper="auto"`` is the compiled one where it can be built, and ``num_threads=0`` one a core. With
        ``reuse_forward`` a compiled step starts from the forward pass after the one before, where this
        changes no bit. If the compiled stepper is asked for and cannot be built, this raises ``EngineError``.
        """
        self.models = list(models)
        for model in self.models:
            check_solver(model)
        # inputs are as wide as the widest model's
        self._num_ctrl = max((model.nu for model in models), default=0)
        self._num_mocap = max((model.nmocap for model in models), default=0)
        self._finish = finish
        # reuse needs a model in which it was shown to be exact
        self._reuse = [reuse_forward and can_reuse_forward(model, finish) for model in models]
        self._layouts = [resolve(model, ()) for model in models]
        self._functions: list[int] = []
        self._tables: list[Rows] = []
        self._expanded: dict[str, list[Array]] = {}
        self._status = WorldStatus(len(families))
        self._spare: list[list[mujoco.MjData]] = [[] for _ in models]
        # bound numbers after the step, [num_worlds, width], live
        self.features: Array = np.zeros((len(families), 0))
        # more threads than worlds would idle
        self.num_threads = min(num_threads or usable_cores(), max(len(families), 1))
        self._stepper = _make_stepper(stepper, self.num_threads, self._status)
        # every world has data of its own; models are shared
        self._worlds = [self._new_world(index, family) for index, family in enumerate(families)]
        for index, world in enumerate(self._worlds):
            self._stepper.attach(index, world)

    @property
    def num_worlds(self) -> int:
        """How many worlds there are."""
        return len(self._worlds)

    @property
    def is_compiled(self) -> bool:
        """Whether the compiled stepper runs."""
        return isinstance(self._stepper, CompiledStepper)

    @property
    def flags(self) -> Flags:
        """Warnings since ``set_state``, ``[num_worlds]``: bit w for ``mjtWarning`` w."""
        return self._status.flags

    @property
    def diverged(self) -> Mask:
        """Worlds with NaN, huge numbers or an error in MuJoCo, ``[num_worlds]``.

        MuJoCo itself resets such a world and goes on; its episode is over.
        """
        diverged: Mask = (self._status.flags & _DIVERGED) != 0
        return diverged

    @property
    def any_diverged(self) -> bool:
        """Whether some world of :attr:`diverged` is true; takes less time where none is."""
        return bool(self._status.flags.any()) and bool(self.diverged.any())

    def data(self, world: int) -> mujoco.MjData:
        """Return a world's data for reading; poses are those of the last step."""
        return self._worlds[world].data

    def bind(self, features: Sequence[Sequence[Named]]) -> Array:
        """Choose the features of each family's worlds, in order; return :attr:`features`.

        A family with fewer columns leaves the last ones zero. Unknown features raise ``MetarlError``.
        """
        self._layouts = [resolve(model, wanted) for model, wanted in zip(self.models, features, strict=True)]
        width = max((layout.width for layout in self._layouts), default=0)
        self.features = np.zeros((self.num_worlds, width))
        for index, world in enumerate(self._worlds):
            world.layout = self._layouts[world.family]
            world.row = self.features[index, : world.layout.width]
            self._stepper.attach(index, world)
        return self.features

    def compute(self, functions: Sequence[CFunction], tables: Sequence[Rows]) -> bool:
        """Run a family's function in each sound world after each step; return whether it can.

        Call this after :meth:`bind`, which makes new :attr:`features`. The functions, one a family, were made
        for the arrays ``tables [num_worlds, ...]``; they need a compiler.
        """
        if not self.is_compiled:
            # without a compiler the caller computes in NumPy
            return False
        try:
            self._functions = compile_functions(functions)
        except BuildError as error:
            _LOG.warning("Rewards are computed by NumPy, which is slower: %s.", error)
            return False
        self._tables = list(tables)
        # worlds point to the functions, so all are attached anew
        for index, world in enumerate(self._worlds):
            world.computation = self._computation(index, world.family)
            self._stepper.attach(index, world)
        return True

    def layout(self, family: int) -> Layout:
        """Return the columns of a family's features."""
        return self._layouts[family]

    def expand(self, field: str) -> list[Array]:
        """Give every world its own model field from the next step on; return the live arrays.

        ``field`` is one of numbers, ``"body_pos"`` or ``"opt.gravity"`` for instance; one number has shape
        [1]. MuJoCo's numbers that depend on the field are not derived anew.
        """
        if field not in self._expanded:
            self._expanded[field] = [read_field(world.model, field) for world in self._worlds]
            for index, world in enumerate(self._worlds):
                world.fields[field] = self._expanded[field][index]
                self._stepper.attach(index, world)
        return self._expanded[field]

    def assign(self, families: Sequence[int]) -> None:
        """Change the families of the worlds; one that changes starts in the initial state."""
        for index, (world, family) in enumerate(zip(self._worlds, families, strict=True)):
            if world.family != family:
                self._spare[world.family].append(world.data)
                self._worlds[index] = self._new_world(index, family)
                self._stepper.attach(index, self._worlds[index])

    def step(
        self,
        num_substeps: int,
        *,
        ctrl: Array | None = None,
        mocap_pos: Array | None = None,
        mocap_quat: Array | None = None,
        mask: Mask | None = None,
    ) -> None:
        """Step the worlds of ``mask [num_worlds]``; set :attr:`features` and :attr:`flags`.

        Inputs stay where they are None: ``ctrl [num_worlds, nu]``, ``mocap_pos [num_worlds, nmocap, 3]`` in
        metres, ``mocap_quat [num_worlds, nmocap, 4]``, wxyz.
        """
        inputs = Inputs(
            None if mask is None else np.ascontiguousarray(mask, np.bool_),
            self._checked("ctrl", ctrl, (self._num_ctrl,)),
            self._checked("mocap_pos", mocap_pos, (self._num_mocap, 3)),
            self._checked("mocap_quat", mocap_quat, (self._num_mocap, 4)),
        )
        self._stepper.step(inputs, num_substeps)

    def get_state(self, worlds: Iterable[int]) -> list[WorldState]:
        """Return the states of some worlds."""
        states = []
        for index in worlds:
            world = self._worlds[index]
            integration = integration_state(world.model, world.data)
            fields = {name: rows.copy() for name, rows in world.fields.items()}
            states.append(WorldState(integration, fields, world.row.copy()))
        return states

    def set_state(self, worlds: Iterable[int], states: Iterable[WorldState]) -> None:
        """Set states and features of some worlds; clear their flags.

        An expanded field that a state lacks becomes the model's; others raise ``MetarlError``.
        """
        for index, state in zip(worlds, states, strict=True):
            world, status = self._worlds[index], self._status
            if status.flags[index]:
                mujoco.mj_resetData(world.model, world.data)  # MuJoCo may have stopped anywhere
            mujoco.mj_setState(world.model, world.data, state.integration, STATE)
            if not state.fields.keys() <= world.fields.keys():
                missing = ", ".join(sorted(state.fields.keys() - world.fields.keys()))
                raise MetarlError(f"The state has its own {missing}; expand these model fields first.")
            # fields that the state does not name are the family's own
            for name, rows in world.fields.items():
                rows[...] = state.fields[name] if name in state.fields else read_field(world.model, name)
            world.row[...] = state.features
            # the forward pass is of the old state
            status.forward_is_current[index] = 0
            status.flags[index] = 0

    def close(self) -> None:
        """End the threads."""
        self._stepper.close()

    def _new_world(self, index: int, family: int) -> World:
        model = self.models[family]
        data = self._spare[family].pop() if self._spare[family] else mujoco.MjData(model)
        mujoco.mj_resetData(model, data)
        # fields that worlds have to themselves start as the family's
        for field, rows in self._expanded.items():
            rows[index] = read_field(model, field)
        fields = {field: rows[index] for field, rows in self._expanded.items()}
        layout = self._layouts[family]
        # nothing of an earlier world in this slot remains
        self._status.forward_is_current[index] = 0
        self._status.flags[index] = 0
        self.features[index] = 0
        row = self.features[index, : layout.width]
        reuse, computation = self._reuse[family], self._computation(index, family)
        return World(family, model, data, fields, layout, row, self._finish, reuse, computation)

    def _computation(self, index: int, family: int) -> Computation | None:
        if not self._functions:
            return None
        rows = [table.ctypes.data + index * table.strides[0] for table in self._tables]
        return Computation(self._functions[family], np.array(rows, np.int64))

    def _checked(self, name: str, value: Array | None, shape: tuple[int, ...]) -> Array | None:
        if value is None:
            return None
        wanted = (self.num_worlds, *shape)
        if value.shape != wanted:
            raise MetarlError(f"Expected {name} of shape {wanted}, got {value.shape}.")
        return np.ascontiguousarray(value, np.float64)


def _make_stepper(name: StepperName, num_threads: int, status: WorldStatus) -> Stepper:
    library = None if name == "portable" else load()
    if library is None and name == "compiled":
        raise EngineError("The compiled stepper cannot be built here; the log says why.")
    if library is None:
        return PortableStepper(num_threads, status)
    return CompiledStepper(library, num_threads, status)
