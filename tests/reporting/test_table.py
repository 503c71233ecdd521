"""One table: the same numbers in a terminal, as CSV and as cells of the report."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from metarl.evaluation.record import Evaluation
from metarl.evaluation.statistics import Interval
from metarl.evaluation.summary import summarize
from metarl.reporting.table import Cell, Column, Row, Table, number, percent, whole, with_interval
from metarl.reporting.tables import aggregate_table
from metarl.types import Task

TABLE = Table(
    "agent",
    (Column("return"), Column("success %", percent), Column("steps", whole)),
    (
        Row("meta", (Interval(-1.25, -2.0, 1234.5), Interval(0.5, 0.25, 1.0), 12_000), "before", True),
        Row("ppo", (Interval(2.0, 1.0, 3.0), None, 0)),
    ),
    "title",
    "caption",
)


def test_cells_have_text_interval_and_number() -> None:
    assert TABLE.cells(TABLE.rows[0]) == [
        Cell("-1.2", "[-2.0, 1234]", -1.25),
        Cell("50", "[25, 100]", 0.5),
        Cell("12,000", value=12_000),
    ]
    assert TABLE.cells(TABLE.rows[1])[1:] == [None, Cell("0", value=0)]


def test_number_that_has_no_interval_stands_alone() -> None:
    alone = Interval(-3.7, -3.7, -3.7)
    table = Table("steps", (Column("return"),), (Row("0", (alone,)),))
    assert table.cells(table.rows[0]) == [Cell("-3.7", "", -3.7)]
    assert with_interval(alone, number) == "-3.7"
    assert with_interval(Interval(0.5, 0.25, 1.0), percent, " %") == "50 % [25, 100]"


def test_terminal_shows_title_names_numbers_and_caption() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(TABLE)
    written = console.file
    assert isinstance(written, io.StringIO)
    lines = [line.split() for line in written.getvalue().splitlines()]
    assert lines[0] == ["title"]
    assert lines[1] == ["agent", "return", "success", "%", "steps"]
    assert lines[3] == ["meta,", "before", "-1.2", "[-2.0,", "1234]", "50", "[25,", "100]", "12,000"]
    assert lines[4] == ["ppo", "2.0", "[1.0,", "3.0]", "0"]
    assert lines[5] == ["caption"]


def test_csv_has_every_digit_and_three_columns_for_an_interval() -> None:
    header, *rows = TABLE.csv(("agent", "stage", "return", "success", "steps"))
    assert header == [
        *("agent", "stage", "return", "return_low", "return_high"),
        *("success", "success_low", "success_high", "steps"),
    ]
    assert rows == [
        ["meta", "before", -1.25, -2.0, 1234.5, 0.5, 0.25, 1.0, 12_000],
        ["ppo", "", 2.0, 1.0, 3.0, "", "", "", 0],
    ]


def test_nothing_is_called_worse_where_nothing_adapts() -> None:
    tasks = tuple(Task("a", (float(n),), f"{n}") for n in range(3))
    for stages, seen in ((1, [None]), (2, ["33"])):
        returns = np.zeros((3, stages, 2))
        returns[0, 1:] = -1.0
        table = aggregate_table(summarize(Evaluation(tasks, returns, None, 0), np.random.default_rng(0)))
        worse = [table.cells(row)[-1] for row in table.rows]
        assert [None if cell is None else cell.text for cell in worse] == seen
