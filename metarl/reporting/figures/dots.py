"""Dot plots: a row for each name, and a dot with its interval in each panel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from metarl.evaluation.statistics import Interval
from metarl.reporting.figures.style import DPI, FAINT, LABELS, TEXT, WIDTH, style_axes


def dot_sheet(title: str, footer: str, *, panels: int, rows: int) -> tuple[Figure, list[Axes]]:
    """Return a figure, sized for its rows."""
    small = textwrap.wrap(footer, 150)
    # inches for the title and for the wrapped footer
    above, below = 0.42, 0.05 + 0.13 * len(small)
    height = above + below + 0.7 + 0.2 * max(rows, 6)
    layout = ConstrainedLayoutEngine(
        rect=(0.005, below / height, 0.99, 1 - (above + below) / height), wspace=0.06
    )
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout=layout)
    figure.text(0.012, 1 - 0.09 / height, title, fontsize=11, fontweight="bold", color=TEXT, va="top")
    figure.text(0.012, 0.04 / height, "\n".join(small), fontsize=7, color=FAINT, va="bottom")
    found = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in found:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        style_axes(axes, "x")
    return figure, found


def dot(
    axes: Axes, place: float, interval: Interval, colour: str, *, filled: bool = True, label: str = ""
) -> None:
    """Draw a mean with its interval along x."""
    axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.5)
    face = colour if filled else "white"
    axes.plot([interval.mean], [place], "o", color=colour, markersize=5, markerfacecolor=face, label=label)


def name_rows(panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Name the rows from top to bottom, beside the first panel."""
    for axes in panels:
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), names if axes is panels[0] else [""] * len(names))


def label_quantity(axes: Axes, quantity: str) -> None:
    """Label ``"return"`` or ``"success"`` along x."""
    axes.set_xlabel(LABELS[quantity])
    if quantity == "success":
        axes.set_xlim(-0.04, 1.04)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def draw_legend(figure: Figure, axes: Axes) -> None:
    """Draw a panel's legend above, each label once."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), handles, loc="upper right", ncols=2, frameon=False, fontsize=8.5, labelcolor=TEXT
    )
