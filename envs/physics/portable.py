"""Worlds on Python threads: MuJoCo lets go of the interpreter while it steps, so several cores are used."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import mujoco
import numpy as np

from metarl.envs.physics.features import Array, flat, is_touching
from metarl.envs.physics.worlds import BAD_NUMBER, FATAL, Finish, Inputs, Marks, World, write_field

_BAD = (
    ("qpos", 1 << int(mujoco.mjtWarning.mjWARN_BADQPOS)),
    ("qvel", 1 << int(mujoco.mjtWarning.mjWARN_BADQVEL)),
    ("qacc", 1 << int(mujoco.mjtWarning.mjWARN_BADQACC)),
)


class PortableStepper:
    """A :class:`~.worlds.Stepper` in Python alone."""

    def __init__(self, num_threads: int, marks: Marks) -> None:
        self._marks = marks
        self._worlds: list[_Views | None] = [None] * marks.num_worlds
        self._others = num_threads - 1
        self._threads = ThreadPoolExecutor(max(self._others, 1), "metarl-physics")
        self._local = threading.local()
        # all start now: a Ctrl-C while one starts would leave it waiting, and the interpreter for it
        started = threading.Barrier(num_threads)
        for _ in range(self._others):
            self._threads.submit(started.wait)
        started.wait()

    def attach(self, index: int, world: World) -> None:
        """Let slot ``index`` be this world, as it now is."""
        self._worlds[index] = _Views(world)

    def step(self, inputs: Inputs, num_substeps: int) -> None:
        """Step the worlds, gather their features and set their flags."""
        turns = itertools.count()
        others = [self._threads.submit(self._work, turns, inputs, num_substeps) for _ in range(self._others)]
        try:
            self._work(turns, inputs, num_substeps)
        finally:
            wait(others)  # also after Ctrl-C: no thread steps on while the next step begins
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _work(self, turns: Iterator[int], inputs: Inputs, num_substeps: int) -> None:
        for index in itertools.takewhile(lambda turn: turn < len(self._worlds), turns):
            views = self._worlds[index]
            skipped = inputs.mask is not None and not inputs.mask[index]
            if views is None or skipped or self._marks.flags[index] & FATAL:
                continue
            try:
                self._step_world(index, views, inputs, num_substeps)
            except mujoco.FatalError:
                self._marks.flags[index] |= FATAL

    def _step_world(self, index: int, views: _Views, inputs: Inputs, num_substeps: int) -> None:
        world, data = views.world, views.world.data
        model = self._model_for(world)
        views.write(inputs, index)
        # Each call below hands the interpreter to another thread and waits for it again. That costs more than
        # the first substep could save by starting from the forward pass of the step before, in ten calls.
        mujoco.mj_step(model, data, nstep=num_substeps)
        if world.finish is Finish.FORWARD:
            mujoco.mj_forward(model, data)
        elif world.finish is Finish.RNE:
            mujoco.mj_rnePostConstraint(model, data)
        views.gather()
        if flags := views.take_flags():
            self._marks.flags[index] |= flags

    def _model_for(self, world: World) -> mujoco.MjModel:
        """Return the thread's own copy of the world's model, with the world's fields written into it."""
        if not world.fields:
            return world.model
        models: dict[int, tuple[mujoco.MjModel, dict[str, Array]]] = self._local.__dict__.setdefault(
            "models", {}
        )
        if world.family not in models:
            model = copy.copy(world.model)
            models[world.family] = (model, {})
        model, arrays = models[world.family]
        for name, row in world.fields.items():
            if "." in name:
                write_field(model, name, row)
                continue
            if name not in arrays:
                arrays[name] = getattr(model, name)
            np.copyto(arrays[name], row)
        return model


class _Views:
    """Live views of one world's numbers, made once: the steps cost no look-up by name."""

    def __init__(self, world: World) -> None:
        self.world = world
        data = world.data
        self._ctrl, self._mocap_pos, self._mocap_quat = data.ctrl, data.mocap_pos, data.mocap_quat
        self._copies = [
            (world.row[part.column : part.column + part.size], flat(data, part))
            for part in world.layout.numbers
        ]
        self._state = [(getattr(data, name), bit) for name, bit in _BAD]
        self._warnings = data.warning
        self._counts = data.warning.number
        self._no_counts = bytes(self._counts.nbytes)

    def write(self, inputs: Inputs, index: int) -> None:
        if inputs.ctrl is not None:
            self._ctrl[:] = inputs.ctrl[index, : self._ctrl.size]
        if inputs.mocap_pos is not None:
            self._mocap_pos[:] = inputs.mocap_pos[index, : len(self._mocap_pos)]
        if inputs.mocap_quat is not None:
            self._mocap_quat[:] = inputs.mocap_quat[index, : len(self._mocap_quat)]

    def gather(self) -> None:
        for column, source in self._copies:
            column[:] = source
        for touch in self.world.layout.touches:
            self.world.row[touch.column] = is_touching(self.world.data, touch)

    def take_flags(self) -> int:
        flags = 0
        for values, bit in self._state:
            if not values.dot(values) < BAD_NUMBER and _any_bad(values):  # NaN is not below, either
                flags |= bit
        if self._counts.tobytes() != self._no_counts:  # in a tenth of the time that any() takes
            for warning in np.flatnonzero(self._counts):
                flags |= 1 << int(warning)
                self._warnings[int(warning)].number = 0
        return flags


def _any_bad(values: Array) -> bool:
    return not bool((np.abs(values) <= BAD_NUMBER).all())
