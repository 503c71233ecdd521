"""Worlds on the threads of ``stepper.c``, which is compiled on first use where there is a C compiler.

It is built against the headers and the library that the mujoco wheel ships, and serves that version only: the
layout of MuJoCo's structures differs from one to the next.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from metarl.envs.engines.threads.numpy_loops import Loop, double_loops
from metarl.envs.engines.threads.programs import NUMPY_LOOPS, Program, Rows, check
from metarl.envs.engines.threads.worlds import EXACT_VERSIONS, Inputs, Marks, World
from metarl.errors import EngineError
from metarl.storage.files import WriteError, write_whole
from metarl.system.caches import cache_folder, is_own_file

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("stepper.c")
_INCLUDED = Path(__file__).with_name("programs.h")
_FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread")

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


class BuildError(RuntimeError):
    """There is no compiled stepper, and why."""


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the compiled stepper, built on first use; where it cannot be, None and one line in the log."""
    try:
        return open_library()
    except (BuildError, WriteError) as error:
        _LOG.warning("Physics runs on Python threads, which is slower: %s.", error)
        return None


def open_library() -> ctypes.CDLL:
    """Return the compiled stepper, built unless it was before.

    Raises:
        BuildError: if it cannot be built or loaded.
    """
    try:
        library = _declare(ctypes.CDLL(str(build())))
    except OSError as error:
        raise BuildError(str(error)) from error
    if library.metarl_mujoco_version() != mujoco.mj_version():
        raise BuildError(f"it was built for MuJoCo {library.metarl_mujoco_version()}")
    return library


def build(extra_flags: Sequence[str] = ()) -> Path:
    """Compile the stepper unless that was done before.

    Args:
        extra_flags: for the compiler, a sanitizer's for instance.

    Returns:
        The shared library, in the user's cache folder.

    Raises:
        BuildError: without a compiler or the headers, for a MuJoCo that is not known, or if compiling fails.
    """
    if mujoco.mj_version() not in EXACT_VERSIONS:
        raise BuildError(f"the compiled stepper is not known to be exact under MuJoCo {mujoco.__version__}")
    home = Path(mujoco.__file__).parent
    libraries = sorted([*home.glob("libmujoco.so*"), *home.glob("libmujoco*.dylib")])
    compiler = find_compiler()
    if not libraries or not (home / "include" / "mujoco" / "mujoco.h").exists():
        raise BuildError("the mujoco package has no headers")
    flags = [*_FLAGS, *extra_flags, f"-I{home / 'include'}"]
    link = [str(libraries[0]), f"-Wl,-rpath,{home}"]
    sources = [_SOURCE.read_text(), _INCLUDED.read_text()]
    arguments = [word for word in compiler if word.startswith("-")]
    key = hashlib.sha256("\0".join([*sources, platform.machine(), *flags, *link, *arguments]).encode())
    if not cache_folder().is_dir():
        raise BuildError("there is no folder for compiled code")
    target = cache_folder() / f"stepper-{mujoco.__version__}-{key.hexdigest()[:16]}.so"
    if not is_own_file(target):
        _compile([*compiler, *flags, str(_SOURCE), *link], target)
    return target


def find_compiler() -> list[str]:
    """Return the C compiler's command: ``$CC``, which may hold arguments or a launcher, or ``cc``.

    Raises:
        BuildError: if there is none, or ``$CC`` names no program.
    """
    named = os.environ.get("CC", "").strip()
    try:
        words = [named] if shutil.which(named) else shlex.split(named) or ["cc"]
    except ValueError as error:
        raise BuildError(f"CC={named} cannot be read ({str(error).lower()})") from error
    program = shutil.which(words[0])
    if program is None:
        raise BuildError(
            f"CC={named} names no program ({words[0]!r} is not found)" if named else "there is no C compiler"
        )
    return [program, *words[1:]]


