"""Training curves of runs as CSV and figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator, PercentFormatter

from metarl.errors import MetarlError, require
from metarl.reporting.csv_files import average, write_csv
from metarl.reporting.figures.curves import Line, draw_line, measured_steps, series
from metarl.reporting.figures.style import (
    MANY,
    blank,
    draw_footer,
    draw_legend_above,
    label_axes,
    label_env_steps,
    save,
)
from metarl.storage.files import check_writable
from metarl.storage.metrics import Row, read_metrics
from metarl.storage.run_folder import SWEEP, runs_of

COLOURS = ("#000000", *MANY)


def write_curves(
    folders: Sequence[Path], labels: Sequence[str], output: Path, title: str, *, window: float = 0
) -> list[Path]:
    """Write training curves of runs or sweeps, finished or not; return the files.

    Writes ``curves.csv`` (a row for each run and window) and ``curves.png``, in which ``labels`` name the
    folders. ``window`` is the number of environment steps to average over; 0 shows every iteration.

    Raises:
        MetarlError: if a folder has no curve with returns, there is not one label of its own for each, there
            are more than colours, the window is negative, or ``output`` cannot be written.
    """
    require(1 <= len(folders) <= len(COLOURS), f"1 to {len(COLOURS)} curves can be drawn", len(folders))
    require(
        len(set(labels)) == len(labels) == len(folders),
        f"{len(folders)} curves need as many different labels",
        labels,
    )
    require(window >= 0, "window must be 0 or more", window)
    check_writable(output, folder=True)
    smooth = {
        label: windowed(read_curve(folder), window) for label, folder in zip(labels, folders, strict=True)
    }
    for label, rows in smooth.items():
        require(bool(rows), f"The curve of {label!r} needs training returns", "none")
    output.mkdir(parents=True, exist_ok=True)
    files = [output / "curves.csv", output / "curves.png"]
    write_csv(files[0], [{"run": label, **row} for label, rows in smooth.items() for row in rows])
    save(draw_curves(smooth, title, window), files[1])
    return files


def read_curve(folder: Path) -> list[Row]:
    """Return a run's metrics, or a sweep's means."""
    table = folder / "curve.csv"
    finished = runs_of(folder) if (folder / SWEEP).is_file() else []
    # a sweep's table lacks the seeds that have finished since; a copied one's runs may be elsewhere
    if not table.exists() or (finished and all(run.is_dir() for run in finished)):
        runs = [read_metrics(run) for run in finished or [folder]]
        return average(runs) if len(runs) > 1 else runs[0]
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise MetarlError(f"The curve {table} cannot be read ({error}).") from error


def windowed(rows: Sequence[Row], window: float) -> list[Row]:
    """Average training metrics over windows of environment steps.

    ``env_steps`` is the end of the window: the iterations in ``(k - 1) window < env_steps <= k window``. A
    window of 0 keeps every iteration, with its held-out metrics and the range over seeds.
    """
    trained = [row for row in rows if any(name.startswith("train/") for name in row)]
    if not window:
        kept = ("iteration", "env_steps")
        return [
            {name: row[name] for name in row if name in kept or name.startswith(("train/", "test/"))}
            for row in trained
        ]
    means: list[Row] = []
    # window k holds the steps in ((k - 1) window, k window]
    for index, found in groupby(trained, key=lambda row: int(np.ceil(row["env_steps"] / window))):
        together = list(found)
        # a metric is the mean of the iterations that have it, as one that only fills a buffer has fewer
        names = dict.fromkeys(name for row in together for name in row if _is_mean(name))
        values = {name: float(np.mean([row[name] for row in together if name in row])) for name in names}
        means.append({"env_steps": index * window, **values})
    return means


def draw_curves(curves: Mapping[str, Sequence[Row]], title: str, window: float) -> Figure:
    """Draw return, and success where all report it, before (dashed) and after adapting."""
    quantities = [
        name
        for name in ("return", "success")
        if all(measured_steps(c, name, "train") for c in curves.values())
    ]
    columns = 2 if len(curves) <= 6 else 4
    # each row of the legend needs 5 % of the height
    figure, panels = blank(title, len(quantities), top=0.91 - 0.05 * -(-len(curves) // columns))
    for axes, quantity in zip(panels, quantities, strict=True):
        for colour, (label, rows) in zip(COLOURS, curves.items(), strict=False):
            stages = measured_steps(rows, quantity, "train")
            for step in stages:
                x, mean = series(rows, "env_steps", f"train/{quantity}/step_{step}")
                draw_line(axes, Line(label, x, mean, colour=colour, dashed=step < stages[-1]))
        label_axes(axes, quantity)
        if quantity == "success":  # closer than from none to all
            axes.autoscale(axis="y")
            axes.yaxis.set_major_locator(MultipleLocator(0.1))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        label_env_steps(axes, [row for rows in curves.values() for row in rows])
    colours = zip(COLOURS, curves, strict=False)
    handles = [Line2D([], [], color=colour, label=label) for colour, label in colours]
    draw_legend_above(figure, handles, columns, fontsize=8)
    text = "Training tasks; dashed: before adapting, solid: after."
    draw_footer(figure, f"{text} Means over {window:,.0f} environment steps." if window else text)
    return figure


def _is_mean(name: str) -> bool:
    """Return whether a metric is a training mean, not an end of its range over seeds."""
    return name.startswith("train/") and not name.endswith(("/low", "/high"))
