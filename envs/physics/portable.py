"""Worlds on Python threads: MuJoCo lets go of the interpreter while it steps, so several cores are used."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
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
                self._marks.fresh[index] = 0
                self._marks.flags[index] |= FATAL

    def _step_world(self, index: int, views: _Views, inputs: Inputs, num_substeps: int) -> None:
        world, data, fresh = views.world, views.world.data, self._marks.fresh
        model = self._model_for(world)
        reuse = world.can_reuse and fresh[index] and num_substeps > 0
        fresh[index] = 0
        views.write(inputs, index)
        if reuse:
            step_from_forward(model, data)
        if num_substeps > reuse:
            mujoco.mj_step(model, data, nstep=num_substeps - int(reuse))
        if world.finish is Finish.FORWARD:
            mujoco.mj_forward(model, data)
        elif world.finish is Finish.RNE:
            mujoco.mj_rnePostConstraint(model, data)
        views.gather()
        flags = views.take_flags()
        self._marks.flags[index] |= flags
        fresh[index] = world.finish is Finish.FORWARD and not flags & sum(bit for _, bit in _BAD)

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
        flags = sum(bit for values, bit in self._state if _any_bad(values))
        numbers = self._warnings.number
        if numbers.any():
            for warning in np.flatnonzero(numbers):
                flags |= 1 << int(warning)
                self._warnings[int(warning)].number = 0
        return flags


def _any_bad(values: Array) -> bool:
    if values.dot(values) < BAD_NUMBER:  # then none is; NaN fails this, too
        return False
    return not bool((np.abs(values) <= BAD_NUMBER).all())


_FIRST_SUBSTEP: tuple[Callable[[mujoco.MjModel, mujoco.MjData], None], ...] = (
    mujoco.mj_kinematics,
    mujoco.mj_makeConstraint,
    mujoco.mj_projectConstraint,
    mujoco.mj_referenceConstraint,
    mujoco.mj_fwdActuation,
    mujoco.mj_fwdAcceleration,
    mujoco.mj_fwdConstraint,
    mujoco.mj_checkAcc,
    mujoco.mj_Euler,
)


def step_from_forward(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Step once, less what the forward pass after the last step has computed already.

    Only the controls and the mocap bodies may have changed since then; see
    :func:`~.worlds.can_reuse_forward`.
    """
    for stage in _FIRST_SUBSTEP:
        stage(model, data)
