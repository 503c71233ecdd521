"""CSV files of curves, intervals and means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metarl.evaluation.statistics import Interval
from metarl.storage.files import write_rows
from metarl.storage.metrics import Row


def average(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Average shared metrics of the iterations that all runs have.

    Columns ``/low`` and ``/high`` have the range over runs.
    """
    merged = []
    # a run that is not measured during training has no row of iteration 0
    by_iteration = [{row["iteration"]: row for row in run} for run in runs]
    shared = [iteration for iteration in by_iteration[0] if all(iteration in rows for rows in by_iteration)]
    for rows in ([run[iteration] for run in by_iteration] for iteration in shared):
        row: Row = {}
        for name in rows[0]:
            if name.endswith(("/low", "/high")) or not all(name in other for other in rows):
                continue
            values = [other[name] for other in rows]
            row[name] = values[0] if name == "iteration" else float(np.mean(values))
            # a range over runs of wall-clock times says nothing
            if "/" in name and not name.startswith("time/"):
                row[f"{name}/low"], row[f"{name}/high"] = min(values), max(values)
        merged.append(row)
    return merged


def interval_columns(name: str, interval: Interval) -> dict[str, str | float]:
    """Return an interval as three columns."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def write_csv(path: Path, rows: Sequence[dict[str, str | float]] | Sequence[Row]) -> None:
    """Write rows as CSV, with every column."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_rows(path, [names, *([row.get(name, "") for name in names] for row in rows)])
