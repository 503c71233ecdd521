"""Arrays that compute nothing: a function called with them leaves a :class:`~.programs.Program` behind.

So what is written once on arrays, for NumPy and torch, is also what the compiled stepper runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from metarl.envs.engines.threads.programs import MAX_PAIRS, Op, Program, Tape

Nodes: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
DType: TypeAlias = "np.dtype[np.float64] | np.dtype[np.float32] | np.dtype[np.bool_]"
Key: TypeAlias = "int | slice | tuple[int | slice | None, ...]"
Number: TypeAlias = "Symbol | float"

_DOUBLE, _SINGLE, _TRUTH = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.bool_)
_ROUNDING = (Op.ADD, Op.SUBTRACT, Op.MULTIPLY, Op.DIVIDE, Op.SQRT)
_CALLED = (Op.VECDOT, Op.EXP, Op.LOG, Op.SIN, Op.COS)


class _Linalg:
    def vecdot(self, first: Symbol, second: Symbol, /, *, axis: int) -> Symbol:
        """Return the dot products of the vectors along the first axis."""
        assert axis == 0 and first.dtype == second.dtype == _DOUBLE and len(first.nodes) <= MAX_PAIRS
        pairs = np.concatenate([first.nodes, second.nodes])
        return _each(first.device, Op.VECDOT, pairs, _DOUBLE)


class _Library:
    """The functions that NumPy and torch share, as far as they are used, for symbols."""

    __name__ = "symbols"
    float32 = _SINGLE
    linalg = _Linalg()

    def where(self, condition: Symbol, first: Number, second: Number, /) -> Symbol:
        """Choose number by number."""
        (one, other), dtype = _alike(condition.device, (first, second))
        return _each(condition.device, Op.WHERE, np.stack(_spread(condition.nodes, one, other)), dtype)

    def maximum(self, first: Symbol, second: Number, /) -> Symbol:
        """Return the larger numbers."""
        return _apply(Op.MAXIMUM, first, second)

    def minimum(self, first: Symbol, second: Number, /) -> Symbol:
        """Return the smaller numbers."""
        return _apply(Op.MINIMUM, first, second)

    def clip(self, x: Symbol, lower: Number | None, upper: Number | None, /) -> Symbol:
        """Limit numbers."""
        x = x if lower is None else self.maximum(x, lower)
        return x if upper is None else self.minimum(x, upper)

    def sqrt(self, x: Symbol, /) -> Symbol:
        """Return square roots."""
        return _apply(Op.SQRT, x)

    def exp(self, x: Symbol, /) -> Symbol:
        """Return exponentials."""
        return _apply(Op.EXP, x)

    def log(self, x: Symbol, /) -> Symbol:
        """Return natural logarithms."""
        return _apply(Op.LOG, x)

    def sin(self, x: Symbol, /) -> Symbol:
        """Return sines."""
        return _apply(Op.SIN, x)

    def cos(self, x: Symbol, /) -> Symbol:
        """Return cosines."""
        return _apply(Op.COS, x)

    def stack(self, arrays: Sequence[Symbol], /) -> Symbol:
        """Put arrays side by side along a new first axis."""
        nodes, dtype = _alike(arrays[0].device, arrays)
        return Symbol(arrays[0].device, np.stack(nodes), dtype)

    def concatenate(self, arrays: Sequence[Symbol], axis: int = 0, /) -> Symbol:
        """Put arrays one after the other."""
        nodes, dtype = _alike(arrays[0].device, arrays)
        return Symbol(arrays[0].device, np.concatenate(nodes, axis), dtype)

    def asarray(
        self,
        x: Symbol | float | Sequence[float],
        *,
        dtype: DType,
        device: Tape | None = None,
    ) -> Symbol:
        """Return numbers in a precision; those that are not on a tape yet come to ``device``."""
        if not isinstance(x, Symbol):
            assert device is not None
            return Symbol(device, _constants(device, np.asarray(x, dtype)), dtype)
        rounds = x.dtype == _DOUBLE and dtype == _SINGLE
        return (_apply(Op.SINGLE, x) if rounds else x).as_type(dtype)

    def broadcast_to(self, x: Symbol, shape: tuple[int, ...], /) -> Symbol:
        """Repeat numbers to fill a shape."""
        return Symbol(x.device, np.broadcast_to(x.nodes, shape), x.dtype)


class Symbol:
    """Stands for an array: in the place of each number it has that number's node on a tape."""

    array_library: ClassVar[_Library] = _Library()
    """Where functions of symbols are found."""
    __array_ufunc__: ClassVar[None] = None  # leaves ndarray + Symbol to this class

    def __init__(self, tape: Tape, nodes: Nodes, dtype: DType) -> None:
        self.device, self.nodes, self.dtype = tape, nodes, dtype
        self.shape, self.ndim = nodes.shape, nodes.ndim

    def any(self) -> bool:
        """Whether some are true: they may be."""
        return True

    def __getitem__(self, key: Key) -> Symbol:
        return Symbol(self.device, np.asarray(self.nodes[key], np.int64), self.dtype)

    def __add__(self, other: Number) -> Symbol:
        return _binary(Op.ADD, self, other)

    def __radd__(self, other: float) -> Symbol:
        return _binary(Op.ADD, other, self)

    def __sub__(self, other: Number) -> Symbol:
        return _binary(Op.SUBTRACT, self, other)

    def __rsub__(self, other: float) -> Symbol:
        return _binary(Op.SUBTRACT, other, self)

    def __mul__(self, other: Number) -> Symbol:
        return _binary(Op.MULTIPLY, self, other)

    def __rmul__(self, other: float) -> Symbol:
        return _binary(Op.MULTIPLY, other, self)

    def __truediv__(self, other: Number) -> Symbol:
        return _binary(Op.DIVIDE, self, other)

    def __rtruediv__(self, other: float) -> Symbol:
        return _binary(Op.DIVIDE, other, self)

    def __neg__(self) -> Symbol:
        return _apply(Op.NEGATE, self)

    def __abs__(self) -> Symbol:
        return _apply(Op.ABSOLUTE, self)

    def __lt__(self, other: Number) -> Symbol:
        return _binary(Op.LESS, self, other, truth=True)

    def __le__(self, other: Number) -> Symbol:
        return _binary(Op.LESS_EQUAL, self, other, truth=True)

    def __gt__(self, other: Number) -> Symbol:
        return _binary(Op.LESS, other, self, truth=True)

    def __ge__(self, other: Number) -> Symbol:
        return _binary(Op.LESS_EQUAL, other, self, truth=True)

    def __and__(self, other: Symbol) -> Symbol:
        return _apply(Op.AND, self, other)

    def __or__(self, other: Symbol) -> Symbol:
        return _apply(Op.OR, self, other)

    def as_type(self, dtype: DType) -> Symbol:
        """Return the same numbers called otherwise; registers hold every type of them as float64."""
        return Symbol(self.device, self.nodes, dtype)


