"""The four figures of an explanation, each with its sentence above it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from metarl.analysis.summary import Explanation, Gain
from metarl.evaluation.statistics import Interval, Values
from metarl.reporting.figures.style import PALETTE, TEXT
from metarl.text import stage_name
from metarl.types import Task

BLUE, ORANGE, FAINT, GRID = "#0072b2", "#d55e00", "#7a7a7a", "#e6e6e6"
"""Okabe and Ito's blue and vermilion (2008), which colour-blind people tell apart."""
FAMILY_MARKERS = "osD^v"
_P_IS = "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
_WIDTH, _DPI, _LINE = 8.0, 150, 0.17  # inches, dots an inch, inches of a line of text


def draw(explanation: Explanation, said: Mapping[str, str], title: str) -> dict[str, Figure]:
    """Return the figures by their names, with a sentence for each."""
    drawn = {"layers": draw_layers, "map": draw_map, "effects": draw_effects}
    if explanation.similarities:
        drawn["representation"] = draw_representation
    return {name: function(explanation, said[name], title) for name, function in drawn.items()}


def draw_layers(explanation: Explanation, sentence: str, title: str) -> Figure:
    """Draw how far each tensor of parameters moved, absolute and relative to its size."""
    moved = explanation.moved
    figure, (absolute, relative) = sheet(
        title, sentence, panels=2, rows=len(moved), footer=_over(explanation)
    )
    for place, each in enumerate(moved):
        dot(absolute, place, each.norm, BLUE)
        if each.relative is None:
            relative.annotate("was zero", (0, place), fontsize=7, color=FAINT, va="center")
        else:
            dot(relative, place, Interval(*(100 * value for value in each.relative)), BLUE)
    absolute.set_xlabel("Norm of the change", fontsize=9)
    relative.set_xlabel("Norm of the change, % of the norm before", fontsize=9)
    _rows(absolute, [each.name for each in moved])
    return figure


def draw_representation(explanation: Explanation, sentence: str, title: str) -> Figure:
    """Draw how alike each layer's activations are before and after adapting, on each task and on average."""
    names = list(explanation.similarities)
    footer = f"{_over(explanation)} Small dots: single tasks. The last layer's activations are the actions."
    figure, panels = sheet(title, sentence, panels=2, rows=2 * len(names), footer=footer)
    found = explanation.similarities, explanation.shifts
    single = explanation.inside.similarities, explanation.inside.shifts
    for axes, intervals, values in zip(panels, found, single, strict=True):
        for place, name in enumerate(names):
            dots = values[name]
            axes.plot(dots, np.full(len(dots), place + 0.22), "o", color=FAINT, markersize=2.5, alpha=0.5)
            dot(axes, place, intervals[name], BLUE)
    panels[0].set_xlabel("Linear CKA with before (1: the same shape)", fontsize=9)
    panels[1].set_xlabel("Shift of the whole, over the spread", fontsize=9)
    panels[1].set_xlim(left=min(0.0, panels[1].get_xlim()[0]))
    _rows(panels[0], names)
    return figure


def draw_effects(explanation: Explanation, sentence: str, title: str) -> Figure:
    """Draw what each layer gains alone, and what the others gain without it."""
    quantities = ["return"] + (["success"] if explanation.gain("all").of_success else [])
    footer = f"{_over(explanation)} Lines: nothing adapted (grey) and everything (black)."
    rows = 2 * len(explanation.layers)
    figure, panels = sheet(title, sentence, panels=len(quantities), rows=rows, footer=footer)
    for axes, quantity in zip(panels, quantities, strict=True):
        axes.axvline(0, color=FAINT, linewidth=1)
        axes.axvline(_gain(explanation.gain("all"), quantity).mean, color="black", linewidth=1)
        for place, layer in enumerate(explanation.layers):
            dot(axes, place - 0.15, _gain(explanation.gain(f"only {layer}"), quantity), BLUE)
            dot(
                axes,
                place + 0.15,
                _gain(explanation.gain(f"all but {layer}"), quantity),
                ORANGE,
                filled=False,
            )
        axes.set_xlabel(
            {"return": "Gain in return", "success": "Gain in success, points"}[quantity], fontsize=9
        )
    _rows(panels[0], explanation.layers)
    handles = [panels[0].plot([], [], "o", color=BLUE, markersize=5, label="it alone adapted")[0]]
    handles += panels[0].plot(
        [], [], "o", color=ORANGE, markersize=5, markerfacecolor="white", label="all but it adapted"
    )
    figure.legend(handles=handles, frameon=False, fontsize=8, labelcolor=TEXT, loc="upper right", ncols=2)
    return figure


