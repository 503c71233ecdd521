"""Programs: each operation gives NumPy's bits; what is written down is what is run, after each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast

import mujoco
import numpy as np
import pytest

from metarl.envs.engines.arrays import Vector, _Namespace, namespace
from metarl.envs.engines.threads import compiled, symbols
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName
from metarl.envs.engines.threads.compiled import load, run
from metarl.envs.engines.threads.features import Feature
from metarl.envs.engines.threads.numpy_loops import double_loops
from metarl.envs.engines.threads.programs import NUMPY_LOOPS, Op, Program, Rows, Tape
from metarl.envs.engines.threads.symbols import Symbol, loaded
from metarl.errors import EngineError
from support.physics import STEPPERS

needs_compiler = pytest.mark.skipif("compiled" not in STEPPERS, reason="there is no C compiler")
LIBRARY = Symbol.array_library
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


FORMULAS: dict[str, Formula] = {
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
    "stack and index": lambda xp, x, y: xp.stack([x[0], y[2], x[-1], y[1]]),
    "concatenate and slice": lambda xp, x, y: xp.concatenate([x[::2], y[1:3]]),
    "repeat": lambda xp, x, y: x + xp.broadcast_to(y[0], x.shape),
}
IN_DOUBLE: dict[str, Formula] = {
    "exp": lambda xp, x, y: xp.exp(x),
    "log": lambda xp, x, y: xp.log(abs(x)),
    "sin": lambda xp, x, y: xp.sin(x),
    "cos": lambda xp, x, y: xp.cos(x),
    **{f"dot product of {k}": partial(_dot_product, k) for k in (1, 2, 3, 4)},
}


def numbers(dtype: type[np.float64] | type[np.float32]) -> tuple[Rows, Rows]:
    """Return two lists of rows of four numbers, of sizes from thousandths to tens, some of them equal."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 500, 4)) * 10.0 ** rng.uniform(-3, 1, (2, 500, 1))
    x[::7] = y[::7]
    return x.astype(dtype), y.astype(dtype)


def assert_program_gives_numpys_bits(formula: Formula, x: Rows, y: Rows) -> None:
    """Hold a formula that is run row by row to what NumPy makes of all columns."""

    def of(*arrays: object) -> object:
        first, second = (cast(Vector, array) for array in arrays)
        return formula(namespace(first), first, second)

    tape, single, ours = Tape(), x.dtype == np.float32, np.zeros((len(x), 4))
    symbol = of(loaded(tape, 0, 4, single=single), loaded(tape, 1, 4, single=single))
    assert isinstance(symbol, Symbol)
    run_here(symbols.program([(2, symbol)]), [x, y, ours])
    theirs = of(x.T, y.T)
    assert isinstance(theirs, np.ndarray)
    assert symbol.dtype == theirs.dtype
    np.testing.assert_array_equal(ours.T, theirs)


def run_here(program: Program, tables: Sequence[Rows]) -> None:
    """Run a program on every row."""
    library = load()
    assert library is not None
    run(library, program, tables)


@needs_compiler
@pytest.mark.parametrize("name", [*FORMULAS, *IN_DOUBLE])
def test_operation_gives_numpys_bits(name: str) -> None:
    assert_program_gives_numpys_bits((FORMULAS | IN_DOUBLE)[name], *numbers(np.float64))


@needs_compiler
@pytest.mark.parametrize("name", FORMULAS)
def test_operation_in_single_precision_gives_numpys_bits(name: str) -> None:
    assert_program_gives_numpys_bits(FORMULAS[name], *numbers(np.float32))


@needs_compiler
def test_single_and_double_precision_combine_as_numpys_do() -> None:
    x, y = numbers(np.float32)
    tape = Tape()
    a, b = loaded(tape, 0, 4, single=True), loaded(tape, 1, 4)
    rounded = LIBRARY.asarray(b, dtype=np.dtype(np.float32))
    program = symbols.program([(2, LIBRARY.concatenate([a * b, a * rounded, a + (a > 0.1)]))])
    wide, ours = y.astype(np.float64) * np.pi, np.zeros((len(x), 12))
    run_here(program, [x, wide, ours])
    theirs = np.concatenate([x * wide, x * wide.astype(np.float32), x + (x > 0.1)], axis=1)
    np.testing.assert_array_equal(ours, theirs)


@needs_compiler
def test_zero_keeps_its_sign() -> None:
    zero, out = loaded(Tape(), 0, 1), np.zeros((1, 2))
    both = LIBRARY.concatenate([1.0 / (zero + -0.0), 1.0 / (zero + 0.0)])
    run_here(symbols.program([(1, both)]), [np.array([[-0.0]]), out])
    np.testing.assert_array_equal(out, [[-np.inf, np.inf]])


