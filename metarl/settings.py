"""The root of all configs, with bounds in the types of fields, checked in one place.

    learning_rate: Annotated[float, Gt(0), Le(10)] = 1e-3

The bounds are those of `annotated-types <https://github.com/annotated-types/annotated-types>`_.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

from metarl.errors import MetarlError

Seed: TypeAlias = Annotated[int, Ge(0), Lt(2**32)]
Workers: TypeAlias = Annotated[int, Ge(0), Le(1024)]
Horizon: TypeAlias = Annotated[int, Ge(1), Le(1_000_000)]
"""Steps of an episode."""
Episodes: TypeAlias = Annotated[int, Ge(1), Le(10_000)]

Bound: TypeAlias = Ge | Gt | Le | Lt


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen settings, checked on creation.

    A class with checks of several fields together extends ``__post_init__`` and calls
    ``super().__post_init__()`` in it. Each class of a config that inherits from several is then checked once.
    """

    def __post_init__(self) -> None:
        """Check every field, and every item of a tuple, against the bounds in its type.

        Raises:
            MetarlError: on the first value out of bounds; NaN is out of all.
        """
        kind = type(self)
        for name, bounds in _bounds_of(kind).items():  # type: ignore[arg-type]  # mypy: a class has no hash
            value = getattr(self, name)
            label = f"every value of {name}" if isinstance(value, tuple) else name
            for item in value if isinstance(value, tuple) else (value,):
                if item is not None and not all(_holds(bound, item) for bound in bounds):
                    raise MetarlError(f"Expected {label} {_describe(bounds)}, got {value!r}.")


@functools.cache
def _bounds_of(config: type[object]) -> dict[str, tuple[Bound, ...]]:
    """Return the bounds of the bounded fields, those of an overridden field included."""
    found = {}
    for base in reversed(config.__mro__):
        for name, hint in typing.get_type_hints(base, include_extras=True).items():
            if bounds := _find(hint):
                found[name] = bounds
    return found


def _find(hint: object) -> tuple[Bound, ...]:
    """Find the bounds in a type, also in ``X | None`` and ``tuple[X, ...]``."""
    here = tuple(item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Bound))
    return here or next(filter(None, map(_find, typing.get_args(hint))), ())


def _holds(bound: Bound, value: float) -> bool:
    (limit,) = dataclasses.astuple(bound)
    return bool(_KINDS[type(bound)].holds(value, limit))


def _describe(bounds: tuple[Bound, ...]) -> str:
    """Describe bounds as ``in (0, 10]``, a single one as ``>= 1``."""
    limits = [(_KINDS[type(bound)], *dataclasses.astuple(bound)) for bound in bounds]
    if len(limits) == 1:
        return f"{limits[0][0].sign} {limits[0][1]}"
    (lower, low), (upper, high) = limits
    return f"in {lower.bracket}{low}, {high}{upper.bracket}"


class _Kind(NamedTuple):
    sign: str
    bracket: str
    holds: Callable[[float, float], bool]


_KINDS: dict[type[Bound], _Kind] = {
    Ge: _Kind(">=", "[", operator.ge),
    Gt: _Kind(">", "(", operator.gt),
    Le: _Kind("<=", "]", operator.le),
    Lt: _Kind("<", ")", operator.lt),
}
