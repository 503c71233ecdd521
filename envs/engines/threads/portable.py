"""Worlds on Python threads; MuJoCo releases the interpreter lock while it steps."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeAlias

import mujoco
import numpy as np

from metarl.envs.engines.threads.features import Array, flat, is_touching
from metarl.envs.engines.threads.worlds import (
    BAD_NUMBER,
    FATAL,
    Finish,
    Flags,
    Inputs,
    Mask,
    World,
    WorldStatus,
    check_process,
    write_field,
)

_BAD = (
    ("qpos", 1 << int(mujoco.mjtWarning.mjWARN_BADQPOS)),
    ("qvel", 1 << int(mujoco.mjtWarning.mjWARN_BADQVEL)),
    ("qacc", 1 << int(mujoco.mjtWarning.mjWARN_BADQACC)),
)

# a thread's model copies by family, and their fields that worlds have to themselves
_Models: TypeAlias = dict[int, tuple[mujoco.MjModel, dict[str, Array]]]


class PortableStepper:
    """A :class:`~.worlds.Stepper` in Python alone."""

    def __init__(self, num_threads: int, status: WorldStatus) -> None:
        self._status = status
        self._worlds: dict[int, _Views] = {}
        self._alarms: _Alarms | None = None
        self._others = num_threads - 1
        self._process = os.getpid()
        self._threads = ThreadPoolExecutor(max(self._others, 1), "metarl-physics")
        self._local = threading.local()
        # all start now: a Ctrl-C while one starts would leave it waiting, and the interpreter for it
        started = threading.Barrier(num_threads)
        for _ in range(self._others):
            self._threads.submit(started.wait)
        started.wait()

    def attach(self, index: int, world: World) -> None:
        """Assign this world, as it now is, to slot ``index``."""
        self._worlds[index] = _Views(world)
        self._alarms = None

    def step(self, inputs: Inputs, num_substeps: int) -> None:
        """Step the worlds; gather features and flags."""
        check_process(self._process)
        # a world in which MuJoCo raised an error does not step
        stepped = (self._status.flags & FATAL) == 0
        if inputs.mask is not None:
            stepped &= inputs.mask
        # threads take the next world from one iterator, so a slow world delays no other
        turns = iter([(index, self._worlds[index]) for index in np.flatnonzero(stepped).tolist()])
        others = [self._threads.submit(self._work, turns, inputs, num_substeps) for _ in range(self._others)]
        try:
            self._work(turns, inputs, num_substeps)
        finally:
            wait(others)  # also after Ctrl-C: no thread steps on while the next step begins
        # errors of other threads are raised here
        for other in others:
            other.result()
        # arrays of all worlds, made once the worlds are known
        if self._alarms is None:
            self._alarms = _Alarms([(index, views.world) for index, views in self._worlds.items()])
        self._alarms.raise_flags(self._status.flags, stepped)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _work(self, turns: Iterator[tuple[int, _Views]], inputs: Inputs, num_substeps: int) -> None:
        """Step worlds until none is left; taking the next one is atomic."""
        models: _Models = self._local.__dict__.setdefault("models", {})
        for index, views in turns:
            try:
                views.write(inputs, index)
                views.step(models, num_substeps)
            except mujoco.FatalError:
                self._status.flags[index] |= FATAL


class _Views:
    """Live views of one world's numbers, made once: the steps cost no look-up by name.

    Nothing here but MuJoCo's own steps may let go of the interpreter, as some of NumPy's functions do
    (``dot``, ``take``): each time another thread takes it, and has to be waited for.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        data = world.data
        self._ctrl, self._mocap_pos, self._mocap_quat = data.ctrl, data.mocap_pos, data.mocap_quat
        self._copies = [
            (world.row[part.column : part.column + part.size], flat(data, part))
            for part in world.layout.numbers
        ]

    def write(self, inputs: Inputs, index: int) -> None:
        """Set the world's inputs from its row."""
        if inputs.ctrl is not None:
            self._ctrl[:] = inputs.ctrl[index, : self._ctrl.size]
        if inputs.mocap_pos is not None:
            self._mocap_pos[:] = inputs.mocap_pos[index, : len(self._mocap_pos)]
        if inputs.mocap_quat is not None:
            self._mocap_quat[:] = inputs.mocap_quat[index, : len(self._mocap_quat)]

    def step(self, models: _Models, num_substeps: int) -> None:
        """Step the world, and gather its features."""
        world, data = self.world, self.world.data
        model = self._model_among(models)
        # Each call below hands the interpreter to another thread and waits for it again. That costs more than
        # the first substep could save by starting from the forward pass of the step before, in ten calls.
        mujoco.mj_step(model, data, nstep=num_substeps)
        if world.finish is Finish.FORWARD:
            mujoco.mj_forward(model, data)
        elif world.finish is Finish.RNE:
            mujoco.mj_rnePostConstraint(model, data)
        for column, source in self._copies:
            column[:] = source
        for touch in world.layout.touches:
            world.row[touch.column] = is_touching(data, touch)

    def _model_among(self, models: _Models) -> mujoco.MjModel:
        """Return the thread's own copy of the model with this world's fields written into it."""
        world = self.world
        # a world without fields of its own uses the shared model
        if not world.fields:
            return world.model
        # a copy a thread and family, into which each world's fields are written in turn
        if world.family not in models:
            models[world.family] = (copy.copy(world.model), {})
        model, arrays = models[world.family]
        for name, row in world.fields.items():
            # options are single numbers, which have no array to write into
            if "." in name:
                write_field(model, name, row)
                continue
            if name not in arrays:
                arrays[name] = getattr(model, name)
            arrays[name][...] = row
        return model


class _Alarms:
    """Live views of the numbers and warnings that show a broken world."""

    def __init__(self, worlds: Sequence[tuple[int, World]]) -> None:
        named = [(slot, bit, getattr(world.data, name)) for slot, world in worlds for name, bit in _BAD]
        self._numbers = [values for _, _, values in named]
        sizes = [values.size for values in self._numbers]
        self._slots = np.repeat([slot for slot, _, _ in named], sizes)
        self._bits = np.repeat(np.array([bit for _, bit, _ in named], np.int32), sizes)
        self._warnings = [(slot, world.data.warning) for slot, world in worlds]
        self._counts = [warnings.number for _, warnings in self._warnings]

    def raise_flags(self, flags: Flags, stepped: Mask) -> None:
        """Set the flags of stepped worlds, ``[num_worlds]``, but of those that MuJoCo stopped midway."""
        if not self._numbers:
            return
        looked_at = stepped & ((flags & FATAL) == 0)
        # |x| <= limit is false for NaN too
        bad = ~(np.abs(np.concatenate(self._numbers)) <= BAD_NUMBER)  # NaN is not below, either
        if bad.any():
            bad &= looked_at[self._slots]
            np.bitwise_or.at(flags, self._slots[bad], self._bits[bad])
        # MuJoCo counts its warnings; the counters start anew
        for row, kind in np.argwhere(np.stack(self._counts)).tolist():
            slot, warnings = self._warnings[row]
            if looked_at[slot]:
                flags[slot] |= 1 << kind
                warnings[kind].number = 0
