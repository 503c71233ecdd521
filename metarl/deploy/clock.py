"""Clocks, and the pace of a control loop on one of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Clock(Protocol):
    """A source of time that can wait."""

    def now(self) -> float:
        """Return seconds since any fixed moment."""

    def sleep_until(self, moment: float) -> None:
        """Wait for a moment; return at once if it has passed."""


class WallClock:
    """Real time, which never goes back."""

    def now(self) -> float:
        """Return seconds since any fixed moment."""
        return time.perf_counter()

    def sleep_until(self, moment: float) -> None:
        """Wait for a moment; return at once if it has passed."""
        time.sleep(max(0.0, moment - self.now()))


class SimulatedClock:
    """Time that passes only while somebody is busy. A rehearsal of hours on it takes seconds."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Return the seconds that have passed."""
        return self._now

    def sleep_until(self, moment: float) -> None:
        """Go on to a moment; return at once if it has passed."""
        self._now = max(self._now, moment)

    def advance(self, seconds: float) -> None:
        """Let work take some seconds."""
        self._now += seconds


class Spread(NamedTuple):
    """Median, 99th percentile and worst of some durations."""

    median: float  # seconds, like the others
    p99: float
    worst: float

    def describe(self) -> str:
        """Describe the durations in milliseconds."""
        return " / ".join(f"{1000 * value:.2f}" for value in self) + " ms"


def spread_of(seconds: Sequence[float]) -> Spread | None:
    """Return the spread of durations; None of none."""
    if not seconds:
        return None
    return Spread(*(float(np.percentile(seconds, share)) for share in (50, 99, 100)))


class Pacer:
    """Waits for the ticks of a fixed grid, so that the loop never drifts.

    Tick n is at ``start + n / frequency``. Whoever is late has missed the deadline; the ticks that have
    passed are left out, so that no burst of hurried steps follows.

    Args:
        frequency: ticks a second; 0 never waits.
    """

    def __init__(self, clock: Clock, frequency: float) -> None:
        self._clock, self._period = clock, 1.0 / frequency if frequency else 0.0
        self.start()

    def start(self) -> None:
        """Begin a grid now."""
        self._start = self._last = self._clock.now()
        self._tick = 0
        self.missed = 0  # deadlines that were missed
        self.periods: list[float] = []  # seconds from each tick to the next

    def wait(self) -> None:
        """Sleep until the next tick."""
        if self._period:
            self._tick += 1
            late = self._clock.now() - (self._start + self._tick * self._period)
            if late > 0.0:
                self.missed += 1
                self._tick += math.ceil(late / self._period)
            self._clock.sleep_until(self._start + self._tick * self._period)
        now = self._clock.now()
        self.periods.append(now - self._last)
        self._last = now
