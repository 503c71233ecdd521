"""Processor time in which the command line answers, beside a former build.

    .venv/bin/python -m benchmarks.speed.startup /path/to/former/checkout

The former checkout has an environment of its own in ``.venv``, as ``make setup`` makes it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from pathlib import Path
from typing import NamedTuple

import tyro
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import Bar, bars_table, machine, wide_console

HERE = Path(__file__).resolve().parents[2]


class Question(NamedTuple):
    """A command line, and the share of the former build's time that it may take."""

    words: str
    share: float


QUESTIONS = (
    Question("--help", 1 / 6),
    Question("list", 1 / 6),
    Question("train no-such-preset", 1 / 6),
    Question("train ml1 --help", 1 / 3),
)


def main(former: tyro.conf.Positional[Path], *, repeats: int = 5) -> None:
    """Ask both builds the same, in turn, and compare medians.

    Args:
        former: checkout of the former build.
        repeats: pairs of runs of each question; the first pair, which fills caches, does not count.
    """
    console = wide_console()
    console.print(machine())
    table = Table("metarl …", "former, s", "this, s", "share", title="processor time of a whole process")
    bars = []
    for question in QUESTIONS:
        pairs = [(seconds(former, question), seconds(HERE, question)) for _ in range(repeats + 1)][1:]
        before, after = (statistics.median(column) for column in zip(*pairs, strict=True))
        share = statistics.median(now / then for then, now in pairs)
        table.add_row(question.words, f"{before:.2f}", f"{after:.2f}", f"{share:.2f}")
        bars.append(Bar(f"metarl {question.words}, share of the former", question.share, share, True))
    console.print(table)
    console.print(bars_table(bars))


def seconds(checkout: Path, question: Question) -> float:
    """Return the processor time of an answer, user's and system's."""
    program = str(checkout / ".venv" / "bin" / "metarl")
    before = os.times()
    subprocess.run([program, *question.words.split()], cwd=checkout, capture_output=True, check=False)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return float(spent)


if __name__ == "__main__":
    run(main)
