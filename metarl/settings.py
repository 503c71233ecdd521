"""The root of all configs, with bounds in the types of fields.

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
        """Check fields and items of tuples against bounds; MetarlError also for NaN."""
        config = type(self)
        for name, limits in _limits_of(config).items():  # type: ignore[arg-type]  # mypy: a class has no hash
            value = getattr(self, name)
            label = f"every value of {name}" if isinstance(value, tuple) else name
            items = [item for item in (value if isinstance(value, tuple) else (value,)) if item is not None]
            if not all(kind.holds(item, limit) for item in items for kind, limit in limits):
                raise MetarlError(f"Expected {label} {_describe(limits)}, got {value!r}.")


@functools.cache
def _limits_of(config: type[object]) -> dict[str, list[tuple[_Kind, float]]]:
    """Return limits of bounded fields, also of overridden ones."""
    found = {}
    for base in reversed(config.__mro__):
        for name, hint in typing.get_type_hints(base, include_extras=True).items():
            if bounds := _find(hint):
                found[name] = [(_KINDS[type(bound)], dataclasses.astuple(bound)[0]) for bound in bounds]
    return found


def _find(hint: object) -> tuple[Bound, ...]:
    """Find bounds in a type, ``X | None`` or ``tuple[X, ...]``."""
    here = tuple(item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Bound))
    return here or next(filter(None, map(_find, typing.get_args(hint))), ())


def _describe(limits: list[tuple[_Kind, float]]) -> str:
    """Describe limits as ``in (0, 10]``, a single one as ``>= 1``."""
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
