"""Functions written down as C: operations give NumPy's numbers, and worlds run theirs after each step."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast

import mujoco
import numpy as np
import pytest

from metarl.envs.engines.arrays import Vector, _Namespace, namespace
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName
from metarl.envs.engines.threads.c_functions import CFunction, Rows
from metarl.envs.engines.threads.features import Feature
from metarl.system import c_compiler
from support.physics import STEPPERS, run_rows

needs_compiler = pytest.mark.skipif("compiled" not in STEPPERS, reason="there is no C compiler")
Formula: TypeAlias = Callable[[_Namespace, Vector, Vector], object]

FALLING = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody><body name="ball"><freejoint/><geom size=".1"/></body></worldbody>
</mujoco>
"""
HEIGHT = Feature("xpos", "body", "ball")


def _dot_product(k: int, xp: _Namespace, x: Vector, y: Vector) -> Vector:
    return xp.stack([xp.linalg.vecdot(x[:k], y[:k], axis=0)] * 4)


EXACT: dict[str, Formula] = {
    "add": lambda xp, x, y: x + y,
    "add a number": lambda xp, x, y: 0.1 + (x + 0.1),
    "subtract": lambda xp, x, y: x - y,
    "subtract from a number": lambda xp, x, y: 0.1 - x,
    "multiply": lambda xp, x, y: x * y,
    "divide": lambda xp, x, y: x / y,
    "divide a number": lambda xp, x, y: 1.0 / x,
    "negate": lambda xp, x, y: -x,
    "absolute": lambda xp, x, y: abs(x),
    "square root": lambda xp, x, y: xp.sqrt(abs(x)),
    "maximum": lambda xp, x, y: xp.maximum(x, y),
    "minimum": lambda xp, x, y: xp.minimum(x, 0.3),
    "clip": lambda xp, x, y: xp.clip(x, -0.1, 0.7),
    "less": lambda xp, x, y: xp.where(x < y, x, 2.5),
    "not more": lambda xp, x, y: xp.where(x <= 0.2, 1.0, y),
    "more": lambda xp, x, y: xp.where(x > y, x, y),
    "not less": lambda xp, x, y: xp.where(x >= x, x, y),
    "and": lambda xp, x, y: xp.where((x > 0) & (y > 0), x, y),
    "or": lambda xp, x, y: xp.where((x > 0) | (y > 0), x, y),
    "truth as a number": lambda xp, x, y: xp.asarray(x > y, dtype=x.dtype),
    "a constant vector": lambda xp, x, y: x - xp.asarray((1.0, -2.0, 0.5, 1e-18), dtype=x.dtype)[:, None],
    "stack and index": lambda xp, x, y: xp.stack([x[0], y[2], x[-1], y[1]]),
    "concatenate and slice": lambda xp, x, y: xp.concatenate([x[::2], y[1:3]]),
    "repeat": lambda xp, x, y: x + xp.broadcast_to(y[0], x.shape),
    # rounded once or twice a term, as this processor's BLAS does
    **{f"dot product of {k}": partial(_dot_product, k) for k in (2, 3)},
}
ROUNDED: dict[str, Formula] = {
    "exp": lambda xp, x, y: xp.exp(x),
    "log": lambda xp, x, y: xp.log(abs(x)),
    "sin": lambda xp, x, y: xp.sin(x),
    "cos": lambda xp, x, y: xp.cos(x),
    **{f"dot product of {k} with itself": partial(_dot_product, k) for k in (1, 4)},
}


