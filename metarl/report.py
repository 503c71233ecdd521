"""The figures of a run: its learning curve, and return and success after each adaptation step.

Every figure is drawn from plain numbers onto a :class:`matplotlib.figure.Figure` of its own; nothing here
touches the state that ``pyplot`` keeps. Blue and orange are those of Okabe and Ito (2008), which colour-blind
people tell apart; line style and filling say the same once more.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from metarl.errors import MetarlError
from metarl.files import write_whole
from metarl.metrics import Row
from metarl.statistics import Interval
from metarl.wording import stage_name

Array = npt.NDArray[np.float64]

_DPI = 150
_WIDTH = 8.0  # inches: 1200 pixels
BEFORE, AFTER = "#d55e00", "#0072b2"
"""Colours of what was measured before adapting and after."""
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of what has no order, Okabe and Ito's."""
TEXT, _FAINT, _GRID = "#262626", "#7a7a7a", "#e6e6e6"
_INTERVALS = "Bars: 95 % intervals of the mean over"
_LABELS = {"return": "Return per episode", "success": "Success rate"}


@dataclass(frozen=True)
class Stage:
    """A number of adaptation steps, and how it is drawn."""

    steps: int
    label: str
    colour: str
    dashes: Literal["-", "--"]
    filling: str


def learning_curve(rows: Sequence[Row], path: Path, title: str, footer: str = "") -> None:
    """Write the learning curve of a run as a PNG.

    Args:
        rows: the metrics, as :func:`metarl.metrics.read_metrics` returns them.
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


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of 150 dots per inch.

    Raises:
        MetarlError: if the file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_whole(path, picture.getvalue())


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


def draw_footer(figure: Figure, text: str) -> None:
    """Write a line of small print below the panels."""
    figure.text(0.012, 0.018, text, fontsize=7, color=_FAINT)
