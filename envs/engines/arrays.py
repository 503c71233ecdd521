"""Array operations common to NumPy and torch, and the shapes that they work on.

A ``Vector`` has its components first and its worlds last, ``[k, ..., worlds]``; one component of it is an
``Array``, ``[..., worlds]``, and a comparison of those is a ``Mask``. Axes between them, such as a rollout's
steps, are carried along. Every function works in the precision and on the device of its arguments.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:  # neither is needed to run: the arrays bring their library along
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Mask(Protocol):
    """Truth per world."""

    def __and__(self, other: Mask, /) -> Mask: ...
    def __or__(self, other: Mask, /) -> Mask: ...
    def __invert__(self) -> Mask: ...
    def any(self) -> object: ...  # noqa: D102  # as in NumPy and torch
    def all(self, *, axis: int) -> Mask: ...  # noqa: D102  # as in NumPy and torch


class Array(Protocol):
    """A number per world."""

    def __add__(self, other: Array | float, /) -> Array: ...
    def __radd__(self, other: float, /) -> Array: ...
    def __sub__(self, other: Array | float, /) -> Array: ...
    def __rsub__(self, other: float, /) -> Array: ...
    def __mul__(self, other: Array | float, /) -> Array: ...
    def __rmul__(self, other: float, /) -> Array: ...
    def __truediv__(self, other: Array | float, /) -> Array: ...
    def __rtruediv__(self, other: float, /) -> Array: ...
    def __lt__(self, other: Array | float, /) -> Mask: ...
    def __le__(self, other: Array | float, /) -> Mask: ...
    def __gt__(self, other: Array | float, /) -> Mask: ...
    def __ge__(self, other: Array | float, /) -> Mask: ...
    def __abs__(self) -> Array: ...
    def __neg__(self) -> Array: ...


class Vector(Array, Protocol):
    """Several numbers per world, ``[k, ..., worlds]``."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102  # as in NumPy and torch
    @property
    def ndim(self) -> int: ...  # noqa: D102  # as in NumPy and torch
    @property
    def dtype(self) -> object: ...  # noqa: D102  # as in NumPy and torch
    @property
    def device(self) -> object: ...  # noqa: D102  # as in NumPy and torch
    def __getitem__(self, key: int | slice | tuple[int | slice | None, ...], /) -> Vector: ...
    def __add__(self, other: Array | float, /) -> Vector: ...
    def __sub__(self, other: Array | float, /) -> Vector: ...
    def __mul__(self, other: Array | float, /) -> Vector: ...
    def __truediv__(self, other: Array | float, /) -> Vector: ...
    def __abs__(self) -> Vector: ...


class _Linalg(Protocol):
    def vecdot(self, first: Vector, second: Vector, /, *, axis: int) -> Vector: ...


class _Namespace(Protocol):
    """The functions that NumPy and torch spell alike."""

    __name__: str
    float32: object
    linalg: _Linalg

    def __hash__(self) -> int: ...

    def where(self, condition: Mask, first: object, second: object, /) -> Vector: ...
    def maximum(self, first: Array, second: Array | float, /) -> Vector: ...
    def minimum(self, first: Array, second: Array | float, /) -> Vector: ...
    def clip(self, x: Array, lower: float | Array | None, upper: float | Array | None, /) -> Vector: ...
    def sqrt(self, x: Array, /) -> Vector: ...
    def exp(self, x: Array, /) -> Vector: ...
    def log(self, x: Array, /) -> Vector: ...
    def sin(self, x: Array, /) -> Vector: ...
    def cos(self, x: Array, /) -> Vector: ...
    def stack(self, arrays: list[Array], /) -> Vector: ...
    def concatenate(self, arrays: list[Vector], axis: int = 0, /) -> Vector: ...
    def asarray(self, x: object, *, dtype: object, device: object = None) -> Vector: ...
    def broadcast_to(self, x: Array, shape: tuple[int, ...], /) -> Vector: ...


def vector(x: NDArray[np.float64] | NDArray[np.float32] | torch.Tensor) -> Vector:
    """Cast a NumPy array or a tensor to a :class:`Vector`, for type checkers."""
    return cast(Vector, x)


def tensor(values: Vector | Array | Mask) -> torch.Tensor:
    """Cast an array back to a tensor, for type checkers."""
    return cast("torch.Tensor", values)


def namespace(x: object) -> _Namespace:
    """Return an array's library, NumPy or torch, or its own ``array_library``; import neither."""
    kind = type(x)
    if kind not in _LIBRARIES:
        named = getattr(kind, "array_library", None)
        _LIBRARIES[kind] = cast(_Namespace, named or sys.modules[kind.__module__.partition(".")[0]])
    return _LIBRARIES[kind]


_LIBRARIES: dict[type, _Namespace] = {}


def where(condition: Mask, first: Array | float, second: Array | float) -> Array:
    """Choose per world between arrays or numbers."""
    return namespace(condition).where(condition, first, second)


def maximum(first: Array, second: Array) -> Array:
    """Return the larger number of each world."""
    return namespace(first).maximum(first, second)


def clip(x: Array, lower: Array | float | None, upper: Array | float | None) -> Array:
    """Limit each number to ``[lower, upper]``; None leaves that side open."""
    xp = namespace(x)
    if xp.__name__ != "numpy":
        return xp.clip(x, lower, upper)
    if lower is not None:  # with maximum in a third of the time that NumPy's own clip takes
        x = xp.maximum(x, lower)
    return x if upper is None else xp.minimum(x, upper)


def log(x: Array) -> Array:
    """Return the natural logarithm."""
    return namespace(x).log(x)


def norm(vector: Vector) -> Array:
    """Return Euclidean lengths ``[..., worlds]`` of ``[k, ..., worlds]``."""
    xp = namespace(vector)
    # vecdot rounds as the dot product does by which NumPy's norm takes one vector's length
    return xp.sqrt(xp.linalg.vecdot(vector, vector, axis=0))


def stack(*components: Array) -> Vector:
    """Stack equally shaped numbers into a vector."""
    xp = namespace(components[0])
    if xp.__name__ == "numpy":  # in a quarter of the time that NumPy's own stack takes
        return xp.asarray(components, dtype=None)
    return xp.stack(list(components))


def filled(like: Array, value: Array | float) -> Array:
    """Return ``value`` in the shape of ``like``."""
    return like * 0.0 + value


def aligned(vector: Vector, like: Vector) -> Vector:
    """Insert axes after the first to match ``like``: ``[k, worlds] -> [k, 1, worlds]``."""
    return vector[(slice(None), *[None] * (like.ndim - vector.ndim))]


def constant(values: tuple[float, ...], like: Vector) -> Vector:
    """Return a vector that is the same for every world, ``[k, 1, ..., 1]`` with the axes of ``like``."""
    return _constant(values, namespace(like), like.dtype, like.device, like.ndim)


@lru_cache(maxsize=1024)
def _constant(values: tuple[float, ...], xp: _Namespace, dtype: object, device: object, ndim: int) -> Vector:
    column = xp.asarray(values, dtype=dtype, device=device)
    return column[(slice(None), *[None] * (ndim - 1))]