def numbers() -> tuple[Rows, Rows]:
    """Return two lists of rows of four numbers, of sizes from thousandths to tens, some of them equal."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 500, 4)) * 10.0 ** rng.uniform(-3, 1, (2, 500, 1))
    x[::7] = y[::7]
    return x, y


def both(formula: Formula, x: Rows, y: Rows) -> tuple[Rows, Rows]:
    """Return what C makes of each row, and NumPy of all columns."""

    def of(first: Vector, second: Vector) -> Vector:
        return cast(Vector, formula(namespace(first), first, second))

    tables = [x, y, np.zeros((len(x), 4))]
    function = CFunction(tables)
    function.store(2, of(function.load(0, 4), function.load(1, 4)))
    run_rows(function, tables)
    return tables[2], np.asarray(of(cast(Vector, x.T), cast(Vector, y.T)), np.float64).T


@needs_compiler
@pytest.mark.parametrize("name", EXACT)
def test_operation_gives_numpys_bits(name: str) -> None:
    ours, theirs = both(EXACT[name], *numbers())
    np.testing.assert_array_equal(ours, theirs)


@needs_compiler
@pytest.mark.parametrize("name", ROUNDED)
def test_function_gives_numpys_number_to_the_last_bits(name: str) -> None:
    x, y = numbers()
    ours, theirs = both(ROUNDED[name], x, x if "dot" in name else y)
    np.testing.assert_allclose(ours, theirs, rtol=1e-15, atol=0)


@needs_compiler
@pytest.mark.parametrize("name", ["maximum", "minimum", "clip"])
def test_nan_passes_through_a_limit(name: str) -> None:
    x, y = numbers()
    x[3, 2] = np.nan
    ours, theirs = both(EXACT[name], x, y)
    np.testing.assert_array_equal(ours, theirs)
    assert np.isnan(ours[3, 2])


@needs_compiler
def test_columns_of_float32_are_widened() -> None:
    single, ours = np.full((3, 1), 0.1, np.float32), np.zeros((3, 1))
    function = CFunction([single, ours])
    function.store(1, function.load(0, 1) / 3.0)
    run_rows(function, [single, ours])
    np.testing.assert_array_equal(ours, single.astype(np.float64) / 3.0)


@needs_compiler
def test_zero_keeps_its_sign() -> None:
    tables = [np.array([[-0.0]]), np.zeros((1, 2))]
    function = CFunction(tables)
    zero = function.load(0, 1)
    function.store(1, namespace(zero).concatenate([cast(Vector, 1.0 / (zero + s)) for s in (-0.0, 0.0)]))
    run_rows(function, tables)
    np.testing.assert_array_equal(tables[1], [[-np.inf, np.inf]])


def test_sum_that_is_asked_for_twice_is_computed_once() -> None:
    function = CFunction([np.zeros((1, 1)), np.zeros((1, 1))])
    x = function.load(0, 1)
    function.store(1, cast(Vector, (x + 1.0) * (x + 1.0)))
    assert len(re.findall(r" \+ ", function.source("f"))) == 1


@needs_compiler
def test_everything_is_read_before_anything_is_written() -> None:
    tables = [np.array([[1.0]]), np.array([[2.0]])]
    function = CFunction(tables)
    x, y = function.load(0, 1), function.load(1, 1)
    function.store(0, y)
    function.store(1, x)
    run_rows(function, tables)
    assert [table.item() for table in tables] == [2.0, 1.0]


def test_column_beyond_an_array_is_refused() -> None:
    function = CFunction([np.zeros((1, 2)), np.zeros((1, 1))])
    with pytest.raises(IndexError, match="Expected a column below 2, got 2"):
        function.load(0, 3)
    with pytest.raises(IndexError, match="Expected a column below 1, got 1"):
        function.store(1, function.load(0, 2))


def falling_balls(count: int, stepper: StepperName = "compiled") -> BatchedPhysics:
    """Return balls of two families with their positions bound."""
    model = mujoco.MjModel.from_xml_string(FALLING)
    physics = BatchedPhysics([model, model], [0, 1] * (count // 2), stepper=stepper, num_threads=2)
    physics.bind([[HEIGHT], [HEIGHT]])
    return physics


def scaled(tables: list[Rows], factor: float) -> CFunction:
    """Return the function that adds the factor times table 0 to table 1."""
    function = CFunction(tables)
    function.store(1, function.load(1, 3) + function.load(0, 3) * factor)
    return function


@needs_compiler
def test_each_world_runs_its_familys_function_on_its_own_rows_after_each_step() -> None:
    physics, sums = falling_balls(6), np.zeros((6, 3))
    tables = [physics.features, sums]
    assert physics.compute([scaled(tables, 1.0), scaled(tables, -2.0)], tables)
    expected = np.zeros((6, 3))
    for t in range(4):
        mask = np.arange(6) != t
        physics.step(1, mask=mask)
        expected += np.where(mask, [1.0, -2.0] * 3, 0.0)[:, None] * physics.features
    physics.assign([1] * 6)
    physics.step(1)
    expected += -2.0 * physics.features
    physics.close()
    np.testing.assert_array_equal(sums, expected)
    assert expected.any()


@needs_compiler
def test_diverged_world_runs_no_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it runs
    physics, sums = falling_balls(2), np.zeros((2, 3))
    tables = [physics.features, sums]
    assert physics.compute([scaled(tables, 1.0)] * 2, tables)
    physics.data(0).qvel[:] = np.nan
    physics.step(1)
    physics.close()
    np.testing.assert_array_equal(sums.any(axis=1), [False, True])


def test_python_threads_run_no_functions() -> None:
    physics = falling_balls(2, "portable")
    tables = [physics.features, np.zeros((2, 3))]
    assert not physics.compute([scaled(tables, 1.0)] * 2, tables)
    physics.close()


@needs_compiler
def test_compiler_that_is_gone_since_leaves_one_line_and_the_rewards_to_numpy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    physics = falling_balls(2)
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(c_compiler, "cache_folder", lambda: tmp_path)
    tables = [physics.features, np.zeros((2, 3))]
    assert not physics.compute([scaled(tables, 1.0)] * 2, tables)
    physics.close()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("Rewards are computed by NumPy, which is slower: CC=no-such-compiler")
