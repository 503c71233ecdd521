"""Colours, fonts, labels and panels that all figures share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from metarl.storage.files import write_whole
from metarl.storage.metrics import Row
from metarl.text import stage_name

Array = npt.NDArray[np.float64]


_DPI = 150


_WIDTH = 8.0  # inches: 1200 pixels


BEFORE, AFTER = "#d55e00", "#0072b2"
"""Colours of what was measured before adapting and after."""


PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of what has no order, Okabe and Ito's."""


TEXT, _FAINT, _GRID = "#262626", "#7a7a7a", "#e6e6e6"


_LABELS = {"return": "Return per episode", "success": "Success rate"}


@dataclass(frozen=True)
class Stage:
    """A number of adaptation steps, and how it is drawn."""

    steps: int
    label: str
    colour: str
    dashes: Literal["-", "--"]
    filling: str


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of 150 dots per inch.

    Raises:
        MetarlError: if the file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_whole(path, picture.getvalue())


def stages_of(rows: Sequence[Row], quantity: str) -> list[Stage]:
    """Return the first and the last number of adaptation steps that the rows tell of."""
    names = {name for row in rows for name in row}
    steps = sorted(
        int(last.removeprefix("step_"))
        for split, kind, last in (name.split("/") for name in names if name.count("/") == 2)
        if split in ("train", "test") and kind == quantity and last.startswith("step_")
    )
    if not steps:
        return []
    after = Stage(steps[-1], stage_name(steps[-1]), AFTER, "-", AFTER)
    before = Stage(steps[0], stage_name(steps[0]), BEFORE, "--", "white")
    return [before, after] if steps[0] < steps[-1] else [before]


def _series(rows: Sequence[Row], *names: str) -> list[Array]:
    """Return the columns of the rows that have all of them."""
    found = [[row[name] for name in names] for row in rows if all(name in row for name in names)]
    return list(np.asarray(found, dtype=np.float64).reshape(-1, len(names)).T)


def blank(title: str, panels: int, top: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with its panels side by side, which reach up to ``top`` of its height."""
    layout = ConstrainedLayoutEngine(rect=(0.005, 0.055, 0.99, top - 0.055), wspace=0.06)
    figure = Figure(figsize=(_WIDTH, 3.7), dpi=_DPI, facecolor="white", layout=layout)
    figure.text(0.012, 0.975, title, fontsize=11, fontweight="bold", color=TEXT, va="top")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def label_axes(axes: Axes, quantity: str) -> None:
    """Give axes the common look; what they show is ``"return"`` or ``"success"``, along the y axis."""
    axes.set_ylabel(_LABELS[quantity], fontsize=9, color=TEXT)
    axes.xaxis.label.set(fontsize=9, color=TEXT)
    axes.tick_params(labelsize=8, colors=_FAINT, labelcolor=TEXT, length=3)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=_FAINT, linewidth=0.8)
    if quantity == "success":
        axes.set_ylim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def label_env_steps(axes: Axes, rows: Sequence[Row]) -> None:
    """Count environment steps in thousands or millions, whichever gives short numbers."""
    most = max(row.get("env_steps", 0) for row in rows)
    scale, unit = next(
        (pair for pair in ((1e6, " (millions)"), (1e3, " (thousands)")) if most >= pair[0]), (1.0, "")
    )
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps / scale:g}"))
    axes.set_xlabel(f"Environment steps{unit}")
    if most > 0:
        axes.set_xlim(left=-0.02 * most)  # room for a marker at 0


def _label_clock(axes: Axes, rows: Sequence[Row]) -> None:
    """Tell along the top how long it took, where the rows say so; time goes evenly over the run."""
    steps, seconds = _series(rows, "env_steps", "time/elapsed")
    if not len(steps) or steps[-1] <= 0 or seconds[-1] <= 0:
        return
    units = ((3600.0, "hours"), (60.0, "minutes"))
    length, unit = next((pair for pair in units if seconds[-1] >= 2 * pair[0]), (1.0, "seconds"))
    speed = steps[-1] / (seconds[-1] / length)
    clock = axes.secondary_xaxis("top", functions=(lambda count: count / speed, lambda time: time * speed))
    clock.set_xlabel(f"Wall-clock ({unit})", fontsize=8, color=_FAINT)
    clock.tick_params(labelsize=7, colors=_FAINT, labelcolor=_FAINT, length=3)
    clock.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    clock.spines["top"].set(color=_FAINT, linewidth=0.8)


def draw_footer(figure: Figure, text: str) -> None:
    """Write a line of small print below the panels."""
    figure.text(0.012, 0.018, text, fontsize=7, color=_FAINT)
