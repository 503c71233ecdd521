"""Colours, fonts, labels and panels of all figures.

Every figure is a :class:`matplotlib.figure.Figure` of its own; nothing touches the state of ``pyplot``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from metarl.storage.files import write_whole
from metarl.storage.metrics import Row
from metarl.system.signals import deferred

DPI = 150
WIDTH = 8.0  # inches: 1200 pixels
BLUE, ORANGE = "#0072b2", "#d55e00"
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Palette of Okabe and Ito (2008), which colour-blind people can distinguish."""
MANY = PALETTE + tuple(to_hex(colour) for colour in colormaps["tab20"](range(1, 20, 2)))
"""More colours, the second ten pale."""
BEFORE, AFTER = ORANGE, BLUE  # colours of results before and after adapting
TEXT, FAINT, GRID = "#262626", "#7a7a7a", "#e6e6e6"
LABELS = {"return": "Return per episode", "success": "Success rate"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a 150-dpi PNG."""
    picture = io.BytesIO()
    with deferred():  # a format is imported with its first figure
        figure.savefig(picture, format="png", dpi=DPI)
    write_whole(path, picture.getvalue())


def svg(figure: Figure) -> str:
    """Return a figure as SVG, without random names."""
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "metarl"}), deferred():
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()


def blank(
    title: str, panels: int, top: float, size: tuple[float, float] = (WIDTH, 3.7)
) -> tuple[Figure, list[Axes]]:
    """Return a figure with side-by-side panels below ``top``."""
    layout = ConstrainedLayoutEngine(rect=(0.005, 0.055, 0.99, top - 0.055), wspace=0.06)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout=layout)
    figure.text(0.012, 0.975, title, fontsize=11, fontweight="bold", color=TEXT, va="top")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def style_axes(axes: Axes, grid: str) -> None:
    """Give axes the common look, with one grid."""
    axes.tick_params(labelsize=8, colors=FAINT, labelcolor=TEXT, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9, color=TEXT)
    (axes.xaxis if grid == "x" else axes.yaxis).grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=FAINT, linewidth=0.8)


def label_axes(axes: Axes, quantity: str) -> None:
    """Style axes with ``"return"`` or ``"success"`` along y."""
    style_axes(axes, "y")
    axes.set_ylabel(LABELS[quantity])
    if quantity == "success":
        axes.set_ylim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def label_env_steps(axes: Axes, rows: Sequence[Row]) -> None:
    """Label environment steps in thousands or millions."""
    most = max(row.get("env_steps", 0) for row in rows)
    units = ((1e6, " (millions)"), (1e3, " (thousands)"))
    scale, unit = next((pair for pair in units if most >= pair[0]), (1.0, ""))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps / scale:g}"))
    axes.set_xlabel(f"Environment steps{unit}")
    if most > 0:
        axes.set_xlim(left=-0.02 * most)  # room for a marker at 0


def draw_legend_above(figure: Figure, handles: Sequence[Line2D], columns: int, **look: float) -> None:
    """Draw a legend below the title, in columns."""
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.003, 0.935),
        ncols=columns,
        frameon=False,
        labelcolor=TEXT,
        **look,
    )


def draw_footer(figure: Figure, text: str) -> None:
    """Write small print below the panels."""
    figure.text(0.012, 0.018, text, fontsize=7, color=FAINT)
