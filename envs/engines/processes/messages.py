"""Arrays and messages between engine and workers."""

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

STDERR = 2  # the descriptor, whatever stands in for sys.stderr
ArraySpec: TypeAlias = tuple[str, tuple[int, ...]]  # a NumPy dtype's string and a shape


class Shared(NamedTuple):
    """Arrays that engine and W workers share."""

    actions: Array  # [N, A], in the action space's dtype
    observations: Array  # [N, O], in the observation space's dtype
    rewards: Array  # [N]
    terminated: Flags  # [N]
    truncated: Flags  # [N]
    success: Flags  # [N]
    reported: Flags  # [N], whether the environment said anything about success
    live: Flags  # [N], whether an episode is running; only the engine writes it
    progress: npt.NDArray[np.uint64]  # [W], counts up, so that the engine notices a worker that hangs
    # [W], slot that a worker works on, -1 for none, for the report of a lost worker
    at: npt.NDArray[np.int64]


def shared_layout(
    num_envs: int, num_workers: int, observation: ArraySpec, action: ArraySpec
) -> tuple[ArraySpec, ...]:
    """Return dtypes and shapes of :class:`Shared`, in order, from those of one slot."""
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
    """Return the arrays' size in bytes; each array is on cache lines of its own."""
    return sum(_padded(spec) for spec in layout)


def new_memory(size: int) -> int:
    """Return the descriptor of a nameless memory file, gone with its last user.

    No standard stream may have its place, or that of a descriptor made later: workers' output would go there.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass  # one that was closed is now open
    os.close(spare)
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("metarl")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.truncate(memory, size)
    return memory


def map_shared(memory: int, layout: tuple[ArraySpec, ...]) -> Shared:
    """Map the arrays in descriptor ``memory``."""
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

    number: int  # which worker it is
    slots: range  # the slots that it owns
    layout: tuple[ArraySpec, ...]  # the shared mapping's
    factory: bytes  # of environments, by metarl.plugins.user_modules.dumps
    max_idle: int  # idle environments to keep, so that a family's return costs no rebuild


class Episode(NamedTuple):
    """Everything that determines an episode."""

    slot: int
    task: Task
    seed: int
    options: dict[str, object] | None
    actions: Array  # steps after the reset, [t, A]; none for a fresh episode


class TryFamilies(NamedTuple):
    """Command to try building each family."""

    families: tuple[str, ...]


class Run(NamedTuple):
    """Command to start episodes and replay steps."""

    episodes: tuple[Episode, ...]


class Draw(NamedTuple):
    """Command to write a slot's picture to a file in NumPy's format."""

    slot: int
    path: str
    camera: str | None
    width: int
    height: int


Command: TypeAlias = TryFamilies | Run | Draw
STEP = b"step"  # command to step the live slots, sent as it is; every other command is pickled
DONE = b""  # answer to a successful command; any other answer is a pickled Failure


class Failure(NamedTuple):
    """Answer to a command that raised an exception."""

    message: str
    traceback: str
    by_engine: bool  # whether to raise an EngineError, or a plain MetarlError


TIMEOUT = 60.0  # seconds that a call of an environment may take by default
