"""C source from functions of arrays, which are called with expressions instead of numbers.

So a formula is written once, for NumPy, for torch and for the compiled stepper. Its threads call the C
function for each world right after the world's step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.arrays import Vector

# numbers of every world, [num_worlds, width]
Rows: TypeAlias = "npt.NDArray[np.float64] | npt.NDArray[np.float32]"
_C_TYPES = {np.dtype(np.float64): "double", np.dtype(np.float32): "float"}

# NaN passes through both, as in NumPy and torch.
PRELUDE = """
#include <math.h>
static inline double larger(double a, double b) { return a >= b || isnan(a) ? a : b; }
static inline double smaller(double a, double b) { return a <= b || isnan(a) ? a : b; }
"""


class CFunction:
    """A C function of one world's rows of ``tables``, ``[num_worlds, ...]``, numbered in order."""

    def __init__(self, tables: Sequence[Rows]) -> None:
        self._columns = [(_C_TYPES[table.dtype], table.shape[1]) for table in tables]
        self._variables: dict[str, Term] = {}
        self._stores: list[str] = []

    def load(self, table: int, width: int) -> Vector:
        """Return a row's first columns, ``[width, 1]``."""
        terms = [self.variable(self._number(table, column)) for column in range(width)]
        return cast(Vector, _expressions(terms)[:, None])

    def store(self, table: int, values: Vector) -> None:
        """Write expressions ``[width, 1]`` to a row's first columns once everything is read."""
        for column, term in enumerate(np.asarray(values, object).ravel().tolist()):
            self._stores.append(f"{self._number(table, column)} = {_text(term)};")

    def source(self, name: str) -> str:
        """Return the definition of the function, which takes pointers to the rows."""
        lines = [f"double {term.name} = {value};" for value, term in self._variables.items()]
        return f"void {name}(char* const* rows) {{\n  " + "\n  ".join([*lines, *self._stores]) + "\n}\n"

    def variable(self, value: str) -> Term:
        """Return the variable with this value, a new one if there is none."""
        if value not in self._variables:
            self._variables[value] = Term(self, f"v{len(self._variables)}")
        return self._variables[value]

    def _number(self, table: int, column: int) -> str:
        c_type, width = self._columns[table]
        if column >= width:  # nothing in C would stop it
            raise IndexError(f"Expected a column below {width}, got {column}.")
        return f"(({c_type}*)rows[{table}])[{column}]"


def _binary(symbol: str) -> Callable[[Term, Operand], Term]:
    return lambda left, right: left.function.variable(f"{left.name} {symbol} {_text(right)}")


def _reflected(symbol: str) -> Callable[[Term, float], Term]:
    return lambda right, left: right.function.variable(f"{_text(left)} {symbol} {right.name}")


def _unary(function: str) -> Callable[[Term], Term]:
    return lambda term: term.function.variable(f"{function}({term.name})")


class Term:
    """A variable of a C function; truth is 1 or 0."""

    def __init__(self, function: CFunction, name: str) -> None:
        self.function, self.name = function, name

    __add__, __radd__ = _binary("+"), _reflected("+")
    __sub__, __rsub__ = _binary("-"), _reflected("-")
    __mul__, __rmul__ = _binary("*"), _reflected("*")
    __truediv__, __rtruediv__ = _binary("/"), _reflected("/")
    __lt__, __le__, __gt__, __ge__ = _binary("<"), _binary("<="), _binary(">"), _binary(">=")
    __and__, __or__ = _binary("&&"), _binary("||")
    __neg__, __abs__ = _unary("-"), _unary("fabs")
    # NumPy's function of the same name calls these on each object of an array.
    sqrt, exp, log, sin, cos = _unary("sqrt"), _unary("exp"), _unary("log"), _unary("sin"), _unary("cos")


Operand: TypeAlias = Term | float


def _text(operand: Operand) -> str:
    return operand.name if isinstance(operand, Term) else float(operand).hex()


def _each(pattern: str) -> Callable[..., Expressions]:
    """Return an elementwise function of arrays, the first of them terms, written as ``pattern``."""

    def one(first: Term, *others: Operand) -> Term:
        return first.function.variable(pattern.format(first.name, *map(_text, others)))

    return lambda *arrays: _expressions(np.frompyfunc(one, pattern.count("{}"), 1)(*arrays))


def dot_rounds_once() -> bool:
    """Return whether NumPy's dot product rounds once a term, by ``fma``; that depends on the processor."""
    number = 1 + 2.0**-30  # squared 1 + 2^-29 + 2^-60, of which rounding loses the last
    return float(np.dot([-1.0, number, 0.0], [1.0, number, 0.0])) != 2.0**-29


class _Linalg:
    _add = staticmethod(_each("fma({}, {}, {})" if dot_rounds_once() else "{} * {} + {}"))

    def vecdot(self, first: Expressions, second: Expressions, /, *, axis: int) -> Expressions:
        """Return dot products over the first axis, rounded as NumPy does on this machine."""
        assert axis == 0
        total: Expressions = first[0] * second[0]
        for a, b in zip(first[1:], second[1:], strict=True):
            total = self._add(a, b, total)
        return total


class _Library:
    """Functions common to NumPy and torch that formulas use, for expressions."""

    __name__ = "c_functions"
    linalg = _Linalg()
    where = staticmethod(_each("{} ? {} : {}"))
    maximum = staticmethod(_each("larger({}, {})"))
    minimum = staticmethod(_each("smaller({}, {})"))
    sqrt, exp, log, sin, cos = np.sqrt, np.exp, np.log, np.sin, np.cos

    def clip(self, x: Expressions, lower: Operand | None, upper: Operand | None, /) -> Expressions:
        """Limit numbers."""
        x = x if lower is None else self.maximum(x, lower)
        return x if upper is None else self.minimum(x, upper)

    def stack(self, arrays: Sequence[Expressions], /) -> Expressions:
        """Join arrays along a new first axis."""
        return _expressions(np.stack(arrays))

    def concatenate(self, arrays: Sequence[Expressions], axis: int = 0, /) -> Expressions:
        """Join arrays."""
        return _expressions(np.concatenate(arrays, axis))

    def asarray(self, x: object, *, dtype: object, device: object = None) -> Expressions:
        """Return expressions as they are, numbers as constants."""
        del dtype, device  # everything is a double
        return _expressions(x)

    def broadcast_to(self, x: Expressions, shape: tuple[int, ...], /) -> Expressions:
        """Repeat numbers to fill a shape."""
        return _expressions(np.broadcast_to(x, shape))


class Expressions(np.ndarray[tuple[int, ...], np.dtype[np.object_]]):
    """An array of terms and constants; NumPy applies operators to each of them."""

    array_library: ClassVar[_Library] = _Library()  # where arrays.namespace finds the functions

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, **options: object
    ) -> Expressions:
        """Apply an operation to each element; by itself NumPy makes bools of comparisons."""
        del method, options
        return _expressions(ufunc(*(np.asarray(x, object) for x in inputs), dtype=object))


def _expressions(values: object) -> Expressions:
    return np.asarray(values, object).view(Expressions)
