"""Bounds of settings: in types, checked by one base class, told in a sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt

from metarl.config import construct
from metarl.errors import MetarlError
from metarl.settings import Seed, Settings


@dataclass(frozen=True, kw_only=True)
class Bounded(Settings):
    rate: Annotated[float, Gt(0), Le(10)] = 1e-3
    share: Annotated[float, Ge(0), Lt(1)] = 0.5
    most: Annotated[int, Ge(1)] | None = None
    sizes: tuple[Annotated[int, Ge(1), Le(9)], ...] = (3, 9)
    seed: Seed = 0
    free: int = 0
    which: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Narrower(Bounded):
    rate: Annotated[float, Gt(0), Le(1)] = 1e-3


@dataclass(frozen=True, kw_only=True)
class Untyped(Bounded):
    momentum = 0.9


@dataclass(frozen=True, kw_only=True)
class Overridden(Bounded):
    rate = 0.1


@dataclass(frozen=True, kw_only=True)
class Constants(Bounded):
    label: ClassVar[str] = "none"
    SCALE = 3
    _hidden = 4

    @property
    def twice(self) -> float:
        return 2 * self.rate


@dataclass(frozen=True, kw_only=True)
class Named(Constants):
    label = "named"


def test_value_without_a_type_is_no_setting_in_silence() -> None:
    said = (
        "Expected momentum of Untyped to have a type, so that it is a setting, momentum: float = 0.9, or no "
        "setting, momentum: ClassVar[float] = 0.9; got momentum = 0.9."
    )
    with pytest.raises(MetarlError, match=re.escape(said)):
        Untyped()
    # dataclasses would go on with the default of the base
    with pytest.raises(MetarlError, match="Expected rate of Overridden to have a type"):
        Overridden()
    assert (Constants().twice, Named().label) == (2e-3, "named")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"rate": 10},
        {"share": 0.0},
        {"most": 1},
        {"sizes": ()},
        {"seed": 2**32 - 1},
        {"free": -1},
    ],
)
def test_values_within_bounds_are_taken(values: dict[str, object]) -> None:
    assert Bounded(**values)  # type: ignore[arg-type]  # each as its field's type says


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rate": 0.0}, "Expected rate in (0, 10], got 0.0."),
        ({"rate": 11}, "Expected rate in (0, 10], got 11."),
        ({"rate": math.nan}, "Expected rate in (0, 10], got nan."),
        ({"share": 1.0}, "Expected share in [0, 1), got 1.0."),
        ({"most": 0}, "Expected most >= 1, got 0."),
        ({"sizes": (3, 10)}, "Expected every value of sizes in [1, 9], got (3, 10)."),
        ({"seed": -1}, "Expected seed in [0, 4294967296), got -1."),
    ],
)
def test_values_out_of_bounds_are_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(MetarlError) as refused:
        Bounded(**values)  # type: ignore[arg-type]  # as above
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"free": True}, "The setting free of Bounded cannot be True: expected int."),
        ({"free": 1.5}, "The setting free of Bounded cannot be 1.5: expected int."),
        ({"rate": "3"}, "The setting rate of Bounded cannot be '3': expected float."),
        ({"rate": None}, "The setting rate of Bounded cannot be None: expected float."),
        ({"most": "3"}, "The setting most of Bounded cannot be '3': expected int | None."),
        ({"sizes": (3, "9")}, "The setting sizes of Bounded cannot be (3, '9'): expected tuple[int, ...]."),
        ({"sizes": 3}, "The setting sizes of Bounded cannot be 3: expected tuple[int, ...]."),
        ({"which": "c"}, "The setting which of Bounded cannot be 'c': expected 'a' or 'b'."),
        ({"pair": (1.0, 2.0, 3.0)}, "cannot be (1.0, 2.0, 3.0): expected tuple[float, float]."),
    ],
)
def test_value_of_another_type_is_one_sentence(values: dict[str, object], said: str) -> None:
    with pytest.raises(MetarlError, match=re.escape(said)):
        Bounded(**values)  # type: ignore[arg-type]  # wrong on purpose


@dataclass(frozen=True, kw_only=True)
class Unusual(Settings):
    steps: Literal["auto"] | Annotated[int, Ge(1)] = "auto"
    shares: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=lambda: {"a": 1.0})
    layers: tuple[tuple[Annotated[int, Ge(1)], ...], ...] = ((1, 2), ())
    named: tuple[str, Annotated[float, Gt(0)]] = ("a", 1.0)
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    inside: Bounded | None = None
    place: Path = Path()
    wide: bool = False


def test_bounds_are_those_of_the_numbers_in_a_value() -> None:
    assert Unusual(steps=3, inside=Bounded()).steps == 3
    assert Unusual() == Unusual()
    wrong: dict[str, object] = {"steps": 0, "shares": {"a": 0.0}, "layers": ((1, 0),), "named": ("a", 0.0)}
    for name, value in wrong.items():
        with pytest.raises(MetarlError, match=rf"Expected (every value of )?{name} >=? [01], got "):
            Unusual(**{name: value})  # type: ignore[arg-type]  # wrong on purpose


def test_numbers_of_numpy_become_those_of_python() -> None:
    given = Bounded(rate=np.float32(0.5), sizes=(np.int64(3),), free=np.uint8(1))  # type: ignore[arg-type]  # NumPy's
    assert given == Bounded(rate=0.5, sizes=(3,), free=1)
    found = [given.rate, *given.sizes, given.free, Unusual(wide=np.bool_(1)).wide]  # type: ignore[arg-type]  # NumPy's
    assert list(map(type, found)) == [float, int, int, bool]


def test_items_of_lists_and_dictionaries_have_their_types() -> None:
    for wrong, expected in (({"sizes": ["a"]}, "list[int]"), ({"shares": {"a": "b"}}, "Mapping[str, float]")):
        with pytest.raises(MetarlError, match=re.escape(f": expected {expected}.")):
            Unusual(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_type_that_only_type_checkers_know_is_one_sentence() -> None:
    hidden = make_dataclass("Hidden", [("size", "OnlyForCheckers")], bases=(Settings,), frozen=True)
    for make in (lambda: hidden(size=3), lambda: construct(hidden, {"size": 3})):
        with pytest.raises(
            MetarlError, match=r"Expected the types of Hidden .*, got OnlyForCheckers; import"
        ):
            make()


def test_field_with_another_default_keeps_its_bounds() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Fast(Bounded):
        rate: float = 1.0

    assert Fast().rate == 1.0
    with pytest.raises(MetarlError, match=r"rate in \(0, 10\], got 11"):
        Fast(rate=11)


def test_subclass_may_narrow_a_bound() -> None:
    assert Bounded(rate=2.0).rate == 2.0
    with pytest.raises(MetarlError, match=r"rate in \(0, 1\], got 2.0"):
        Narrower(rate=2.0)
