"""Learning and adaptation curves of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from metarl.errors import MetarlError
from metarl.evaluation.statistics import Interval
from metarl.reporting.figures.curves import Line, draw_line, interval_line, measured_steps, series
from metarl.reporting.figures.style import (
    AFTER,
    BEFORE,
    FAINT,
    LABELS,
    TEXT,
    blank,
    draw_footer,
    draw_legend_above,
    label_axes,
    label_env_steps,
)
from metarl.storage.metrics import Row
from metarl.text import stage_name

_INTERVALS = "Bars: 95 % intervals of the mean over"


def draw_learning_curve(
    rows: Sequence[Row], title: str = "", footer: str = "", trial: str = "parallel"
) -> Figure:
    """Draw training and held-out performance over environment steps.

    ``rows`` are those of :func:`metarl.storage.metrics.read_metrics`; ``footer`` is the meaning of lines and
    bars, if not those of one run. Steps of a sequential agent's ``trial`` are episodes.

    Raises:
        MetarlError: if the rows hold no return.
    """
    quantities = [name for name in LABELS if measured_steps(rows, name)]
    if "return" not in quantities:
        raise MetarlError("A learning curve needs metrics with a return, but there are none yet.")
    figure, panels = blank(title, len(quantities), top=0.85)
    for axes, quantity in zip(panels, quantities, strict=True):
        for line in _lines(rows, quantity):
            draw_line(axes, line)
        label_axes(axes, quantity)
        label_env_steps(axes, rows)
        # a second axis along the top: wall-clock time
        _label_clock(axes, rows)
    held_out = any(name.startswith("test/") for row in rows for name in row)
    _draw_legend(figure, measured_steps(rows, "return"), held_out, trial)
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
    """Draw held-out return and success over adaptation steps.

    ``label`` is that of the x axis; the intervals, one for each step, are over tasks and ``seeds``.
    """
    curves = {"return": returns} | ({} if successes is None else {"success": successes})
    for quantity, intervals in curves.items():
        # every stage needs an interval
        if len(intervals) != len(steps) or not steps:
            raise MetarlError(
                f"An adaptation curve needs one {quantity} for each number of steps, "
                f"but there are {len(intervals)} for {len(steps)}."
            )
    figure, panels = blank(title, len(curves), top=0.91)
    for axes, (quantity, intervals) in zip(panels, curves.items(), strict=True):
        draw_line(axes, interval_line(quantity, steps, intervals))
        _write_means(axes, steps, intervals, quantity)
        label_axes(axes, quantity)
        axes.set_xlabel(label)
    draw_footer(figure, f"{_INTERVALS} {'seeds and ' if seeds > 1 else ''}held-out tasks.")
    return figure


def _lines(rows: Sequence[Row], quantity: str) -> list[Line]:
    """Return a quantity's training and held-out lines, before and after adapting."""
    lines = []
    stages = measured_steps(rows, quantity)
    for step in stages:
        colour, dashed = _look(step, stages)
        x, mean = series(rows, "env_steps", f"train/{quantity}/step_{step}")
        lines.append(Line(stage_name(step), x, mean, colour=colour, dashed=dashed))
        name = f"test/{quantity}/step_{step}"
        x, mean, low, high = series(rows, "env_steps", name, f"{name}/low", f"{name}/high")
        if len(x):
            lines.append(Line(stage_name(step), x, mean, low, high, colour, dashed, joined=False))
    return lines


def _look(step: int, stages: Sequence[int]) -> tuple[str, bool]:
    return (BEFORE, True) if step == stages[0] else (AFTER, False)


def _label_clock(axes: Axes, rows: Sequence[Row]) -> None:
    """Label wall-clock time, taken to be proportional to steps, along the top."""
    steps, seconds = series(rows, "env_steps", "time/elapsed")
    if not len(steps) or steps[-1] <= 0 or seconds[-1] <= 0:
        return
    units = ((3600.0, "hours"), (60.0, "minutes"))
    length, unit = next((pair for pair in units if seconds[-1] >= 2 * pair[0]), (1.0, "seconds"))
    speed = steps[-1] / (seconds[-1] / length)
    clock = axes.secondary_xaxis("top", functions=(lambda count: count / speed, lambda time: time * speed))
    clock.set_xlabel(f"Wall-clock ({unit})", fontsize=8, color=FAINT)
    clock.tick_params(labelsize=7, colors=FAINT, labelcolor=FAINT, length=3)
    clock.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    clock.spines["top"].set(color=FAINT, linewidth=0.8)


def _write_means(axes: Axes, steps: Sequence[int], intervals: Sequence[Interval], quantity: str) -> None:
    """Write each mean beside its point."""
    means = [interval.mean for interval in intervals]
    largest = max(map(abs, means))
    # three significant digits of the largest mean
    digits = max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 0
    labelled = apart(steps)
    for step, mean in zip(steps, means, strict=True):
        if step not in labelled:
            continue
        near_axis = quantity == "success" and mean < 0.08
        text = f"{mean:.0%}".replace("%", " %") if quantity == "success" else f"{mean:,.{digits}f}"
        axes.annotate(
            # a minus sign, not a hyphen
            text.replace("-", "−"),
            (step, mean),
            xytext=(7, 5 if near_axis else -11),
            textcoords="offset points",
            fontsize=8,
            color=TEXT,
        )
    axes.set_xticks(labelled)
    axes.set_xticks(list(steps), minor=True)
    span = max(steps) - min(steps)
    axes.set_xlim(min(steps) - max(0.35, 0.04 * span), max(steps) + max(0.6, 0.12 * span))
    axes.margins(y=0.12)


def apart(steps: Sequence[int], share: float = 0.12) -> list[int]:
    """Return ascending steps that are ``share`` of the axis apart, the first and the last among them."""
    room = share * (steps[-1] - steps[0])
    chosen = list(steps[:1])
    for step in steps[1:-1]:
        if min(step - chosen[-1], steps[-1] - step) >= room:
            chosen.append(step)
    return chosen + list(steps[1:][-1:])


def _draw_legend(figure: Figure, stages: Sequence[int], held_out: bool, trial: str) -> None:
    handles = []
    for step in stages:
        colour, dashed = _look(step, stages)
        label = stage_name(step, trial)
        handles.append(Line2D([], [], color=colour, label=label, linewidth=1.6))
        handles[-1].set_linestyle("--" if dashed else "-")
    if held_out:
        handles += [
            Line2D([], [], linestyle="-", color=FAINT, label="training tasks", linewidth=1.6),
            Line2D([], [], linestyle="", marker="o", color=FAINT, label="held-out tasks", markersize=5),
        ]
    draw_legend_above(figure, handles, len(handles), fontsize=8.5, handlelength=1.8, columnspacing=1.6)
