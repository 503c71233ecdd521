"""The figures of the task recognition benchmark: accuracies as bars, and embeddings in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from metarl.few_shot.classification import prototypes
from metarl.reporting.figures.style import TEXT, blank, draw_footer, label_axes, save

COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#a16207", "#7e22ce")
AGENTS = {"prototypical": "#c2410c", "matching": "#1d4ed8", "nearest raw trajectory": "#a8a29e"}


def accuracies(rows: Sequence[Mapping[str, str | float]], seeds: int, ways: int, path: Path) -> None:
    """Draw a panel for each view, bars for each number of shots; ``ways`` are told apart."""
    views = list(dict.fromkeys(str(row["view"]) for row in rows))
    shots = sorted({int(row["shots"]) for row in rows})
    figure, panels = blank("Five held-out families", len(views), 0.9)
    for axes, view in zip(panels, views, strict=True):
        for place, (agent, colour) in enumerate(AGENTS.items()):
            chosen = [row for row in rows if row["view"] == view and row["agent"] == agent]
            chosen.sort(key=lambda row: shots.index(int(row["shots"])))
            middle, low, high = ([float(row[name]) for row in chosen] for name in ("mean", "low", "high"))
            x = [group + 0.26 * (place - 1) for group in range(len(shots))]
            below = [mean - least for mean, least in zip(middle, low, strict=True)]
            above = [most - mean for mean, most in zip(middle, high, strict=True)]
            axes.bar(x, middle, 0.24, color=colour, label=agent)
            axes.errorbar(x, middle, (below, above), fmt="none", ecolor=TEXT, elinewidth=1, capsize=2)
        axes.axhline(1 / ways, color=TEXT, linewidth=0.8, linestyle=":", label="chance")
        label_axes(axes, "success")
        axes.set_xticks(range(len(shots)), [f"{count}-shot" for count in shots])
        axes.set(title=f"Trajectories: {view}", ylabel="Accuracy", ylim=(0, 1.02))
        axes.title.set(fontsize=9, color=TEXT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=4, frameon=False, fontsize=8, labelcolor=TEXT)
    draw_footer(figure, f"Mean over {seeds} seeds and the test episodes, with 95 % intervals over both.")
    save(figure, path)


def projections(views: Mapping[str, Mapping[str, torch.Tensor]], path: Path) -> None:
    """Draw the embeddings ``[n, E]`` of every family along their first two principal components."""
    figure, panels = blank("Held-out families as an encoder sees them", len(views), 0.86)
    for axes, (view, families) in zip(panels, views.items(), strict=True):
        every = torch.cat(list(families.values()))
        middle = every.mean(dim=0)
        directions = torch.linalg.svd(every - middle, full_matrices=False).Vh[:2].T
        for (family, embedded), colour in zip(families.items(), COLOURS, strict=True):
            points = (embedded - middle) @ directions
            x, y = points.T
            axes.scatter(x, y, s=9, color=colour, alpha=0.55, linewidths=0)
            centre = prototypes(embedded - middle) @ directions
            axes.plot(*centre, "X", color=colour, markersize=10, markeredgecolor="white", label=family)
        label_axes(axes, "return")
        axes.set(title=f"Trajectories: {view}", xlabel="First component", ylabel="Second component")
        axes.title.set(fontsize=9, color=TEXT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.003, 0.935), ncols=5, frameon=False, fontsize=8
    )
    draw_footer(
        figure, "Dots: one trajectory each. Crosses: prototypes, the means. Prototypical network, first seed."
    )
    save(figure, path)
