"""The four figures of an explanation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.analysis.summary import Explanation, Gain
from metarl.evaluation.statistics import Interval, Values
from metarl.reporting.figures.dots import dot, dot_sheet, draw_legend, name_rows
from metarl.reporting.figures.style import BLUE, FAINT, ORANGE, PALETTE
from metarl.text import stage_name
from metarl.types import Task

FAMILY_MARKERS = "osD^v"


def draw(explanation: Explanation, title: str) -> dict[str, Figure]:
    """Return the figures by their names."""
    drawn = {"layers": draw_layers, "map": draw_map, "effects": draw_effects}
    if explanation.similarities:
        drawn["representation"] = draw_representation
    return {name: function(explanation, title) for name, function in drawn.items()}


def draw_layers(explanation: Explanation, title: str) -> Figure:
    """Draw tensors' absolute and relative changes."""
    moved = explanation.layer_changes
    figure, panels = dot_sheet(title, _over(explanation), panels=2, rows=len(moved))
    absolute, relative = panels
    for place, each in enumerate(moved):
        dot(absolute, place, each.norm, BLUE)
        # no share of a norm of zero
        if each.relative is None:
            relative.annotate("was zero", (0, place), fontsize=7, color=FAINT, va="center")
        else:
            dot(relative, place, Interval(*(100 * value for value in each.relative)), BLUE)
    absolute.set_xlabel("Norm of the change")
    relative.set_xlabel("Norm of the change, % of the norm before")
    name_rows(panels, [each.name for each in moved])
    return figure


def draw_representation(explanation: Explanation, title: str) -> Figure:
    """Draw how similar each layer's activations are before and after adapting."""
    names = list(explanation.similarities)
    footer = f"{_over(explanation)} Small dots: single tasks. The last layer's activations are the actions."
    figure, panels = dot_sheet(title, footer, panels=2, rows=2 * len(names))
    found = explanation.similarities, explanation.shifts
    single = explanation.trace.similarities, explanation.trace.shifts
    for axes, intervals, values in zip(panels, found, single, strict=True):
        for place, name in enumerate(names):
            dots = values[name]
            # single tasks just below the mean's dot
            axes.plot(dots, np.full(len(dots), place + 0.22), "o", color=FAINT, markersize=2.5, alpha=0.5)
            dot(axes, place, intervals[name], BLUE)
    panels[0].set_xlabel("Linear CKA with before (1: the same shape)")
    panels[1].set_xlabel("Shift of the whole, over the spread")
    panels[1].set_xlim(left=min(0.0, panels[1].get_xlim()[0]))
    name_rows(panels, names)
    return figure


def draw_effects(explanation: Explanation, title: str) -> Figure:
    """Draw the gain of adapting each layer alone, and all others."""
    quantities = ["return"] + (["success"] if explanation.gain("all").of_success else [])
    footer = f"{_over(explanation)} Lines: nothing adapted (grey) and everything (black)."
    figure, panels = dot_sheet(title, footer, panels=len(quantities), rows=2 * len(explanation.layers))
    for axes, quantity in zip(panels, quantities, strict=True):
        axes.axvline(0, color=FAINT, linewidth=1)
        # the gain of adapting everything
        axes.axvline(_gain(explanation.gain("all"), quantity).mean, color="black", linewidth=1)
        for place, layer in enumerate(explanation.layers):
            alone, others = (explanation.gain(f"{which} {layer}") for which in ("only", "all but"))
            dot(axes, place - 0.15, _gain(alone, quantity), BLUE, label="it alone adapted")
            dot(axes, place + 0.15, _gain(others, quantity), ORANGE, filled=False, label="all but it adapted")
        axes.set_xlabel("Gain in return" if quantity == "return" else "Gain in success, points")
    name_rows(panels, explanation.layers)
    draw_legend(figure, panels[0])
    return figure


def draw_map(explanation: Explanation, title: str) -> Figure:
    """Draw tasks by adaptation vector, coloured."""
    placed, alike = explanation.task_map, explanation.likeness
    tasks = [explanation.trace.tasks[place] for place in placed.places]
    families = sorted({task.family for task in tasks})
    # colour by family, or by the parameters that vary most within one
    columns = [] if len(families) > 1 else varying(tasks)[:2]
    footer = (
        "Principal components of the directions of the adaptation vectors, "
        f"{100 * placed.shown:.0f} % of their variance; a dot is a held-out task."
    )
    # a number for what the eye sees in the plane
    if alike is not None:
        footer += f" Rank correlation of the distances {alike.correlation:.2f}, p = {alike.p_value:.2g}."
    figure, panels = dot_sheet(title, footer, panels=max(1, len(columns)), rows=15)
    for axes, column in zip(panels, columns, strict=False):
        values = [task.parameters[column] for task in tasks]
        x, y = placed.points.T
        dots = axes.scatter(x, y, c=values, cmap="viridis", s=28, edgecolors="white", linewidths=0.4)
        bar = figure.colorbar(dots, ax=axes, shrink=0.8)
        bar.set_label(f"task parameter {column}", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    if not columns:
        _draw_families(panels[0], tasks, placed.points, families)
    for axes in panels:
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("first component")
    panels[0].set_ylabel("second component")
    return figure


def varying(tasks: Sequence[Task]) -> list[int]:
    """Return tasks' differing parameters, widest spread first."""
    spread = np.std([task.parameters for task in tasks], axis=0)
    order = sorted(range(len(spread)), key=lambda column: -spread[column])
    return [column for column in order if spread[column] > 0]


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
        f"Means over {len(explanation.trace.tasks)} held-out tasks "
        f"{stage_name(explanation.adaptation_steps)}, with 95 % intervals over tasks."
    )
