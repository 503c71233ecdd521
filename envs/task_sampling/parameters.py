"""Parameters of a task: structured, as its author writes them, and flat, plain numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from metarl.errors import MetarlError, require, unknown_name
from metarl.tasks import Parameter

MOST_SHOWN = 4  # numbers in a task's name
# name, or None outside a dictionary; shape, or None for a lone number; dtype
Leaf: TypeAlias = "tuple[str | None, tuple[int, ...] | None, str]"


@dataclass(frozen=True)
class Layout:
    """Layout that flattens and restores parameters.

    Parameters are a number, an array or sequence of numbers, or a dictionary of such by name. Arrays and
    sequences come back as arrays, whole numbers as ``int``, others as ``float`` and truth values as ``bool``.
    """

    leaves: tuple[Leaf, ...]

    @staticmethod
    def of(example: object) -> Layout:
        """Return the layout of parameters like these; raise ``MetarlError`` on anything but numbers."""
        if isinstance(example, Mapping):
            require(len(example) > 0, "Parameters of a task must hold a number", "an empty dictionary")
            return Layout(tuple(_leaf(str(name), value) for name, value in example.items()))
        return Layout((_leaf(None, example),))

    @property
    def size(self) -> int:
        """Numbers of a task."""
        return sum(math.prod(shape or ()) for _, shape, _ in self.leaves)

    def describe(self, observed: Sequence[str]) -> tuple[Parameter, ...]:
        """Describe each number of a task; raise ``MetarlError`` if an observed name is none."""
        known = [name for name, _, _ in self.leaves if name is not None]
        for wanted in observed:
            if wanted not in known:
                names = known or ("(none: sample gives no dictionary)",)
                raise unknown_name("parameter in observed", wanted, names)
        described = []
        for name, shape, _ in self.leaves:
            count = math.prod(shape or ())
            places = [""] if shape is None else [f"[{place}]" for place in range(count)]
            described += [Parameter(f"{name or 'task'}{place}", name in observed) for place in places]
        return tuple(described)

    def label(self, numbers: tuple[float, ...]) -> str:
        """Name numbers for a reader; a digest distinguishes what looks alike."""
        names = [
            f"{name}=" if name is not None and place == 0 else ""
            for name, shape, _ in self.leaves
            for place in range(math.prod(shape or ()))
        ]
        shown = [f"{number:.4g}" for number in numbers[:MOST_SHOWN]]
        text = ",".join(name + word for name, word in zip(names, shown, strict=False))
        if tuple(map(float, shown)) == numbers:
            return text
        return f"{text}~{hashlib.sha256(repr(numbers).encode()).hexdigest()[:6]}"

    def flatten(self, parameters: object) -> tuple[float, ...]:
        """Return the numbers in the example's order; raise ``MetarlError`` if they do not fit it."""
        # a lone number or array is a dictionary of one entry without a name
        values = parameters if isinstance(parameters, Mapping) else {None: parameters}
        wanted = [name for name, _, _ in self.leaves]
        if set(values) != set(wanted):
            raise MetarlError(f"Expected parameters named {wanted} in every task, got {list(values)}.")
        numbers: list[float] = []
        for name, shape, dtype in self.leaves:
            array = _numbers(name, values[name])
            # an integer dtype would drop the fraction when parameters are restored
            if array.dtype.kind == "f" and np.dtype(dtype).kind != "f":
                raise MetarlError(
                    f"{_called(name)} was a whole number in the first task and is {array} in another; "
                    "write 1.0 for 1 there."
                )
            if array.shape != (shape or ()):
                raise MetarlError(
                    f"{_called(name)} must have the shape {shape or ()} in every task, not {array.shape}."
                )
            # apply gets what was drawn, whole numbers as the first task had them
            if array.dtype.kind != "f":
                with np.errstate(invalid="ignore"):
                    restored = array.astype(np.float64).astype(dtype)
                if not (restored == array).all():
                    raise MetarlError(
                        f"{_called(name)} must be a number that {np.dtype(dtype)}, as in the first task, and "
                        f"float64 hold exactly, but it is {array}."
                    )
            numbers += array.astype(np.float64).ravel().tolist()
        require(all(map(math.isfinite, numbers)), "Parameters of a task must be finite", numbers)
        return tuple(numbers)

    def restore(self, numbers: tuple[float, ...]) -> object:
        """Return the parameters of numbers that :meth:`flatten` returned; check their count."""
        require(len(numbers) == self.size, f"A task here has {self.size} parameters", len(numbers))
        values: dict[str | None, object] = {}
        rest = list(numbers)
        for name, shape, dtype in self.leaves:
            count = math.prod(shape or ())
            array = np.array(rest[:count], dtype).reshape(shape or ())
            rest = rest[count:]
            values[name] = array.item() if shape is None else array
        return values.get(None, values)


def _leaf(name: str | None, value: object) -> Leaf:
    array = _numbers(name, value)
    alone = isinstance(value, int | float | np.generic)
    return name, None if alone else array.shape, "<f8" if array.dtype.kind == "f" else array.dtype.str


def _numbers(name: str | None, value: object) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    refusal = MetarlError(
        f"{_called(name)} must be a number or an array of numbers, but it is {value!r}; "
        'give a word its place in a list, as 1 for "ice" of ("sand", "ice"), and look it up in apply.'
    )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise refusal from error
    if array.dtype.kind not in "iufb":
        raise refusal
    return array


def _called(name: str | None) -> str:
    return "What sample gives" if name is None else f"The parameter {name!r}"
