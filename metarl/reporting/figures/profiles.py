"""Performance profiles as CSV and figure.

A profile says which share of seeds and tasks scores more than each threshold. One above another everywhere
is better by every measure of scores (Agarwal et al. 2021, arXiv 2108.13264, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from metarl.evaluation.record import Evaluation, scores_of
from metarl.evaluation.statistics import Profile, performance_profile
from metarl.reporting.figures.curves import Line, draw_line
from metarl.reporting.figures.style import LABELS, MANY, TEXT, blank, draw_footer, label_axes, save
from metarl.storage.files import write_rows

Stage: TypeAlias = tuple[Sequence[Evaluation], int]
"""Evaluations of seeds on the same tasks, and a number of adaptation steps."""

_THRESHOLDS = 101


def write_profiles(folder: Path, stages: Mapping[str, Stage], title: str) -> list[Path]:
    """Write ``profile.csv`` and ``profile.png``; return the files."""
    profiles = {name: found for name in LABELS if (found := profiles_of(stages, name))}
    files = [folder / "profile.csv", folder / "profile.png"]
    table: list[list[str | float]] = [["quantity", "stage", "threshold", "share", "share_low", "share_high"]]
    for quantity, found in profiles.items():
        for name, profile in found.items():
            rows = zip(profile.thresholds.tolist(), profile.shares, strict=True)
            table += [[quantity, name, threshold, *share] for threshold, share in rows]
    write_rows(files[0], table)
    save(draw_profiles(profiles, title), files[1])
    return files


def profiles_of(stages: Mapping[str, Stage], quantity: str) -> dict[str, Profile]:
    """Return profiles over common thresholds; none unless all stages have the quantity."""
    scores = {name: scores_of(*stage, quantity) for name, stage in stages.items()}
    known = {name: values for name, values in scores.items() if values is not None}
    if len(known) < len(scores):
        return {}
    low = min(0.0 if quantity == "success" else float(values.min()) for values in known.values())
    high = max(1.0 if quantity == "success" else float(values.max()) for values in known.values())
    thresholds, rng = np.linspace(low, high, _THRESHOLDS), np.random.default_rng(0)
    return {name: performance_profile(values, thresholds, rng) for name, values in known.items()}


def draw_profiles(profiles: Mapping[str, Mapping[str, Profile]], title: str) -> Figure:
    """Draw profiles with pointwise intervals."""
    figure, panels = blank(title, len(profiles), top=0.91)
    for axes, (quantity, found) in zip(panels, profiles.items(), strict=True):
        for place, (name, profile) in enumerate(found.items()):
            # columns of [mean, low, high] at each threshold
            mean, low, high = np.asarray(profile.shares, np.float64).T
            colour = MANY[place % len(MANY)]
            draw_line(axes, Line(name, profile.thresholds, mean, low, high, colour, band=True))
        label_axes(axes, quantity)
        axes.set_xlabel(f"{LABELS[quantity]}, more than")
        axes.set_ylabel("Share of seeds and tasks")
        axes.set_ylim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        if quantity == "success":
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    panels[0].legend(frameon=False, fontsize=8, labelcolor=TEXT, loc="upper right")
    draw_footer(figure, "Shaded: pointwise 95 % intervals over seeds and tasks.")
    return figure
