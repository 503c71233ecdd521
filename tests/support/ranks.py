"""Ranks of a training: as threads of one process, which cost nothing, or as processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from metarl.system.ranks import Ranks, Traffic
from support.programs import Preparation, finish, start

T = TypeVar("T")


class ThreadRanks(Ranks):
    """A rank in a thread, which exchanges through shared memory."""

    def __init__(self, rank: int, board: list[torch.Tensor], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, barrier.parties
        self.traffic, self.agreed = Traffic(), False
        self._board, self._barrier = board, barrier

    def _all_gather(self, value: torch.Tensor) -> list[torch.Tensor]:
        self._board[self.rank] = value.clone()
        self._barrier.wait(60)
        found = list(self._board)
        self._barrier.wait(60)
        return found


def on_ranks(size: int, work: Callable[[Ranks], T]) -> list[T | Exception]:
    """Return what the work of each rank returned or raised."""
    board, barrier = [torch.empty(0)] * size, threading.Barrier(size)

    def result(rank: int) -> T | Exception:
        try:
            return work(ThreadRanks(rank, board, barrier))
        except Exception as error:  # noqa: BLE001 - tests look at it
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(result, range(size)))


@dataclass(frozen=True)
class Start:
    """How ranks are started, if not all alike."""

    prepared: dict[int, Preparation] = field(default_factory=dict)
    """What some ranks do before anything else."""
    own: dict[int, Sequence[str]] = field(default_factory=dict)
    """Arguments that only some ranks get."""
    absent: int | None = None
    """A rank that is not started."""
    port: int = 0
    """Where they meet; 0 for a free one."""
    patience: int = 1800
    """Seconds that they wait for each other."""


PLAIN = Start()


def start_ranks(
    folder: Path, size: int, arguments: Sequence[str], how: Start = PLAIN
) -> list[ForkServerProcess]:
    """Start processes as a launcher does; rank r prints to ``output<r>`` and ``errors<r>``."""
    port = how.port or free_port()
    return [
        start(
            folder,
            (*arguments, *how.own.get(rank, ())),
            how.prepared.get(rank),
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_PORT": str(port),
                "METARL_RANK_TIMEOUT": str(how.patience),
            },
        )
        for rank in range(size)
        if rank != how.absent
    ]


def run_ranks(folder: Path, size: int, arguments: Sequence[str], how: Start = PLAIN) -> list[int]:
    """Run processes to their end, and return their exit codes; see :func:`start_ranks`."""
    return [finish(process) for process in start_ranks(folder, size, arguments, how)]


def left_behind(folder: Path, *, kill: bool = False) -> list[list[str]]:
    """Return the command lines of processes that still work in a folder, and kill them if asked."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder.resolve()):
                found.append(process.cmdline())
                if kill:
                    process.kill()
    return found


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
