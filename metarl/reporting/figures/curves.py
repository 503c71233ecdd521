"""Curves of means over an axis, with bars or bands as intervals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from metarl.evaluation.statistics import Interval, Values
from metarl.reporting.figures.style import BLUE
from metarl.storage.metrics import Row


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    x: Values
    mean: Values
    low: Values | None = None
    high: Values | None = None
    colour: str = BLUE
    dashed: bool = False  # dashed, with hollow markers, for results before adapting
    joined: bool = True  # whether a line joins the points
    band: bool = False  # draw intervals as a band instead of bars


def interval_line(label: str, x: Sequence[float], intervals: Sequence[Interval], colour: str = BLUE) -> Line:
    """Return the curve through the means of intervals."""
    mean, low, high = np.array(intervals, np.float64).T
    return Line(label, np.array(x, np.float64), mean, low, high, colour)


def draw_line(axes: Axes, line: Line) -> None:
    """Draw a curve with its intervals."""
    if line.joined:
        lone = len(line.x) == 1 and (line.low is None or line.band)
        axes.plot(
            line.x,
            line.mean,
            "--" if line.dashed else "-",
            marker="o" if lone else "",  # a line through one point is invisible
            markersize=5,
            color=line.colour,
            linewidth=1.4,
            alpha=0.85,
            label=line.label,
        )
    if line.low is None or line.high is None:
        return
    if line.band:
        axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.18, linewidth=0)
        return
    axes.errorbar(
        line.x,
        line.mean,
        # Rounding may put an end of an interval of no width on the wrong side of the mean.
        yerr=np.maximum(0.0, [line.mean - line.low, line.high - line.mean]),
        fmt="o",
        markersize=5,
        color=line.colour,
        markerfacecolor="white" if line.dashed else line.colour,
        markeredgewidth=1.2,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )


def series(rows: Sequence[Row], *names: str) -> list[Values]:
    """Return columns of the rows with all."""
    found = [[row[name] for name in names] for row in rows if all(name in row for name in names)]
    return list(np.asarray(found, np.float64).reshape(-1, len(names)).T)


def measured_steps(rows: Sequence[Row], quantity: str, split: str = "train|test") -> list[int]:
    """Return the rows' first and last adaptation step."""
    pattern = re.compile(rf"(?:{split})/{quantity}/step_(\d+)")
    names = {name for row in rows for name in row}
    found = sorted(int(match[1]) for match in map(pattern.fullmatch, names) if match)
    return sorted({found[0], found[-1]}) if found else []
