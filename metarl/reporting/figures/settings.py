"""How runs with different settings learn, beside each other: curves as CSV and as one figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator, PercentFormatter

from metarl.errors import MetarlError, require
from metarl.reporting.csv_files import write_csv
from metarl.reporting.figures.style import (
    PALETTE,
    TEXT,
    blank,
    draw_footer,
    label_axes,
    label_env_steps,
    save,
    stages_of,
)
from metarl.storage.metrics import Row, read_metrics

COLOURS = ("#000000", *PALETTE)


def write_curves(
    folders: Sequence[Path], labels: Sequence[str], output: Path, title: str, *, window: float
) -> list[Path]:
    """Put the training curves of several runs beside each other, before and after adapting.

    Writes ``curves.csv`` (a row for each run and window) and ``curves.png``.

    Args:
        folders: of runs, or of what ``metarl sweep`` made of several.
        labels: what the figure calls each of them.
        output: folder for the files; it is made if need be.
        title: of the figure.
        window: environment steps; what is shown is the mean over each window.

    Returns:
        The files.

    Raises:
        MetarlError: if a folder has no curve with returns, there is not one label of its own for each, there
            are more than colours, or the window is not positive.
    """
    require(1 <= len(folders) <= len(COLOURS), f"1 to {len(COLOURS)} curves can be drawn", len(folders))
    require(len(set(labels)) == len(folders), f"{len(folders)} curves need as many different labels", labels)
    require(window > 0, "window must be positive", window)
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
    """Return the metrics of a run, or the means over seeds that a sweep left as ``curve.csv``.

    Raises:
        MetarlError: if there are neither.
    """
    table = folder / "curve.csv"
    if not table.exists():
        return read_metrics(folder)
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise MetarlError(f"The curve {table} cannot be read ({error}).") from error


def windowed(rows: Sequence[Row], window: float) -> list[Row]:
    """Return, for each window of environment steps, the means of what training measured in it.

    ``env_steps`` is the end of the window: the iterations in ``(k - 1) window < env_steps <= k window``.
    """
    trained = [row for row in rows if any(name.startswith("train/") for name in row)]
    means: list[Row] = []
    for index, found in groupby(trained, key=lambda row: int(np.ceil(row["env_steps"] / window))):
        together = list(found)
        names = [name for name in together[0] if _is_mean(name)]
        values = {name: float(np.mean([row[name] for row in together])) for name in names}
        means.append({"env_steps": index * window, **values})
    return means


def draw_curves(curves: Mapping[str, Sequence[Row]], title: str, window: float) -> Figure:
    """Draw return and, where all tell it, success: dashed before adapting, solid after the last step."""
    quantities = [name for name in ("return", "success") if all(stages_of(c, name) for c in curves.values())]
    figure, panels = blank(title, len(quantities), top=0.76)
    for axes, quantity in zip(panels, quantities, strict=True):
        for colour, rows in zip(COLOURS, curves.values(), strict=False):
            _draw(axes, rows, quantity, colour)
        label_axes(axes, quantity)
        if quantity == "success":  # closer than from none to all
            axes.autoscale(axis="y")
            axes.yaxis.set_major_locator(MultipleLocator(0.1))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        label_env_steps(axes, [row for rows in curves.values() for row in rows])
    handles = [
        Line2D([], [], color=colour, label=label) for colour, label in zip(COLOURS, curves, strict=False)
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.003, 0.935),
        ncols=2,
        frameon=False,
        fontsize=8,
        labelcolor=TEXT,
    )
    text = (
        f"Training tasks; dashed: before adapting, solid: after. Means over {window:,.0f} environment steps."
    )
    draw_footer(figure, text)
    return figure


def _draw(axes: Axes, rows: Sequence[Row], quantity: str, colour: str) -> None:
    steps = [row["env_steps"] for row in rows]
    for stage in stages_of(rows, quantity):
        values = [row[f"train/{quantity}/step_{stage.steps}"] for row in rows]
        axes.plot(steps, values, stage.dashes, color=colour, linewidth=1.4)


def _is_mean(name: str) -> bool:
    """Tell whether a metric is one of training, and no end of a range over seeds."""
    return name.startswith("train/") and not name.endswith(("/low", "/high"))