def _compile(command: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        output = Path(scratch) / "stepper.so"
        try:
            done = subprocess.run(
                [*command, "-o", str(output)], capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be run ({error.strerror})") from error
        if done.returncode or not output.exists():
            said = done.stderr.strip() or done.stdout.strip() or f"nothing (exit status {done.returncode})"
            raise BuildError(f"the C compiler {command[0]} said: {said.splitlines()[0].rstrip('.')}")
        # whole or absent, whoever else is building it, and written by no one else
        write_whole(target, output.read_bytes(), mode=0o700)


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    library.metarl_open.restype = _POINTER
    library.metarl_open.argtypes = [_INT, _INT, _POINTER, _POINTER]
    library.metarl_close.argtypes = [_POINTER]
    library.metarl_world.argtypes = [_POINTER, _INT, _POINTER, _POINTER, _INT, _INT]
    library.metarl_expand.argtypes = [_POINTER, _INT, ctypes.c_char_p, _POINTER]
    library.metarl_bind.argtypes = [_POINTER, _INT, _POINTER, _INT, _POINTER, _INT, _POINTER]
    library.metarl_step.argtypes = [_POINTER, _POINTER, _POINTER, _INT, _POINTER, _POINTER, _INT, _INT]
    library.metarl_tables.argtypes = [_POINTER, _POINTER, _INT, _POINTER]
    library.metarl_program.argtypes = [_POINTER, _INT, _POINTER, _INT, _POINTER, _INT, _INT]
    library.metarl_run.argtypes = [_POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _INT, _INT, _POINTER]
    return library


@functools.cache
def numpy_loops() -> ctypes.Array[Loop] | None:
    """Return NumPy's loops that programs call; where they are not found, None and one line in the log."""
    try:
        return double_loops(NUMPY_LOOPS)
    except LookupError as error:
        _LOG.warning("Rewards are computed by NumPy, which is slower: %s.", error)
        return None


def run(library: ctypes.CDLL, program: Program, tables: Sequence[Rows]) -> None:
    """Run a program on every row of the arrays that it reads and writes, ``[num_rows, ...]``.

    Raises:
        EngineError: if it reads or writes beyond them.
    """
    check(program, tables, len(tables[0]))
    places = _places(tables)
    library.metarl_run(*_pointers(program), places.ctypes.data, len(tables), len(tables[0]), numpy_loops())


def _places(tables: Sequence[Rows]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return for each array the address of its first row and the bytes from one row to the next."""
    return np.array([(table.ctypes.data, table.strides[0]) for table in tables], np.int64)


def _pointers(program: Program) -> tuple[int, ...]:
    code, constants = program.code, program.constants
    return code.ctypes.data, len(code), constants.ctypes.data, len(constants), program.num_registers


class CompiledStepper:
    """A :class:`~.worlds.Stepper` on native threads."""

    def __init__(self, library: ctypes.CDLL, num_threads: int, marks: Marks) -> None:
        self._library, self._marks = library, marks
        self._kept: list[object] = [None] * marks.num_worlds  # what the C side points into
        self._process = os.getpid()
        self._pool: int | None = library.metarl_open(
            num_threads, marks.num_worlds, marks.fresh.ctypes.data, marks.flags.ctypes.data
        )
        if self._pool is None:
            raise EngineError(f"{num_threads} threads could not be started.")

    def attach(self, index: int, world: World) -> None:
        """Let slot ``index`` be this world, as it now is."""
        library, pool, data = self._library, self._pool, world.data
        library.metarl_world(pool, index, world.model._address, data._address, world.finish, world.can_reuse)
        for name, row in world.fields.items():
            if not library.metarl_expand(pool, index, name.encode(), row.ctypes.data):
                raise EngineError(f"A model has no field of numbers called {name!r}.")
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
        if world.program is not None:
            library.metarl_program(pool, index, *_pointers(world.program))
        self._kept[index] = (world, dict(world.fields), copies, touches, world.program)

    @property
    def can_compute(self) -> bool:
        """Whether worlds may have programs."""
        return numpy_loops() is not None

    def share(self, tables: Sequence[Rows]) -> None:
        """Let the worlds' programs read and write these arrays, a row each."""
        places = _places(tables)
        self._library.metarl_tables(self._pool, places.ctypes.data, len(tables), numpy_loops())
        self._tables = list(tables)  # the C side points into them

    def step(self, inputs: Inputs, num_substeps: int) -> None:
        """Step the worlds, gather their features and set their flags.

        Raises:
            EngineError: after it was closed, and in a process forked from the one that built it: threads do
                not follow a fork.
        """
        if self._pool is None:
            raise EngineError("The physics threads have ended; build a new environment.")
        if os.getpid() != self._process:
            raise EngineError(
                "The physics threads stayed in the parent process; build the environment after the fork."
            )
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