def loaded(tape: Tape, array: int, width: int, *, single: bool = False) -> Symbol:
    """Return the first columns of a world's row of an array, as ``[width, 1]``.

    Args:
        tape: where to write down what becomes of them.
        array: the array's number.
        width: how many columns.
        single: whether it is an array of float32.
    """
    op = Op.LOAD_SINGLE if single else Op.LOAD
    nodes = np.array([tape.node(op, array, column) for column in range(width)], np.int64)
    return Symbol(tape, nodes[:, None], _SINGLE if single else _DOUBLE)


def program(outputs: Sequence[tuple[int, Symbol]]) -> Program:
    """Return what computes some symbols ``[width, 1]`` and writes each into the array of that number."""
    stores = [
        (array, column, int(node))
        for array, symbol in outputs
        for column, node in enumerate(symbol.nodes.ravel())
    ]
    return outputs[0][1].device.program(stores)


def _apply(op: Op, *operands: Number) -> Symbol:
    """Write down an operation for every number."""
    tape = next(operand.device for operand in operands if isinstance(operand, Symbol))
    nodes, dtype = _alike(tape, operands)
    assert not (dtype == _SINGLE and op in _CALLED), "NumPy's loops are called in double precision only"
    result = _each(tape, op, np.stack(_spread(*nodes)), dtype)
    if dtype != _SINGLE or op not in _ROUNDING:
        return result
    # The exact result, rounded to double precision first and then to single, is that rounded to single at
    # once: 53 bits are more than twice 24 and two (Figueroa 1995, https://doi.org/10.1145/221332.221334).
    return _each(tape, Op.SINGLE, result.nodes[None], _SINGLE)


def _binary(op: Op, first: Number, second: Number, *, truth: bool = False) -> Symbol:
    """Write down an operator, or leave it to an operand that is neither a symbol nor a number."""
    if not all(isinstance(operand, Symbol | float | int) for operand in (first, second)):
        unknown: Symbol = NotImplemented
        return unknown
    result = _apply(op, first, second)
    return result.as_type(_TRUTH) if truth else result


def _each(tape: Tape, op: Op, operands: Nodes, dtype: DType) -> Symbol:
    """Write down an operation on operands that lie along the first axis."""
    columns = operands.reshape(len(operands), -1).T.tolist()
    nodes = np.array([tape.node(op, *column) for column in columns], np.int64)
    return Symbol(tape, nodes.reshape(operands.shape[1:]), dtype)


def _alike(tape: Tape, values: Sequence[Number]) -> tuple[list[Nodes], DType]:
    """Return the nodes of values and the type that they combine to; a plain number is of the others' type."""
    found = {value.dtype for value in values if isinstance(value, Symbol)}
    plain = [value for value in values if not isinstance(value, Symbol)]
    floats = any(not isinstance(value, bool) for value in plain)
    dtype = next((kind for kind in (_DOUBLE, _SINGLE, _TRUTH) if kind in found), _DOUBLE)
    dtype = _DOUBLE if dtype == _TRUTH and floats else dtype
    return [
        value.nodes if isinstance(value, Symbol) else _constants(tape, np.asarray(value, dtype))
        for value in values
    ], dtype


def _constants(tape: Tape, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Nodes:
    nodes = [tape.constant(float(value)) for value in values.astype(np.float64).ravel()]
    return np.array(nodes, np.int64).reshape(values.shape)


def _spread(*nodes: Nodes) -> list[Nodes]:
    """Repeat nodes as NumPy broadcasts arrays."""
    return list(np.broadcast_arrays(*nodes))
