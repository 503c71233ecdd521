"""Shared arrays and pipe messages of workers.

Engine and workers share both.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.reset_arguments import Flags
from metarl.types import Task
from metarl.vector_env import Array

ArraySpec: TypeAlias = tuple[str, tuple[int, ...]]
"""A NumPy dtype's string and a shape."""


class Shared(NamedTuple):
    """Arrays shared by engine and all workers.

    W is the number of workers.
    """

    actions: Array
    """``[N, A]``, in the action space's dtype."""
    observations: Array
    """``[N, O]``, in the observation space's dtype."""
    rewards: Array
    """``[N]``."""
    terminated: Flags
    """``[N]``."""
    truncated: Flags
    """``[N]``."""
    success: Flags
    """``[N]``."""
    reported: Flags
    """``[N]``, whether the environment said anything about success."""
    live: Flags
    """Whether an episode is running, ``[N]``.

    Only the engine writes it.
    """
    progress: npt.NDArray[np.uint64]
    """Progress count of each worker, ``[W]``.

    By it the engine notices one that hangs.
    """
    at: npt.NDArray[np.int64]
    """Slot that each worker works on, ``[W]``.

    It is -1 for none. The report of a lost worker names it.
    """


def shared_layout(
    num_envs: int, num_workers: int, observation: ArraySpec, action: ArraySpec
) -> tuple[ArraySpec, ...]:
    """Return dtypes and shapes of :class:`Shared`, in order.

    Args:
        num_envs: N.
        num_workers: W.
        observation: dtype and shape of one observation.
        action: dtype and shape of one action.
    """
    flags = ("|b1", (num_envs,))
    return (
        (action[0], (num_envs, *action[1])),
        (observation[0], (num_envs, *observation[1])),
        ("<f8", (num_envs,)),
        *([flags] * 5),
        ("<u8", (num_workers,)),
        ("<i8", (num_workers,)),
    )


def shared_size(layout: tuple[ArraySpec, ...]) -> int:
    """Return the arrays' size in bytes.

    Each array is on cache lines of its own.
    """
    return sum(_padded(spec) for spec in layout)


def new_memory(size: int) -> int:
    """Return a nameless memory file's descriptor.

    The file is gone with its last user.
    """
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("metarl")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.truncate(memory, size)
    return memory


def map_shared(memory: int, layout: tuple[ArraySpec, ...]) -> Shared:
    """Map the arrays in the file with descriptor ``memory``."""
    buffer = mmap.mmap(memory, shared_size(layout))
    arrays, offset = [], 0
    for dtype, shape in layout:
        flat = np.frombuffer(buffer, dtype, math.prod(shape), offset)
        arrays.append(flat.reshape(shape))
        offset += _padded((dtype, shape))
    return Shared(*arrays)


def _padded(spec: ArraySpec) -> int:
    dtype, shape = spec
    return -(-max(np.dtype(dtype).itemsize * math.prod(shape), 1) // 64) * 64


class Blueprint(NamedTuple):
    """The first message to a worker: its description."""

    number: int
    """Which worker it is."""
    slots: range
    """The slots that it owns."""
    layout: tuple[ArraySpec, ...]
    """The shared mapping's."""
    factory: bytes
    """The environment factory, by :func:`metarl.plugins.user_modules.dumps`."""
    max_idle: int
    """Idle environments to keep.

    So a family's return costs no rebuild.
    """


class Episode(NamedTuple):
    """Everything that determines an episode."""

    slot: int
    task: Task
    seed: int
    options: dict[str, object] | None
    actions: Array
    """Steps after the reset, ``[t, A]``.

    There are none for a fresh episode.
    """


class TryFamilies(NamedTuple):
    """Command to try building each family."""

    families: tuple[str, ...]


class Run(NamedTuple):
    """Command to start episodes and replay steps."""

    episodes: tuple[Episode, ...]


class Draw(NamedTuple):
    """Command to write a slot's picture.

    The file is in NumPy's format.
    """

    slot: int
    path: str
    camera: str | None
    width: int
    height: int


Command: TypeAlias = TryFamilies | Run | Draw
STEP = b"step"
"""Command to step the live slots.

It is sent as it is; every other command is pickled.
"""
DONE = b""
"""Answer to a successful command.

Any other answer is a pickled :class:`Failure`.
"""


class Failure(NamedTuple):
    """Answer to a command that raised an exception."""

    message: str
    traceback: str
    by_engine: bool
    """Whether to raise an EngineError.

    Otherwise a plain MetarlError is raised.
    """


TIMEOUT = 60.0
"""Default time limit of an environment call, seconds.

The settings may say otherwise.
"""
