"""Quirk, kept: Meta-World computes some rewards in single precision.

Gymnasium's actions are float32, and Meta-World lets the gripper's effort enter its rewards as it comes:
NumPy gives a float32 for a float32 scalar combined with a Python float. So a reward is rounded to single
precision from there on, but only in the worlds where an effort does enter: not where it is cut to a Python
constant, nor where nothing is grasped. The effect is up to 3e-7 of a reward of 10.

:class:`Narrowed` carries such a number in double precision, in single, and with a mask of where the single
one counts. A formula that is written for plain arrays works on it unchanged.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from metarl.envs.engines.arrays import Array, Mask, Vector, namespace


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A number per world that Meta-World holds in single precision where ``narrow`` is true."""

    double: Array
    single: Array
    narrow: Mask

    def _with(self, other: Array | float, operation: Callable[[Array, Array | float], Array]) -> Narrowed:
        if isinstance(other, Narrowed):  # of the same effort, so narrow in the same worlds
            return Narrowed(
                operation(self.double, other.double), operation(self.single, other.single), self.narrow
            )
        return Narrowed(operation(self.double, other), operation(self.single, _single(other)), self.narrow)

    def __add__(self, other: Array | float) -> Array:
        return self._with(other, operator.add)

    def __sub__(self, other: Array | float) -> Array:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Array | float) -> Array:
        return -self + other

    def __mul__(self, other: Array | float) -> Array:
        return self._with(other, operator.mul)

    def __truediv__(self, other: Array | float) -> Array:
        return self._with(other, operator.truediv)

    def __rtruediv__(self, other: float) -> Array:
        return Narrowed(other / self.double, other / self.single, self.narrow)

    def __abs__(self) -> Array:
        return Narrowed(abs(self.double), abs(self.single), self.narrow)

    def __neg__(self) -> Array:
        return Narrowed(-self.double, -self.single, self.narrow)

    def __lt__(self, other: Array | float) -> Mask:
        return widen(self) < other

    def __le__(self, other: Array | float) -> Mask:
        return widen(self) <= other

    def __gt__(self, other: Array | float) -> Mask:
        return widen(self) > other

    def __ge__(self, other: Array | float) -> Mask:
        return widen(self) >= other

    __radd__ = __add__
    __rmul__ = __mul__
    __array_ufunc__ = None  # leaves ndarray + Narrowed to this class


def narrowed(x: Array, narrow: Mask, like: Array) -> Array:
    """Return float32 numbers as Meta-World carries them: single where ``narrow``, else like ``like``."""
    double = _double(x, like)
    if not narrow.any():
        return double
    harmless = namespace(x).where(narrow, x, 1.0)  # what does not count must not divide by zero either
    return Narrowed(double, harmless, narrow)


def widen(x: Array) -> Array:
    """Return the plain numbers: single precision, where it counts, rounded and no longer marked."""
    if not isinstance(x, Narrowed):
        return x
    return namespace(x.double).where(x.narrow, _double(x.single, x.double), x.double)


def where(condition: Mask, first: Array | float, second: Array | float) -> Array:
    """Choose per world; what is chosen keeps its precision. At least one of the two is an array."""
    choose = namespace(condition).where
    if not isinstance(first, Narrowed) and not isinstance(second, Narrowed):
        return choose(condition, first, second)
    (double_1, single_1, narrow_1), (double_2, single_2, narrow_2) = _parts(first), _parts(second)
    narrow, double = cast(Mask, choose(condition, narrow_1, narrow_2)), choose(condition, double_1, double_2)
    return Narrowed(double, choose(condition, single_1, single_2), narrow) if narrow.any() else double


def _parts(x: Array | float) -> tuple[Array | float, Array | float, Mask | bool]:
    return (x.double, x.single, x.narrow) if isinstance(x, Narrowed) else (x, _single(x), False)


def _single(x: Array | float) -> Array | float:
    return x if isinstance(x, int | float) else namespace(x).asarray(x, dtype=namespace(x).float32)


def _double(x: Array, like: Array) -> Array:
    return namespace(x).asarray(x, dtype=cast(Vector, like).dtype)
