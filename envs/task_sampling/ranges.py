"""Distributions of a task's numbers: ranges to train on, and margins beyond them for tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Parameters: TypeAlias = tuple[float, ...]
Draw: TypeAlias = Callable[[np.random.Generator], Parameters]  # draws the parameters of one task
# tests are new draws from what training draws from ("in"), or beyond it ("out")
TestRange: TypeAlias = Literal["in", "out"]


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, with margins down to ``least`` and up to ``greatest``."""

    low: float
    high: float
    least: float  # at most low, and low itself where there is no margin below
    greatest: float  # at least high, and high itself where there is no margin above
    logarithmic: bool = False  # whether the logarithm is uniform, not the number

    def draw(self, rng: np.random.Generator, *, beyond: bool = False) -> float:
        """Draw from the range or its margins."""
        bounds = [self.least, self.low, self.high, self.greatest]
        least, low, high, greatest = [math.log(x) for x in bounds] if self.logarithmic else bounds
        if not beyond:
            return self._from(rng.uniform(low, high))
        place = rng.uniform(0.0, (low - least) + (greatest - high))
        return self._from(low - place if place < low - least else high + (place - (low - least)))

    def _from(self, x: float) -> float:
        return math.exp(x) if self.logarithmic else x


@dataclass(frozen=True)
class Ranges:
    """One number from each of several ranges, all from within or all from beyond."""

    ranges: tuple[Range, ...]
    beyond: bool = False

    def __call__(self, rng: np.random.Generator) -> Parameters:
        """Draw the numbers."""
        return tuple(each.draw(rng, beyond=self.beyond) for each in self.ranges)


@dataclass(frozen=True)
class Ring:
    """Points uniform over the area between two circles around the origin."""

    inner: float
    outer: float

    def __call__(self, rng: np.random.Generator) -> Parameters:
        """Draw a point."""
        angle = rng.uniform(0.0, 2.0 * math.pi)
        radius = math.sqrt(rng.uniform(self.inner**2, self.outer**2))
        return radius * math.cos(angle), radius * math.sin(angle)


@dataclass(frozen=True)
class Arc:
    """Unit vectors of the plane, uniform in angle."""

    first: float
    last: float

    def __call__(self, rng: np.random.Generator) -> Parameters:
        """Draw a direction."""
        angle = rng.uniform(self.first, self.last)
        return math.cos(angle), math.sin(angle)
