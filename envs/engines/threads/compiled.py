"""Worlds on the threads of ``stepper.c``, which is compiled on first use.

It is built against the headers and the library that the mujoco wheel ships, and serves that version only: the
layout of MuJoCo's structures differs from one to the next.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from metarl.envs.engines.threads.c_functions import PRELUDE, CFunction
from metarl.envs.engines.threads.worlds import Inputs, World, WorldStatus, check_process
from metarl.errors import EngineError
from metarl.system.c_compiler import BuildError, compile_library

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("stepper.c")
_STEPPER_FLAGS = ("-fvisibility=hidden", "-pthread")

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the compiled stepper; None, with a warning, if it cannot be built."""
    try:
        return open_library()
    except BuildError as error:
        _LOG.warning("Physics runs on Python threads, which is slower: %s.", error)
        return None


def open_library() -> ctypes.CDLL:
    """Return the compiled stepper, built once; raise ``BuildError`` if it cannot be loaded."""
    try:
        library = _declare(ctypes.CDLL(str(build())))
    except OSError as error:
        raise BuildError(str(error)) from error
    if library.metarl_mujoco_version() != mujoco.mj_version():
        raise BuildError(f"it was built for MuJoCo {library.metarl_mujoco_version()}")
    return library


def build(extra_flags: Sequence[str] = ()) -> Path:
    """Compile the stepper unless that was done; return the library in the user's cache folder.

    ``extra_flags`` are a sanitizer's, for instance. Without a compiler or headers this raises ``BuildError``.
    """
    home = Path(mujoco.__file__).parent
    libraries = sorted([*home.glob("libmujoco.so*"), *home.glob("libmujoco*.dylib")])
    if not libraries or not (home / "include" / "mujoco" / "mujoco.h").exists():
        raise BuildError("the mujoco package has no headers")
    flags = [*_STEPPER_FLAGS, *extra_flags, f"-I{home / 'include'}"]
    link = [str(libraries[0]), f"-Wl,-rpath,{home}"]
    return compile_library(f"stepper-{mujoco.__version__}", _SOURCE.read_text(), flags, link)


def compile_functions(functions: Sequence[CFunction], extra_flags: Sequence[str] = ()) -> list[int]:
    """Compile functions once, and return their addresses; raise ``BuildError`` if that fails."""
    definitions = [function.source(f"function_{index}") for index, function in enumerate(functions)]
    path = compile_library("functions", PRELUDE + "".join(definitions), extra_flags, ["-lm"])
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(str(error)) from error
    found = (getattr(library, f"function_{index}") for index in range(len(functions)))
    return [ctypes.cast(function, _POINTER).value or 0 for function in found]


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    library.metarl_open.restype = _POINTER
    library.metarl_open.argtypes = [_INT, _INT, _POINTER, _POINTER]
    library.metarl_close.argtypes = [_POINTER]
    library.metarl_world.argtypes = [_POINTER, _INT, _POINTER, _POINTER, _INT, _INT]
    library.metarl_expand.argtypes = [_POINTER, _INT, ctypes.c_char_p, _POINTER]
    library.metarl_bind.argtypes = [_POINTER, _INT, _POINTER, _INT, _POINTER, _INT, _POINTER]
    library.metarl_step.argtypes = [_POINTER, _POINTER, _POINTER, _INT, _POINTER, _POINTER, _INT, _INT]
    library.metarl_compute.argtypes = [_POINTER, _INT, _POINTER, _POINTER]
    return library


class CompiledStepper:
    """A :class:`~.worlds.Stepper` on native threads."""

    def __init__(self, library: ctypes.CDLL, num_threads: int, status: WorldStatus) -> None:
        self._library, self._status = library, status
        self._kept: list[object] = [None] * status.num_worlds  # what the C side points into
        self._process = os.getpid()
        self._pool: int | None = library.metarl_open(
            num_threads, status.num_worlds, status.forward_is_current.ctypes.data, status.flags.ctypes.data
        )
        if self._pool is None:
            raise EngineError(f"{num_threads} threads could not be started.")

    def attach(self, index: int, world: World) -> None:
        """Assign this world, as it now is, to slot ``index``."""
        library, pool, data = self._library, self._pool, world.data
        # the thread pool reads model and data by their addresses
        library.metarl_world(pool, index, world.model._address, data._address, world.finish, world.can_reuse)
        for name, row in world.fields.items():
            if not library.metarl_expand(pool, index, name.encode(), row.ctypes.data):
                raise EngineError(f"A model has no field of numbers called {name!r}.")
        # copies after each step: from (address, 8 bytes a number) to (column, size)
        copies = np.array(
            [
                (getattr(data, part.field).ctypes.data + 8 * part.start, part.column, part.size)
                for part in world.layout.numbers
            ],
            np.int64,
        )
        touches = np.array(world.layout.touches, np.int64)
        library.metarl_bind(
            pool,
            index,
            copies.ctypes.data,
            len(copies),
            touches.ctypes.data,
            len(touches),
            world.row.ctypes.data,
        )
        if world.computation is not None:
            function, rows = world.computation
            library.metarl_compute(pool, index, function, rows.ctypes.data)
        # the pool holds addresses only, so the objects are kept alive here
        self._kept[index] = (world, dict(world.fields), copies, touches, world.computation)

    def step(self, inputs: Inputs, num_substeps: int) -> None:
        """Step the worlds; gather features and flags."""
        if self._pool is None:
            raise EngineError("The physics threads have ended; build a new environment.")
        check_process(self._process)
        # NULL stands for an input that stays as it is
        mask, ctrl, mocap_pos, mocap_quat = (None if value is None else value.ctypes.data for value in inputs)
        columns = 0 if inputs.ctrl is None else inputs.ctrl.shape[1]
        mocap = next((value for value in (inputs.mocap_pos, inputs.mocap_quat) if value is not None), None)
        num_mocap = 0 if mocap is None else mocap.shape[1]
        self._library.metarl_step(
            self._pool, mask, ctrl, columns, mocap_pos, mocap_quat, num_mocap, num_substeps
        )

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None and os.getpid() == self._process:
            self._library.metarl_close(self._pool)
        self._pool = None
