"""The root of all configs, with bounds in the types of fields.

    learning_rate: Annotated[float, Gt(0), Le(10)] = 1e-3

The bounds are those of `annotated-types <https://github.com/annotated-types/annotated-types>`_.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias, cast

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from metarl.errors import MetarlError
from metarl.text import shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Seed: TypeAlias = Annotated[int, Ge(0), Lt(2**32)]
Workers: TypeAlias = Annotated[int, Ge(0), Le(1024)]
Horizon: TypeAlias = Annotated[int, Ge(1), Le(1_000_000)]  # steps of an episode
Episodes: TypeAlias = Annotated[int, Ge(1), Le(10_000)]

Bound: TypeAlias = Ge | Gt | Le | Lt


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen settings, checked on creation.

    A class with checks of several fields together extends ``__post_init__`` and calls
    ``super().__post_init__()`` in it. Each class of a config that inherits from several is then checked once.
    """

    def __post_init__(self) -> None:
        """Check types and bounds of settings; MetarlError also for NaN. Values become :func:`as_typed`."""
        config = type(self)
        for name, (hint, bounds) in _fields_of(config).items():  # type: ignore[arg-type]  # mypy: a class has no hash
            value = getattr(self, name)
            if not fits(value, hint):
                raise wrong_type(config, name, value, hint)
            _check_bounds(name, value, bounds)
            object.__setattr__(self, name, as_typed(value, hint))


def setting_names(config: object) -> list[str]:
    """Name the settings of a config: its fields without computed ones (``init=False``)."""
    return [item.name for item in dataclasses.fields(cast("DataclassInstance", config)) if item.init]


def settings_of(config: object) -> dict[str, object]:
    """Return a config's settings by name."""
    return {name: getattr(config, name) for name in setting_names(config)}


def check_number(name: str, value: object, hint: object) -> None:
    """Check an argument's type and bounds, or raise MetarlError."""
    if not fits(value, hint):
        raise MetarlError(f"Expected {name} to be {_type_name(hint)}, got {shown(value)}.")
    _check_bounds(name, value, _find(hint))


def _check_bounds(name: str, value: object, bounds: tuple[Bound, ...]) -> None:
    limits = [(_KINDS[type(bound)], dataclasses.astuple(bound)[0]) for bound in bounds]
    if not all(kind.holds(number, limit) for number in _numbers(value) for kind, limit in limits):
        label = f"every value of {name}" if isinstance(value, tuple | list | Mapping) else name
        raise MetarlError(f"Expected {label} {_describe(limits)}, got {value!r}.")


def _numbers(value: object) -> Iterator[float]:
    """Yield the numbers of a value, which alone have bounds: "auto" and None have none."""
    if isinstance(value, tuple | list | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(item)
    elif fits(value, float):
        yield cast("float", value)


def fits(value: object, hint: object) -> bool:
    """Return whether a value is of a type; types unknown to JSON take anything."""
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        return fits(value, arguments[0])
    if kind in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if kind is list or (kind is tuple and Ellipsis in arguments):
        return isinstance(value, tuple | list) and all(fits(item, arguments[0]) for item in value)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if kind is tuple:
        return (
            isinstance(value, tuple | list)
            and len(value) == len(arguments)
            and all(map(fits, value, arguments))
        )
    if kind is typing.Literal:
        return value in arguments
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (str, type(None)):
        return isinstance(value, cast("type", hint))
    if hint in (int, float):
        return not isinstance(value, bool) and isinstance(value, Real if hint is float else Integral)
    return True


def as_typed(value: object, hint: object) -> object:
    """Return a value as a type says, which JSON does not keep: lists or tuples, and Python's numbers.

    Lists of another type than ``list`` become tuples.
    """
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Annotated:
        return as_typed(value, arguments[0])
    if kind in (typing.Union, types.UnionType):
        return as_typed(value, next((each for each in arguments if fits(value, each)), object))
    if isinstance(value, tuple | list) and type(value) in (tuple, list):  # no NamedTuple
        of_each = arguments if kind is tuple and Ellipsis not in arguments else arguments[:1] * len(value)
        items = [as_typed(*each) for each in itertools.zip_longest(value, of_each, fillvalue=object)]
        return items if kind is list else tuple(items)
    if type(value) is dict:
        return {key: as_typed(item, arguments[-1] if arguments else object) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def wrong_type(config: type[object], name: str, value: object, hint: object) -> MetarlError:
    """Return the error for a wrong type."""
    return MetarlError(
        f"The setting {name} of {config.__name__} cannot be {value!r}: expected {_type_name(hint)}."
    )


def _type_name(hint: object) -> str:
    """Return a type as written, without bounds."""
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        return _type_name(arguments[0])
    if kind in (typing.Union, types.UnionType):
        return " | ".join(map(_type_name, arguments))
    if kind is typing.Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(kind, type):
        named = ("..." if each is Ellipsis else _type_name(each) for each in arguments)
        return f"{kind.__name__}[{', '.join(named)}]"
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


def hints_of(config: type[object]) -> dict[str, object]:
    """Return a config's types, with bounds.

    Raises:
        MetarlError: if there is a name in them that only type checkers know.
    """
    try:
        return typing.get_type_hints(config, include_extras=True)
    except NameError as error:
        raise MetarlError(
            f"Expected the types of {config.__name__} to be known when it is used, got {error.name}; import "
            "it outside of `if TYPE_CHECKING:`."
        ) from error


@functools.cache
def _fields_of(config: type[object]) -> dict[str, tuple[object, tuple[Bound, ...]]]:
    """Return types and bounds of fields; an overridden one without bounds keeps those of its base."""
    _check_declared(config)
    found: dict[str, tuple[object, tuple[Bound, ...]]] = {}
    for base in reversed(config.__mro__):
        for name, hint in hints_of(base).items():
            found[name] = hint, _find(hint) or found.get(name, (hint, ()))[1]
    return {name: found[name] for name in setting_names(config)}


def _check_declared(config: type[object]) -> None:
    """Raise MetarlError for a value that looks like a setting, but has no type: dataclasses pass it over."""
    constants = {name for name, hint in hints_of(config).items() if "ClassVar" in str(hint)}
    for base in config.__mro__:
        typed = inspect.get_annotations(base)
        for name, value in vars(base).items():
            if name.startswith("_") or name.isupper() or name in typed or name in constants:
                continue
            if (
                base is Settings
                or not issubclass(base, Settings)
                or callable(value)
                or hasattr(value, "__get__")
            ):
                continue
            kind = type(value).__name__
            raise MetarlError(
                f"Expected {name} of {base.__name__} to have a type, so that it is a setting, "
                f"{name}: {kind} = {shown(value)}, or no setting, {name}: ClassVar[{kind}] = {shown(value)}; "
                f"got {name} = {shown(value)}."
            )


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
