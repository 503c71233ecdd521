"""Figure of the mean reward of each pull in a bandit's episode, by strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metarl.envs.toy.bandits import BanditTasks
from metarl.evaluation.statistics import Values
from metarl.reporting.figures.style import PALETTE, TEXT, blank, draw_footer, label_axes, save
from metarl.types import Task

TRAINED = "trained"
"""Stands for the trained agent's kind."""
STYLES = {
    "Bayes-optimal": (TEXT, "--"),
    "finite-horizon Gittins": ("#737373", "-."),
    TRAINED: (PALETTE[0], "-"),
    f"{TRAINED}, most likely arm": (PALETTE[5], "-"),
    "Thompson sampling": (PALETTE[1], "-"),
    "greedy": (PALETTE[2], "-"),
    "UCB1": (PALETTE[3], "-"),
    "random": ("#a3a3a3", "-"),
}
"""Colour and dashes of the strategies drawn."""
_SMOOTHED = 5
"""Pulls in each mean of a long episode."""


def draw(
    by_pull: Mapping[str, Values],
    suite: BanditTasks,
    tasks: Sequence[Task],
    trained: tuple[str, int],
    path: Path,
) -> None:
    """Draw the mean reward ``[T]`` of each pull, by strategy.

    Args:
        trained: kind of the trained agent, and its number of seeds.
    """
    kind, seeds = trained
    title = f"Bandits of {suite.arms} arms, {suite.horizon} pulls: mean reward by pull"
    figure, (axes,) = blank(title, 1, 0.9)
    best_arm = float(np.mean([max(task.parameters) for task in tasks]))
    width = 1 if suite.horizon <= 20 else _SMOOTHED
    pulls = np.arange(suite.horizon)
    groups = [pulls[start : start + width] for start in range(0, suite.horizon, width)]
    axes.axhline(best_arm, color="#d4d4d4", linewidth=1.2, label="knows the best arm")
    for style, (colour, dashes) in STYLES.items():
        name = style.replace(TRAINED, kind)
        if name in by_pull:
            x, y = zip(*((group.mean() + 1, by_pull[name][group].mean()) for group in groups), strict=True)
            axes.plot(x, y, dashes, color=colour, linewidth=1.5, label=name)
    label_axes(axes, "return")
    axes.set(xlabel="Pull", ylabel="Reward of a pull", xlim=(0, suite.horizon + 1))
    axes.legend(frameon=False, fontsize=8, labelcolor=TEXT, loc="center left", bbox_to_anchor=(1.0, 0.5))
    runs = f"; {kind}: mean of {seeds} seeds" if seeds else ""
    means = f", means of {width} pulls" if width > 1 else ""
    draw_footer(figure, f"The same {len(tasks):,} bandits, new to all, and the same luck{runs}{means}.")
    save(figure, path)
