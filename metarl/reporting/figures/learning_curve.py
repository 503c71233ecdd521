"""The figures of a run: its learning curve, and return and success after each adaptation step.

Every figure is drawn from plain numbers onto a :class:`matplotlib.figure.Figure` of its own; nothing here
touches the state that ``pyplot`` keeps. Blue and orange are those of Okabe and Ito (2008), which colour-blind
people tell apart; line style and filling say the same once more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metarl.errors import MetarlError
from metarl.evaluation.statistics import Interval
from metarl.reporting.figures.style import (
    _FAINT,
    _LABELS,
    AFTER,
    TEXT,
    Array,
    Stage,
    _label_clock,
    _series,
    blank,
    draw_footer,
    label_axes,
    label_env_steps,
    save,
    stages_of,
)
from metarl.storage.metrics import Row

_INTERVALS = "Bars: 95 % intervals of the mean over"


def learning_curve(rows: Sequence[Row], path: Path, title: str, footer: str = "") -> None:
    """Write the learning curve of a run as a PNG.

    Args:
        rows: the metrics, as :func:`metarl.storage.metrics.read_metrics` returns them.
        path: the file.
        title: what stands above it.
        footer: what lines and bars are, if not those of one run.

    Raises:
        MetarlError: if the rows hold no return, or the file cannot be written.
    """
    save(draw_learning_curve(rows, title, footer), path)


def adaptation_curve(
    steps: Sequence[int],
    returns: Sequence[Interval],
    successes: Sequence[Interval] | None,
    path: Path,
    title: str,
    label: str = "Adaptation steps",
    *,
    seeds: int = 1,
) -> None:
    """Write return and success after each number of adaptation steps as a PNG.

    Args:
        steps: numbers of adaptation steps, ``0, 1, 2, …``.
        returns: of each, the mean return over held-out tasks.
        successes: of each, the share of episodes that succeeded; None where the suite does not say.
        path: the file.
        title: what stands above it.
        label: what the numbers count, if not adaptation steps.
        seeds: how many the intervals are over, besides the tasks.

    Raises:
        MetarlError: if there is not one interval for each number of steps, or the file cannot be written.
    """
    save(draw_adaptation_curve(steps, returns, successes, title, label, seeds=seeds), path)


def draw_learning_curve(rows: Sequence[Row], title: str = "", footer: str = "") -> Figure:
    """Draw training and held-out performance over environment steps, before and after adaptation.

    Raises:
        MetarlError: if the rows hold no return.
    """
    quantities = [name for name in _LABELS if stages_of(rows, name)]
    if "return" not in quantities:
        raise MetarlError("A learning curve needs metrics with a return, but there are none yet.")
    figure, panels = blank(title, len(quantities), top=0.85)
    for axes, quantity in zip(panels, quantities, strict=True):
        for stage in stages_of(rows, quantity):
            _draw_training(axes, rows, quantity, stage)
            _draw_held_out(axes, rows, quantity, stage)
        label_axes(axes, quantity)
        label_env_steps(axes, rows)
        _label_clock(axes, rows)
    held_out = any(name.startswith("test/") for row in rows for name in row)
    _draw_legend(figure, stages_of(rows, "return"), held_out)
    one_run = f"Lines: mean over the training tasks.{f' {_INTERVALS} held-out tasks.' if held_out else ''}"
    draw_footer(figure, footer or one_run)
    return figure


def draw_adaptation_curve(
    steps: Sequence[int],
    returns: Sequence[Interval],
    successes: Sequence[Interval] | None,
    title: str = "",
    label: str = "Adaptation steps",
    *,
    seeds: int = 1,
) -> Figure:
    """Draw return and success on held-out tasks after each number of adaptation steps.

    Raises:
        MetarlError: if there is not one interval for each number of steps.
    """
    curves = {"return": returns} | ({} if successes is None else {"success": successes})
    for quantity, intervals in curves.items():
        if len(intervals) != len(steps) or not steps:
            raise MetarlError(
                f"An adaptation curve needs one {quantity} for each number of steps, "
                f"but there are {len(intervals)} for {len(steps)}."
            )
    figure, panels = blank(title, len(curves), top=0.91)
    for axes, (quantity, intervals) in zip(panels, curves.items(), strict=True):
        _draw_adaptation(axes, steps, intervals, quantity)
        label_axes(axes, quantity)
        axes.set_xlabel(label)
    draw_footer(figure, f"{_INTERVALS} {'seeds and ' if seeds > 1 else ''}held-out tasks.")
    return figure


def _draw_training(axes: Axes, rows: Sequence[Row], quantity: str, stage: Stage) -> None:
    steps, values = _series(rows, "env_steps", f"train/{quantity}/step_{stage.steps}")
    marker = "s" if len(steps) == 1 else ""  # a line through one point would not be seen
    axes.plot(
        steps,
        values,
        stage.dashes,
        marker=marker,
        markersize=5,
        color=stage.colour,
        linewidth=1.4,
        alpha=0.85,
    )


def _draw_held_out(axes: Axes, rows: Sequence[Row], quantity: str, stage: Stage) -> None:
    name = f"test/{quantity}/step_{stage.steps}"
    steps, means, lows, highs = _series(rows, "env_steps", name, f"{name}/low", f"{name}/high")
    if len(steps):
        _draw_intervals(axes, steps, [Interval(*row) for row in zip(means, lows, highs, strict=True)], stage)


def _draw_intervals(axes: Axes, x: Array, intervals: Sequence[Interval], stage: Stage) -> None:
    means, lows, highs = np.asarray(intervals, dtype=np.float64).T
    axes.errorbar(
        x,
        means,
        # Rounding may put an end of an interval of no width on the wrong side of the mean.
        yerr=np.maximum(0.0, [means - lows, highs - means]),
        fmt="o",
        markersize=5,
        color=stage.colour,
        markerfacecolor=stage.filling,
        markeredgewidth=1.2,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )


def _draw_adaptation(axes: Axes, steps: Sequence[int], intervals: Sequence[Interval], quantity: str) -> None:
    stage = Stage(0, "", AFTER, "-", AFTER)
    x = np.asarray(steps, dtype=np.float64)
    means = [interval.mean for interval in intervals]
    axes.plot(x, means, color=stage.colour, linewidth=1.2, alpha=0.5)
    _draw_intervals(axes, x, intervals, stage)
    digits = _decimals(means)
    for step, mean in zip(steps, means, strict=True):
        label = f"{mean:.0%}".replace("%", " %") if quantity == "success" else f"{mean:,.{digits}f}"
        axes.annotate(
            label.replace("-", "−"),
            (step, mean),
            xytext=(7, -11),
            textcoords="offset points",
            fontsize=8,
            color=TEXT,
        )
    axes.set_xticks(list(steps))
    axes.set_xlim(min(steps) - 0.35, max(steps) + 0.6)
    axes.margins(y=0.12)


def _decimals(values: Sequence[float]) -> int:
    """Return the decimals that show the largest value to three digits."""
    largest = max(abs(value) for value in values)
    return max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 0


def _draw_legend(figure: Figure, stages: Sequence[Stage], held_out: bool) -> None:
    handles = [
        Line2D([], [], linestyle=s.dashes, color=s.colour, label=s.label, linewidth=1.6) for s in stages
    ]
    if held_out:
        handles += [
            Line2D([], [], linestyle="-", color=_FAINT, label="training tasks", linewidth=1.6),
            Line2D([], [], linestyle="", marker="o", color=_FAINT, label="held-out tasks", markersize=5),
        ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.003, 0.935),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        labelcolor=TEXT,
        handlelength=1.8,
        columnspacing=1.6,
    )
