"""Arithmetic as programs, which the compiled stepper's threads run for each world right after its step.

A program is a list of instructions over numbered registers of float64. Run on one world's numbers it gives
the bits that NumPy gives on arrays: IEEE 754 leaves no choice in arithmetic and square roots, and for
everything else NumPy's own loops are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum, auto
from typing import NamedTuple, TypeAlias

import numpy as np

from metarl.errors import EngineError

Rows: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64] | np.dtype[np.float32]]"
"""Numbers of every world, ``[num_worlds, width]``, or of one, ``[width]``."""


class Op(IntEnum):
    """What an instruction does; ``programs.h`` has the same list."""

    CONSTANT = 0
    LOAD = auto()
    """Operands: array, column."""
    LOAD_SINGLE = auto()
    """The same of an array of float32."""
    STORE = auto()
    """Operands: array, column, register."""
    ADD = auto()
    SUBTRACT = auto()
    MULTIPLY = auto()
    DIVIDE = auto()
    NEGATE = auto()
    ABSOLUTE = auto()
    SQRT = auto()
    MAXIMUM = auto()
    MINIMUM = auto()
    LESS = auto()
    LESS_EQUAL = auto()
    AND = auto()
    OR = auto()
    WHERE = auto()
    SINGLE = auto()
    """Round to single precision."""
    PAIR = auto()
    """Operands: place, two registers; one more pair for the next VECDOT."""
    VECDOT = auto()
    """Operand: how many pairs."""
    EXP = auto()
    LOG = auto()
    SIN = auto()
    COS = auto()


NUMPY_LOOPS = ("vecdot", "exp", "log", "sin", "cos")
"""The functions that are NumPy's own, in the order of the operations."""
MAX_PAIRS = 16
"""The longest vectors that may be multiplied."""
MAX_TABLES = 8
"""The most arrays that programs may read and write."""
_INPUTS = (Op.CONSTANT, Op.LOAD, Op.LOAD_SINGLE)
_PRECISION = {Op.LOAD: np.float64, Op.LOAD_SINGLE: np.float32, Op.STORE: np.float64}


class Program(NamedTuple):
    """Instructions, and the constants in the first registers."""

    code: np.ndarray[tuple[int, ...], np.dtype[np.int32]]
    """``[num_instructions, 5]``: operation, register of the result, three operands."""
    constants: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    num_registers: int


def check(program: Program, tables: Sequence[Rows], num_rows: int) -> None:
    """Make sure that a program stays within the arrays that it reads and writes.

    Raises:
        EngineError: if it does not, or there are too many arrays.
    """
    if len(tables) > MAX_TABLES:
        raise EngineError(f"Programs may use {MAX_TABLES} arrays at most; they were given {len(tables)}.")
    if any(len(table) != num_rows for table in tables):
        raise EngineError(f"Arrays of {num_rows} rows were wanted; they have {[*map(len, tables)]}.")
    for op, _, table, column, _ in program.code.tolist():
        if op not in _PRECISION:
            continue
        found = tables[table] if table < len(tables) else np.zeros(0, np.float64)
        fits = column < found.shape[-1] and found.strides[-1] == found.itemsize
        if found.dtype != _PRECISION[op] or not fits:
            raise EngineError(f"The program's array {table} has no column {column} of {_PRECISION[op]}.")


class Tape:
    """What a function of numbers does, written down node by node.

    A node is a number and how it comes about.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[Op, tuple[int, ...]]] = []
        self._known: dict[tuple[Op, tuple[object, ...]], int] = {}
        self._constants: dict[int, float] = {}

    def constant(self, value: float) -> int:
        """Return the node of a known number."""
        node = self._once(Op.CONSTANT, (value.hex(),), ())  # tells 0.0 from -0.0
        self._constants[node] = value
        return node

    def node(self, op: Op, *operands: int) -> int:
        """Return the node of an operation, the same one if it was asked for before."""
        return self._once(op, operands, operands)

    def program(self, stores: Sequence[tuple[int, int, int]]) -> Program:
        """Return what writes some nodes, and computes nothing else.

        Args:
            stores: array, column and node. All arrays are read before any is written.
        """
        needed = self._needed(node for _, _, node in stores)
        constants = [node for node in needed if node in self._constants]
        registers = {node: place for place, node in enumerate(constants)}
        code: list[tuple[int, ...]] = []
        for node in needed:
            if node not in registers:
                registers[node] = len(registers)
                code += self._instructions(node, registers)
        code += [(Op.STORE, 0, array, column, registers[node]) for array, column, node in stores]
        rows = [(*row, *[0] * (5 - len(row))) for row in code]
        values = np.array([self._constants[node] for node in constants], np.float64)
        return Program(np.array(rows, np.int32).reshape(-1, 5), values, len(registers))

    def _once(self, op: Op, key: tuple[object, ...], operands: tuple[int, ...]) -> int:
        if (op, key) not in self._known:
            self._known[op, key] = len(self._nodes)
            self._nodes.append((op, operands))
        return self._known[op, key]

    def _needed(self, wanted: Iterator[int]) -> list[int]:
        """Return the nodes that some depend on, in the order in which they were written down."""
        needed = set(wanted)
        for node in reversed(range(len(self._nodes))):
            op, operands = self._nodes[node]
            if node in needed and op not in _INPUTS:
                needed.update(operands)
        return sorted(needed)

    def _instructions(self, node: int, registers: dict[int, int]) -> Iterator[tuple[int, ...]]:
        op, operands = self._nodes[node]
        if op in _INPUTS:
            yield (op, registers[node], *operands)
        elif op is Op.VECDOT:
            pairs = len(operands) // 2
            for place, (a, b) in enumerate(zip(operands[:pairs], operands[pairs:], strict=True)):
                yield (Op.PAIR, 0, place, registers[a], registers[b])
            yield (op, registers[node], pairs)
        else:
            yield (op, registers[node], *(registers[operand] for operand in operands))
