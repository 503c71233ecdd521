"""The two figures of the sinusoid benchmark: fits to one task, and errors over gradient steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from metarl.few_shot import adapt
from metarl.reporting.figures.style import TEXT, blank, draw_footer, label_axes, save

COLOURS = {"MAML": "#c2410c", "pretrained": "#1d4ed8"}
AMPLITUDE, PHASE = 3.5, 1.0
"""The sinusoid in the figure."""


def fits(agents: Mapping[str, tuple[nn.Module, float]], shots: Sequence[int], path: Path) -> None:
    """Draw each agent before and after 1 and 10 gradient steps on one sinusoid, as the paper's figure 2.

    Args:
        agents: by name, the network and its step size.
        shots: numbers of points to adapt to; a panel for each and each agent.
        path: PNG file.
    """
    figure, panels = blank("A new sinusoid", 2 * len(shots), 0.9)
    x = torch.linspace(-5, 5, 201).unsqueeze(-1)
    columns = [(name, count) for name in agents for count in shots]
    for axes, (name, count) in zip(panels, columns, strict=True):
        model, inner_lr = agents[name]
        inputs = 10 * torch.rand(count, 1, generator=torch.Generator().manual_seed(count)) - 5
        support = (inputs, AMPLITUDE * torch.sin(inputs - PHASE))
        axes.plot(x, AMPLITUDE * torch.sin(x - PHASE), color="#a8a29e", linewidth=2.2, label="truth")
        axes.plot(*support, "^", color=TEXT, markersize=5, label="points to adapt to", zorder=4)
        for steps, dashes in ((0, ":"), (1, "--"), (10, "-")):
            with torch.no_grad():
                y = adapt(model, support, inner_lr, steps)(x)
            axes.plot(
                x,
                y,
                dashes,
                color=COLOURS[name],
                linewidth=1.4,
                label="after 1 step" if steps == 1 else f"after {steps} steps",
            )
        label_axes(axes, "return")
        axes.set(
            title=f"{name}, K = {count}",
            ylabel="y" if axes is panels[0] else "",
            xlabel="x",
            ylim=(-5.5, 5.5),
        )
        axes.title.set(fontsize=9, color=TEXT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=5, frameon=False, fontsize=8, labelcolor=TEXT)
    save(figure, path)


def errors(rows: Sequence[Mapping[str, str | float]], seeds: int, path: Path) -> None:
    """Draw every agent's mean squared error over gradient steps, a panel for each number of points."""
    shots = sorted({row["shots"] for row in rows}, key=float)
    figure, panels = blank("Error on new sinusoids", len(shots), 0.9)
    for axes, count in zip(panels, shots, strict=True):
        for name, colour in COLOURS.items():
            chosen = [row for row in rows if row["shots"] == count and row["agent"] == name]
            steps, middle, low, high = (
                [float(row[column]) for row in chosen] for column in ("steps", "mean", "low", "high")
            )
            axes.plot(steps, middle, "o-", color=colour, markersize=4, linewidth=1.5, label=name)
            axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        label_axes(axes, "return")
        axes.set(
            title=f"K = {count} points", xlabel="Gradient steps", ylabel="Mean squared error", ylim=(0, None)
        )
        axes.title.set(fontsize=9, color=TEXT)
        axes.legend(frameon=False, fontsize=8.5, labelcolor=TEXT)
    note = f"Mean over {seeds} seeds and the test tasks, with 95 % intervals over both. "
    draw_footer(figure, note + "The pretrained network's step size is tuned for each number of steps.")
    save(figure, path)
