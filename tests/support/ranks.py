"""Ranks of a training: as threads of one process, which cost nothing, or as processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar

import torch

from metarl.system.ranks import Ranks, Traffic
from support.programs import Trap, finish, start

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


def start_ranks(
    folder: Path,
    size: int,
    arguments: Sequence[str],
    traps: dict[int, Trap] | None = None,
    own: dict[int, Sequence[str]] | None = None,
) -> list[ForkServerProcess]:
    """Start processes as a launcher does; rank r prints to ``output<r>`` and ``errors<r>``.

    ``own`` has arguments that only some of the ranks get.
    """
    port = free_port()
    return [
        start(
            folder,
            (*arguments, *(own or {}).get(rank, ())),
            (traps or {}).get(rank),
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(size)
    ]


def run_ranks(
    folder: Path,
    size: int,
    arguments: Sequence[str],
    traps: dict[int, Trap] | None = None,
    own: dict[int, Sequence[str]] | None = None,
) -> list[int]:
    """Run processes to their end, and return their exit codes; see :func:`start_ranks`."""
    return [finish(process) for process in start_ranks(folder, size, arguments, traps, own)]


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
