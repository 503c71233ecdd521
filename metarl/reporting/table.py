"""One table type for terminal, CSV and HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.table import Table as RichTable

from metarl.evaluation.statistics import Interval
from metarl.reporting.plain_tables import plain_table

Value: TypeAlias = str | int | float | Interval | None
Form: TypeAlias = Callable[[float], str]


def number(value: float) -> str:
    """Format a number with one decimal, a large one with none."""
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def percent(value: float) -> str:
    """Format a share as percentage, without sign."""
    return str(round(100 * value))


def whole(value: float) -> str:
    """Format a number of things."""
    return f"{value:,.0f}"


def with_interval(interval: Interval, form: Form, unit: str = "") -> str:
    """Format a number with its interval, such as ``12.3 [11.0, 13.5]``."""
    return f"{form(interval.mean)}{unit} {brackets(interval, form)}".rstrip()


def brackets(interval: Interval, form: Form) -> str:
    """Format an interval; empty if it has no width, as that of one task's return."""
    return f"[{form(interval.low)}, {form(interval.high)}]" if interval.low < interval.high else ""


@dataclass(frozen=True)
class Column:
    """Label and format of a column of numbers."""

    label: str
    form: Form = number


@dataclass(frozen=True)
class Cell:
    """A value as text and sorting number."""

    text: str
    interval: str = ""
    value: float = 0.0


@dataclass(frozen=True)
class Row:
    """A row: name, and values by column."""

    name: str
    values: tuple[Value, ...]
    detail: str = ""  # second part of the name, in smaller print
    emphasis: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of numbers, most with 95 % intervals."""

    names: str  # label of the rows' names
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    caption: str = ""

    def cells(self, row: Row) -> list[Cell | None]:
        """Return a row as text, with None for a missing value."""
        return [_cell(value, column.form) for value, column in zip(row.values, self.columns, strict=True)]

    def __rich__(self) -> RichTable:
        """Return the table for a terminal."""
        table = plain_table(self.title, self.caption)
        table.add_column(self.names, overflow="fold")
        for column in self.columns:
            table.add_column(column.label, justify="right")
        for row in self.rows:
            cells = [f"{cell.text} {cell.interval}".rstrip() if cell else "" for cell in self.cells(row)]
            name = ", ".join(filter(None, (row.name, row.detail)))
            table.add_row(name, *cells, style="bold" if row.emphasis else "")
        return table

    def csv(self, names: Sequence[str]) -> Iterator[list[str | int | float]]:
        """Yield a header and the rows; an interval becomes three columns.

        ``names`` are the rows' heading, that of their details, then one for each column.
        """
        columns = zip(*(row.values for row in self.rows), strict=True)
        plain = [any(isinstance(value, str | int | float) for value in column) for column in columns]
        endings = [("",) if simple else ("", "_low", "_high") for simple in plain]
        header = [f"{name}{end}" for name, ends in zip(names[2:], endings, strict=True) for end in ends]
        yield [*names[:2], *header]
        for row in self.rows:
            cells: list[str | int | float] = [row.name, row.detail]
            for value, ends in zip(row.values, endings, strict=True):
                filled = "" if value is None else value
                cells += filled if isinstance(filled, Interval) else [filled] * len(ends)
            yield cells


def _cell(value: Value, form: Form) -> Cell | None:
    if value is None or isinstance(value, str):
        return Cell(value) if value else None
    if isinstance(value, Interval):
        return Cell(form(value.mean), brackets(value, form), value.mean)
    return Cell(form(value), value=value)
