"""Meta-World's scripted policies solve under Warp what they solve under MuJoCo C of the same version."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.warp import FAMILIES

pytestmark = [pytest.mark.warp, pytest.mark.slow]
LAYOUTS = 10
ALLOWED = 1
"""Layouts in which the two may differ: of a task's ten, and of every fifty of all tasks. Contacts are chaotic
in float32: one of ten says little about a task, while eleven of five hundred say something about all."""
FIFTY = 50


@pytest.fixture(scope="module")
def program(root: Path) -> Iterator[ModuleType]:
    """Return the benchmark that lets the policies act."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield importlib.import_module("benchmarks.parity.scripted_policies")


@pytest.fixture(scope="module")
def differences() -> dict[str, int]:
    """Collect by how much the tasks differ."""
    return {}


@pytest.mark.parametrize("family", FAMILIES)
def test_success_is_that_of_mujoco_c(family: str, program: ModuleType, differences: dict[str, int]) -> None:
    row = program.compare(family, layouts=LAYOUTS)
    differences[family] = row.warp - row.c
    assert abs(differences[family]) <= ALLOWED


def test_success_over_all_tasks_is_that_of_mujoco_c(differences: dict[str, int]) -> None:
    layouts = LAYOUTS * len(differences)
    assert layouts >= FIFTY, "this claim is about what the tests before it found"
    assert abs(sum(differences.values())) * FIFTY <= ALLOWED * layouts
