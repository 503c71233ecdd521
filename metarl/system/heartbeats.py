"""Signs of life of ranks, in the store that they share.

A thread of each rank counts up in the store every second and reads the others' counts. Nobody else waits for
the store: where its host is halted, a question to it never returns.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import NamedTuple

from torch.distributed.distributed_c10d import Store

BEAT_SECONDS = 1.0
LEFT = "left"
_LOST = "lost"


class Lost(NamedTuple):
    """A rank that no longer takes part, and how that shows."""

    rank: int
    fate: str


class Heartbeats:
    """This rank's signs of life, and what it has seen of the others'."""

    def __init__(self, rank: int, size: int, store: Store) -> None:
        self.exchanges = 0  # exchanges that this rank has come to; the others see it
        self._rank, self._store = rank, store
        now = time.monotonic()
        self._answered = now
        self._seen = [("", now)] * size
        self._told: int | None = None
        self._to_tell: int | None = None
        self._gone = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metarl-heartbeats", daemon=True)
        self._thread.start()

    def lost(self, limit: float) -> Lost | None:
        """Return a rank without a sign of life for ``limit`` seconds, or that another rank found lost."""
        now = time.monotonic()
        if self._told is not None:
            return Lost(self._told, "was lost")
        if self._gone or now - self._answered > limit + BEAT_SECONDS:
            return Lost(0, "died or was halted, or its machine: their store does not answer")
        for rank, (beat, since) in enumerate(self._seen):
            if rank != self._rank and beat != LEFT and now - since > limit:
                return Lost(rank, f"died or was halted: it gave no sign of life for {limit:g} s")
        return None

    def ended(self) -> Lost | None:
        """Return a rank that ended in good order."""
        gone = [rank for rank, (beat, _) in enumerate(self._seen) if beat == LEFT]
        return Lost(gone[0], "ended early") if gone else None

    def latest(self) -> int:
        """Return the rank that has come to the fewest exchanges."""
        counts = [int(beat.split()[1]) if " " in beat else 0 for beat, _ in self._seen]
        return min(range(len(counts)), key=counts.__getitem__)

    def has_left(self, rank: int) -> bool:
        """Return whether a rank has ended in good order, or cannot be asked."""
        return self._gone or self._seen[rank][0] == LEFT

    def tell(self, rank: int) -> None:
        """Tell the others that a rank is lost."""
        self._to_tell = rank

    def close(self) -> None:
        """Tell the others that this rank has ended, if the store still answers."""
        self._ended.set()
        self._thread.join(2 * BEAT_SECONDS)

    def _run(self) -> None:
        beats = 0
        try:
            while not self._ended.is_set():
                self._store.set(beat_of(self._rank), f"{beats} {self.exchanges}")
                self._look()
                beats += 1
                self._ended.wait(BEAT_SECONDS)
            if self._to_tell is not None:
                self._store.set(_LOST, str(self._to_tell))
            self._store.set(beat_of(self._rank), LEFT)
        except RuntimeError:  # the store is gone with its host
            self._gone = True

    def _look(self) -> None:
        if self._to_tell is not None:
            self._store.set(_LOST, str(self._to_tell))
        found = self._store.multi_get([beat_of(rank) for rank in range(len(self._seen))])
        with suppress(ValueError):
            self._told = int(self._store.get(_LOST)) if self._store.check([_LOST]) else None
        self._answered = now = time.monotonic()
        for rank, value in enumerate(found):
            beat = value.decode()
            if beat != self._seen[rank][0]:
                self._seen[rank] = beat, now


def beat_of(rank: int) -> str:
    """Return the store's name of a rank's count."""
    return f"beat/{rank}"
