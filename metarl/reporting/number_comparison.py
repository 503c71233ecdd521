"""Reproduced numbers beside published ones.

A number is equal, within the published interval or the result's tolerance, or different.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from metarl.errors import MetarlError
from metarl.types import Json

Verdict: TypeAlias = Literal["equal", "within", "different"]
Rows: TypeAlias = "list[dict[str, str]]"

DIGITS = 1e-9
"""Relative difference of numbers that count as equal.

The last bits of sums differ between processors.
"""
LAST_PART = 0.1  # share of a curve at its end, over which curves that are not equal are compared
_ENDS = (("_low", "_high"), ("/low", "/high"))
_OF_SEEDS = "_by_seed"
_CURVES = tuple(f"{split}/{name}/step_" for split in ("train", "test") for name in ("return", "success"))


@dataclass(frozen=True)
class Number:
    """A published number beside the reproduced one."""

    file: str
    row: str  # words that name its row, such as ``"seed 0, 1"``
    column: str
    published: float | None  # None where the published table has none
    low: float | None  # lower end of the published interval, if any
    high: float | None
    reproduced: float | None  # None where the reproduced table has none
    verdict: Verdict

    def to_json(self) -> dict[str, Json]:
        """Return the number as plain JSON."""
        return dict(vars(self))


def judge(
    published: float | None, reproduced: float | None, ends: tuple[float, float] | None, tolerance: float = 0
) -> Verdict:
    """Compare a reproduced number with the published one.

    Args:
        ends: of the published interval.
        tolerance: largest relative difference that counts as within.
    """
    if published is None or reproduced is None:
        return "equal" if published is reproduced else "different"
    if published == reproduced or math.isclose(published, reproduced, rel_tol=DIGITS, abs_tol=1e-12):
        return "equal"
    # an interval of no width says nothing about another run
    if ends is not None and ends[0] <= reproduced <= ends[1]:
        return "within"
    close = abs(published - reproduced) <= tolerance * max(abs(published), abs(reproduced))
    return "within" if close else "different"


def compare_tables(
    file: str, published: Rows, reproduced: Rows, *, tolerance: float = 0, ignored: Sequence[str] = ()
) -> list[Number]:
    """Compare two tables number by number.

    Rows are matched by their words, and in their order where these repeat. A column ``x`` with columns
    ``x_low`` and ``x_high`` has these as its interval, ``mean`` has ``low`` and ``high``. Columns that only
    the reproduced table has are new, and are left out.

    Args:
        ignored: columns that are not compared, such as times.
    """
    names = [name for name in dict.fromkeys(name for row in published for name in row) if name]
    measured = {name: interval for name in names if (interval := _interval_of(name, names))}
    bounds = {end for pair in measured.values() for end in pair}
    compared = [name for name in names if name not in (*bounds, *ignored) and not name.endswith(_OF_SEEDS)]
    texts = [
        name for name in compared if all(number(row[name]) is None for row in published if row.get(name))
    ]
    found, others = _keyed(published, texts), _keyed(reproduced, texts)
    numbers = []
    for key, row in found.items():
        other = others.get(key, {})
        for name in compared:
            if name in texts or not row.get(name):
                continue
            value = number(row[name])
            ends = _ends(row, measured.get(name))
            got = number(other.get(name, ""))
            verdict = judge(value, got, ends, tolerance)
            low, high = ends or (None, None)
            place = ", ".join([*key[0], *([] if key[1] == 0 else [f"row {key[1] + 1}"])])
            numbers.append(Number(file, place, name, value, low, high, got, verdict))
    for key in (key for key in others if key not in found):  # in the order of the table
        numbers.append(Number(file, ", ".join(key[0]), "", None, None, None, None, "different"))
    return numbers


def compare_curves(file: str, label: str, published: Rows, reproduced: Rows) -> list[Number]:
    """Compare two learning curves' returns and successes.

    A metric is equal if it is so after every iteration. Otherwise its means over the last tenth of the
    published curve are compared, and the interval is the range that seeds and iterations span there.

    Returns:
        A number for each metric: its mean over the last tenth.
    """
    # a table of several agents has columns that one of them never measured
    filled = dict.fromkeys(name for row in published for name, text in row.items() if text)
    names = [name for name in filled if name.startswith(_CURVES) and not name.endswith(("/low", "/high"))]
    # the same iterations of both; windows of steps where a curve has no iterations
    key = "iteration" if published and "iteration" in published[0] else "env_steps"
    others = {number(row.get(key, "")): row for row in reproduced}
    pairs = [(row, others.get(number(row.get(key, "")), {})) for row in published]
    last = pairs[-max(1, round(LAST_PART * len(pairs))) :]
    numbers = []
    for name in names:
        # held-out metrics are there after some iterations only: at least their last value is compared
        measured = [pair for pair in pairs if pair[0].get(name)]
        end = [pair for pair in last if pair[0].get(name)] or measured[-1:]
        values = [_cell(row, name) for row, _ in end]
        got = [_cell(other, name) for _, other in end]
        lows, highs = ([_cell(row, f"{name}{e}") for row, _ in end] for e in ("/low", "/high"))
        ends = min(_known([*values, *lows])), max(_known([*values, *highs]))
        same = all(judge(_cell(row, name), _cell(other, name), None) == "equal" for row, other in measured)
        mean = float(np.mean(_known(values)))
        mine = None if None in got else float(np.mean(_known(got)))
        verdict: Verdict = "equal" if same else judge(mean, mine, ends)
        # the same mean of another curve is within, not equal
        verdict = "within" if verdict == "equal" and not same else verdict
        numbers.append(Number(file, label, name, mean, *ends, mine, verdict))
    return numbers


def read_rows(path: Path) -> Rows:
    """Return a CSV file's rows by column.

    Raises:
        MetarlError: if there is no such file, or it is no CSV.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {name: value or "" for name, value in row.items() if name} for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetarlError(f"The table {path} cannot be read ({error}).") from error


def number(text: str) -> float | None:
    """Return a cell as a number; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _interval_of(name: str, names: Sequence[str]) -> tuple[str, str] | None:
    for low, high in _ENDS:
        if f"{name}{low}" in names and f"{name}{high}" in names:
            return f"{name}{low}", f"{name}{high}"
    return ("low", "high") if name == "mean" and {"low", "high"} <= set(names) else None


def _ends(row: Mapping[str, str], names: tuple[str, str] | None) -> tuple[float, float] | None:
    if names is None:
        return None
    low, high = (number(row.get(name, "")) for name in names)
    return None if low is None or high is None else (low, high)


def _keyed(rows: Rows, texts: Sequence[str]) -> dict[tuple[tuple[str, ...], int], dict[str, str]]:
    """Return rows by their words, repeated ones numbered."""
    keyed: dict[tuple[tuple[str, ...], int], dict[str, str]] = {}
    for row in rows:
        key = tuple(row.get(name, "") for name in texts)
        place = 0
        while (key, place) in keyed:
            place += 1
        keyed[key, place] = row
    return keyed


def _cell(row: Mapping[str, str], name: str) -> float | None:
    return number(row.get(name, ""))


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