def draw_map(explanation: Explanation, sentence: str, title: str) -> Figure:
    """Draw the tasks where their adaptation vectors put them, coloured by family or by what they ask for."""
    placed = explanation.task_map
    tasks = [explanation.inside.tasks[place] for place in placed.places]
    families = sorted({task.family for task in tasks})
    columns = [] if len(families) > 1 else varying(tasks)[:2]
    footer = "Principal components of the directions of the adaptation vectors; a dot is a held-out task."
    figure, panels = sheet(title, sentence, panels=max(1, len(columns)), rows=15, footer=footer)
    for axes, column in zip(panels, columns, strict=False):
        values = [task.parameters[column] for task in tasks]
        dots = axes.scatter(
            placed.points[:, 0],
            placed.points[:, 1],
            c=values,
            cmap="viridis",
            s=28,
            edgecolors="white",
            linewidths=0.4,
        )
        bar = figure.colorbar(dots, ax=axes, shrink=0.8)
        bar.set_label(f"task parameter {column}", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    if not columns:
        _draw_families(panels[0], tasks, placed.points, families)
    for axes in panels:
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("first component", fontsize=9)
    panels[0].set_ylabel("second component", fontsize=9)
    return figure


def varying(tasks: Sequence[Task]) -> list[int]:
    """Return which parameters differ among tasks of one family, those that spread most first."""
    spread = np.std([task.parameters for task in tasks], axis=0)
    order = sorted(range(len(spread)), key=lambda column: -spread[column])
    return [column for column in order if spread[column] > 0]


def sheet(title: str, sentence: str, *, panels: int, rows: int, footer: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title, a sentence, panels that have so many rows, and small print."""
    lines, small = textwrap.wrap(sentence.replace("p = ", _P_IS), 122), textwrap.wrap(footer, 150)
    above, below = 0.42 + _LINE * len(lines), 0.05 + 0.13 * len(small)
    height = above + below + 0.7 + 0.2 * max(rows, 6)
    layout = ConstrainedLayoutEngine(
        rect=(0.005, below / height, 0.99, 1 - (above + below) / height), wspace=0.06
    )
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white", layout=layout)
    figure.text(0.012, 1 - 0.09 / height, title, fontsize=11, fontweight="bold", color=TEXT, va="top")
    figure.text(0.012, 1 - 0.34 / height, "\n".join(lines), fontsize=8.5, color=TEXT, va="top")
    figure.text(0.012, 0.04 / height, "\n".join(small), fontsize=7, color=FAINT, va="bottom")
    found = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in found:
        axes.tick_params(labelsize=8, colors=FAINT, labelcolor=TEXT, length=3)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        for side, spine in axes.spines.items():
            spine.set(visible=side in ("left", "bottom"), color=FAINT, linewidth=0.8)
    return figure, found


def dot(axes: Axes, place: float, interval: Interval, colour: str, filled: bool = True) -> None:
    """Draw a number with its interval, along x."""
    axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.5)
    axes.plot(
        [interval.mean],
        [place],
        "o",
        color=colour,
        markersize=5,
        markerfacecolor=colour if filled else "white",
    )


def _rows(first: Axes, names: Sequence[str]) -> None:
    """Name the rows of all panels, the first on top."""
    figure = first.get_figure()
    assert figure is not None
    for axes in figure.axes:
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), names if axes is first else [""] * len(names))


def _draw_families(axes: Axes, tasks: Sequence[Task], points: Values, families: Sequence[str]) -> None:
    for index, family in enumerate(families):
        chosen = [place for place, task in enumerate(tasks) if task.family == family]
        colour = PALETTE[index % len(PALETTE)]
        marker = FAMILY_MARKERS[index // len(PALETTE) % len(FAMILY_MARKERS)]
        axes.plot(*points[chosen].T, marker, color=colour, markersize=5, label=family, alpha=0.8)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _gain(gain: Gain, quantity: str) -> Interval:
    if quantity == "return" or gain.of_success is None:
        return gain.of_return
    return Interval(*(100 * value for value in gain.of_success))


def _over(explanation: Explanation) -> str:
    return (
        f"Means over {len(explanation.inside.tasks)} held-out tasks "
        f"{stage_name(explanation.adaptation_steps)}, with 95 % intervals over tasks."
    )