def test_what_is_asked_for_twice_is_computed_once_and_what_is_not_wanted_never() -> None:
    tape = Tape()
    x = loaded(tape, 0, 1)
    wanted, _ = (x + 1.0) * (x + 1.0), LIBRARY.exp(x)
    program = symbols.program([(1, wanted)])
    assert program.code[:, 0].tolist() == [Op.LOAD, Op.ADD, Op.MULTIPLY, Op.STORE]
    assert program.constants.tolist() == [1.0]


def test_everything_is_read_before_anything_is_written() -> None:
    tape = Tape()
    x, y = loaded(tape, 0, 1), loaded(tape, 1, 1)
    program = symbols.program([(0, y), (1, x)])
    assert program.code[:, 0].tolist() == [Op.LOAD, Op.LOAD, Op.STORE, Op.STORE]


def test_numpys_loops_in_single_precision_are_refused() -> None:
    with pytest.raises(AssertionError, match="double precision only"):
        LIBRARY.exp(loaded(Tape(), 0, 1, single=True))


@pytest.mark.parametrize(
    "tables",
    [
        [np.zeros((1, 2))],
        [np.zeros((1, 2)), np.zeros((1, 1))],
        [np.zeros((1, 2)), np.zeros((1, 2), np.float32)],
        [np.zeros((1, 2)), np.zeros((1, 4))[:, ::2]],
        [np.zeros((1, 2)), np.zeros((2, 2))],
        [np.zeros((1, 2))] * 9,
    ],
    ids=["too few arrays", "too narrow", "single precision", "with gaps", "more rows", "too many arrays"],
)
@needs_compiler
def test_program_that_would_write_beyond_its_arrays_is_refused(tables: list[Rows]) -> None:
    program = symbols.program([(1, loaded(Tape(), 0, 2))])
    with pytest.raises(EngineError, match=r"[Aa]rray"):
        run_here(program, tables)


def falling_balls(count: int, stepper: StepperName = "compiled") -> BatchedPhysics:
    """Return balls, whose positions are bound."""
    model = mujoco.MjModel.from_xml_string(FALLING)
    physics = BatchedPhysics([model, model], [0, 1] * (count // 2), stepper=stepper, num_threads=2)
    physics.bind([[HEIGHT], [HEIGHT]])
    return physics


def scaled(factor: float) -> Program:
    """Return the program that adds the factor times what is in array 0 to array 1."""
    tape = Tape()
    return symbols.program([(1, loaded(tape, 1, 3) + loaded(tape, 0, 3) * factor)])


@needs_compiler
def test_each_world_runs_its_familys_program_on_its_own_rows_after_each_step() -> None:
    physics, sums = falling_balls(6), np.zeros((6, 3))
    physics.compute([scaled(1.0), scaled(-2.0)], [physics.features, sums])
    wanted = np.zeros((6, 3))
    for t in range(4):
        mask = np.arange(6) != t
        physics.step(1, mask=mask)
        wanted += np.where(mask, [1.0, -2.0] * 3, 0.0)[:, None] * physics.features
    physics.assign([1] * 6)
    physics.step(1)
    wanted += -2.0 * physics.features
    physics.close()
    np.testing.assert_array_equal(sums, wanted)
    assert wanted.any()


@needs_compiler
def test_diverged_world_runs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it runs
    physics, sums = falling_balls(2), np.zeros((2, 3))
    physics.compute([scaled(1.0), scaled(1.0)], [physics.features, sums])
    physics.data(0).qvel[:] = np.nan
    physics.step(1)
    physics.close()
    np.testing.assert_array_equal(sums.any(axis=1), [False, True])


def test_python_threads_refuse_programs() -> None:
    physics = falling_balls(2, "portable")
    assert not physics.can_compute
    with pytest.raises(EngineError, match="Only the compiled stepper"):
        physics.compute([scaled(1.0)] * 2, [physics.features, np.zeros((2, 3))])
    physics.close()


def test_numpy_that_keeps_its_loops_elsewhere_leaves_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(names: Sequence[str]) -> None:
        raise LookupError("the loops have moved")

    compiled.numpy_loops.cache_clear()
    monkeypatch.setattr(compiled, "double_loops", fails)
    assert compiled.numpy_loops() is None
    assert compiled.numpy_loops() is None
    assert [record.getMessage() for record in caplog.records] == [
        "Rewards are computed by NumPy, which is slower: the loops have moved."
    ]
    compiled.numpy_loops.cache_clear()


def test_every_loop_of_numpys_is_another_function() -> None:
    loops = double_loops(NUMPY_LOOPS)
    assert len({loop.function for loop in loops} - {None}) == len(NUMPY_LOOPS)
