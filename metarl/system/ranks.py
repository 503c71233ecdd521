"""Ranks: the processes of one training, which torchrun starts on one machine or several.

They exchange tensors by ``torch.distributed`` with gloo. Every exchange begins with each rank's state, so
that a rank that was stopped or has failed ends all others at the same place, instead of leaving them to wait.
Each rank counts up in torchrun's store every second; a rank that no longer does is lost, and the others name
it.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, but not in its __all__
from torch.distributed.distributed_c10d import PrefixStore, Store

from metarl.errors import MetarlError, RankLostError, Stopped
from metarl.system.heartbeats import Heartbeats, Lost, beat_of
from metarl.system.launch import Launch, launched, local_rank, ranks_here

T = TypeVar("T")

ARRIVAL_SECONDS = 60.0  # seconds after which an unstarted rank is missing
LOST_SECONDS = 20.0  # A rank that has not counted up for this long has died or was halted
BROKEN_SECONDS = 5.0  # likewise, once a connection has broken
FAREWELL_SECONDS = 10.0  # ranks wait this long for the first to have its say before they end
_WORDS, _COMPLETE, _BEGUN = "words", "complete", "begun"
WORKING, STOPPED, FAILED = 0, 1, 2
SILENT_EXIT = 2


def own_device(name: str) -> torch.device:
    """Return this process's device of a name; "cuda" is a GPU of its own for each of several ranks.

    Ranks of a machine take its GPUs in turn, and share them where there are more ranks.
    """
    if name != "cuda" or ranks_here() == 1:
        return torch.device(name)
    return torch.device("cuda", local_rank() % torch.cuda.device_count())


@dataclass
class Traffic:
    """Costs of exchanges to this rank."""

    exchanges: int = 0
    received_bytes: int = 0
    waiting: float = 0.0  # seconds until all ranks reached an exchange
    transfer: float = 0.0  # seconds of the messages themselves


class Ranks:
    """One rank's connection to the others."""

    def __init__(self, launch: Launch, store: Store, lasting: Store) -> None:
        self.rank, self.size = launch.rank, launch.size
        self.again = lasting.check([_BEGUN])  # whether an earlier start of these ranks began the run
        self._lasting = lasting
        self.traffic = Traffic()
        self.agreed = False  # whether every rank knows that the common work is over
        self.fails = False
        self._pending = False  # whether gloo waits for a rank
        self._hang_seconds = launch.hang_seconds
        self._heart = Heartbeats(self.rank, self.size, store)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which decides, writes and speaks."""
        return self.rank == 0

    def tell_begun(self) -> None:
        """Let later starts, after a rank has died, know that this one began the run."""
        self._lasting.set(_BEGUN, "")

    def of_count(self, count: int) -> int:
        """Return this rank's part of a number for all ranks, at least 1; 0 stays 0."""
        return count and max(1, (count + self.size - 1 - self.rank) // self.size)

    def exchange(self, message: torch.Tensor) -> list[torch.Tensor]:
        """Return every rank's message, bytes ``[n]``, in the order of ranks.

        Raises:
            Stopped: if a rank was asked to stop.
            MetarlError: if a rank failed, with its error.
            RankLostError: if a rank died, or does not come within the time limit.
        """
        states = self._gather(WORKING, message)
        for rank, (state, content) in enumerate(states):
            if state == FAILED:
                self.agreed = True
                raise MetarlError(f"Rank {rank} failed: {bytes(content.numpy()).decode(errors='replace')}")
        if any(state == STOPPED for state, _ in states):
            self.agreed = True
            raise Stopped
        return [content for _, content in states]

    def wait_for_all(self) -> None:
        """Wait for every rank; raises as :meth:`exchange`."""
        self.exchange(torch.empty(0, dtype=torch.uint8))

    def announce(self, error: BaseException) -> None:
        """End the others' work for this rank's error; nothing if they know that it is over.

        Raises:
            RankLostError: if a rank died.
        """
        if self.agreed:
            return
        stopped = isinstance(error, Stopped | KeyboardInterrupt)
        text = str(error) if isinstance(error, MetarlError) else f"{type(error).__name__}: {error}"
        content = torch.frombuffer(bytearray(text.encode() or b"?"), dtype=torch.uint8)
        self._gather(STOPPED if stopped else FAILED, content)
        self.agreed = True

    def first_then_others(self, first: Callable[[], T], others: Callable[[], T]) -> T:
        """Return ``first()`` on rank 0 and then ``others()`` on the others; an error of one ends all."""
        with self.ending_together():
            made = first() if self.is_first else None
            self.wait_for_all()
            if made is None:
                made = others()
            self.wait_for_all()
        return made

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Announce whatever error ends the block."""
        try:
            yield
        except BaseException as error:
            self.announce(error)
            raise

    def close(self) -> None:
        """Leave; after an error rank 0 first, as torchrun ends the ranks that are left."""
        patience = time.monotonic() + FAREWELL_SECONDS
        while self.fails and not self.is_first and time.monotonic() < patience:
            if self._heart.has_left(0):
                break
            time.sleep(0.05)
        self._heart.close()
        if self._pending:
            # gloo would wait for the lost rank
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(SILENT_EXIT)
        if dist.is_initialized():
            with suppress(RuntimeError):
                dist.destroy_process_group()

    def _gather(self, state: int, message: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
        """Return every rank's state and message."""
        start = time.perf_counter()
        self.traffic.exchanges += 1
        heads = self._all_gather(torch.tensor([state, len(message)]))
        arrived = time.perf_counter()
        states = [int(head[0]) for head in heads]
        sizes = [int(head[1]) for head in heads]
        if any(states):  # nobody needs the messages of work that is over
            sizes = [size if state else 0 for state, size in zip(states, sizes, strict=True)]
            message = message if state else message[:0]
        contents = [message] * self.size
        if largest := max(sizes):
            padded = torch.zeros(largest, dtype=torch.uint8)
            padded[: len(message)] = message
            contents = self._all_gather(padded)
        self.traffic.received_bytes += (self.size - 1) * (largest + heads[0].nbytes)
        self.traffic.waiting += arrived - start
        self.traffic.transfer += time.perf_counter() - arrived
        return [(s, content[:size]) for s, content, size in zip(states, contents, sizes, strict=True)]

    def _all_gather(self, value: torch.Tensor) -> list[torch.Tensor]:
        gathered = [torch.empty_like(value) for _ in range(self.size)]
        self._heart.exchanges += 1
        start = time.monotonic()
        try:
            work = dist.all_gather(gathered, value, async_op=True)
            self._pending = True
            while not _done(work):
                self.look_for_lost(LOST_SECONDS)
                if time.monotonic() - start > self._hang_seconds:
                    self._lose(Lost(self._heart.latest(), f"has not answered for {self._hang_seconds:g} s"))
        except RuntimeError as error:
            self._name_lost(error)
        self._pending = False
        return gathered

    def look_for_lost(self, limit: float) -> None:
        """Raise RankLostError if a rank has given no sign of life for ``limit`` seconds."""
        if found := self._heart.lost(limit):
            self._lose(found)

    def _name_lost(self, error: RuntimeError) -> NoReturn:
        """Find out which rank broke the connection."""
        self._pending = False
        patience = time.monotonic() + 2 * BROKEN_SECONDS
        while time.monotonic() < patience:
            self.look_for_lost(BROKEN_SECONDS)
            if found := self._heart.ended():
                self._lose(found)
            time.sleep(0.2)
        self.agreed = True
        raise RankLostError(f"The connection of the ranks broke: {str(error).splitlines()[0]}") from error

    def _lose(self, lost: Lost) -> NoReturn:
        self.agreed = True  # as far as can be
        self._heart.tell(lost.rank)
        speaker = 1 if lost.rank == 0 else 0
        error = RankLostError(
            f"Rank {lost.rank} of {self.size} {lost.fate}. Go on from the last checkpoint, with any number "
            "of ranks: metarl train --resume RUN"
        )
        if self.rank != speaker:
            raise SystemExit(SILENT_EXIT) from error
        raise error


def _here(rank: int) -> str:
    return f"here/{rank}"


def _word(rank: int) -> str:
    return f"word/{rank}"


def _seen(rank: int) -> str:
    return f"seen/{rank}"


def _done(work: dist.Work) -> bool:
    """Wait a second for a collective; whether it is done."""
    try:
        return bool(work.wait(timedelta(seconds=1)))
    except RuntimeError as error:
        # gloo's way to say that this wait, not the collective, has ended
        if "Operation timed out" in str(error) and not work.is_completed():
            return False
        raise


@contextmanager
def joined(about: Mapping[str, str]) -> Iterator[Ranks | None]:
    """Connect to the other ranks; None in a process that no torchrun has started.

    Args:
        about: what must be the same on every rank, by name: versions and settings.

    Raises:
        MetarlError: if ranks are missing, or ``about`` differs, or the launch is no good.
    """
    launch = launched()
    if launch is None:
        yield None
        return
    lasting = connect(launch)
    try:
        store = agree(launch, lasting)
        meet(launch, store, about)
    except RuntimeError as error:  # the store is gone with its host
        raise MetarlError(f"Rank 0 of {launch.size} has ended before rank {launch.rank} began.") from error
    dist.init_process_group(
        "gloo",
        store=PrefixStore("gloo", store),
        rank=launch.rank,
        world_size=launch.size,
        timeout=timedelta(days=10),  # Ranks has limits of its own
    )
    ranks = Ranks(launch, store, lasting)
    atexit.register(ranks.close)  # rank 0 reports its error after the block
    try:
        with ranks.ending_together():
            yield ranks
    except BaseException as error:
        ranks.fails = True
        # rank 0 has the same error, or was told this one
        if isinstance(error, MetarlError) and not isinstance(error, RankLostError) and not ranks.is_first:
            raise SystemExit(SILENT_EXIT) from error
        raise


def arrival_seconds(launch: Launch) -> float:
    """Return how long ranks wait for each other at the start."""
    return min(ARRIVAL_SECONDS, launch.hang_seconds)


def connect(launch: Launch) -> Store:
    """Return torchrun's lasting store, or rank 0's."""
    where = f"{launch.address}:{launch.port}"
    opened: Future[Store] = Future()
    # in a thread: for a silent listener that is no store TCPStore waits for ever, whatever its timeout
    threading.Thread(target=_open_store, args=(launch, opened), daemon=True).start()
    try:
        store = opened.result(arrival_seconds(launch) + BROKEN_SECONDS)
    except TimeoutError as error:
        raise MetarlError(
            f"Rank {launch.rank} cannot reach rank 0 at {where}: another program listens there."
        ) from error
    except RuntimeError as error:
        if "EADDRINUSE" in str(error) or "already in use" in str(error):
            raise MetarlError(
                f"The port {launch.port} of MASTER_PORT is in use; choose another, or torchrun --standalone."
            ) from error
        raise MetarlError(
            f"Rank {launch.rank} cannot reach rank 0 at {where}: {str(error).splitlines()[0]}"
        ) from error
    return PrefixStore("metarl", store)


def _open_store(launch: Launch, opened: Future[Store]) -> None:
    try:
        store = TCPStore(
            launch.address,
            launch.port,
            is_master=launch.hosts_store,
            timeout=timedelta(seconds=arrival_seconds(launch)),
            wait_for_workers=False,
        )
        opened.set_result(store)
    except RuntimeError as error:
        opened.set_exception(error)


def agree(launch: Launch, lasting: Store) -> Store:
    """Return a part of the store for this start alone, once all ranks are there.

    Launchers on several machines count restarts differently, so that no number distinguishes two starts.
    Each rank says a word of its own instead, rank 0 lists them, and a list that all have seen is the start's.

    Raises:
        MetarlError: if a rank is missing.
    """
    ranks, own, seconds = range(launch.size), secrets.token_hex(8), arrival_seconds(launch)
    patience = time.monotonic() + seconds
    lasting.set(_word(launch.rank), own)
    while True:
        missing = [rank for rank in ranks if not lasting.check([_word(rank)])]
        if launch.rank == 0 and not missing:
            lasting.set(_WORDS, ",".join(lasting.get(_word(rank)).decode() for rank in ranks))
        words = lasting.get(_WORDS).decode() if lasting.check([_WORDS]) else ""
        if own in words.split(","):
            store = PrefixStore(words, lasting)
            store.set(_seen(launch.rank), "")
            missing = [rank for rank in ranks if not store.check([_seen(rank)])]
            if launch.rank == 0 and not missing:
                store.set(_COMPLETE, "")
            if store.check([_COMPLETE]):
                return store
        if time.monotonic() > patience:
            raise _missing(launch, missing)
        time.sleep(0.05)


def _missing(launch: Launch, ranks: Sequence[int]) -> MetarlError:
    names, seconds = ", ".join(map(str, ranks)), arrival_seconds(launch)
    return MetarlError(f"Expected {launch.size} ranks, got no sign of rank {names} in {seconds:g} s.")


def meet(launch: Launch, store: Store, about: Mapping[str, str]) -> None:
    """Wait for all ranks, and compare their purposes."""
    store.set(beat_of(launch.rank), "")
    store.set(_here(launch.rank), json.dumps(dict(about)))
    patience = time.monotonic() + arrival_seconds(launch)
    missing = list(range(launch.size))
    while missing := [rank for rank in missing if not store.check([_here(rank)])]:
        if time.monotonic() > patience:
            raise _missing(launch, missing)
        time.sleep(0.05)
    first = json.loads(store.get(_here(0)))
    for rank in range(1, launch.size):
        own = json.loads(store.get(_here(rank)))
        for name in first.keys() | own.keys():
            if first.get(name) == own.get(name):
                continue
            if launch.rank != 0:
                raise SystemExit(SILENT_EXIT)
            raise MetarlError(
                f"Expected the same {name} on every rank, got {first.get(name)} on rank 0 "
                f"and {own.get(name)} on rank {rank}."
            )
