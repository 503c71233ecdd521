"""Several agents on the same held-out tasks: one table and one figure, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from metarl.errors import require
from metarl.evaluation.record import scores_of
from metarl.evaluation.statistics import Interval
from metarl.evaluation.summary import Measures, Summary, summarize_seeds
from metarl.reporting.comparison import Contender, check_contenders, read_contender
from metarl.reporting.csv_files import average, interval_columns, write_csv
from metarl.reporting.figures.style import AFTER, BEFORE, TEXT, draw_footer, label_axes, save
from metarl.storage.metrics import Row, read_metrics
from metarl.storage.run_folder import sweep_runs
from metarl.training.runs import read_config

_TITLES = {"return": "Return per episode", "success": "Success rate"}


@dataclass(frozen=True)
class Standing:
    """What one agent reached."""

    agent: str
    """Its registered name."""
    seeds: int
    """Runs that it was trained in."""
    training: str
    """How much they had learned from, in words: agents of unequal budgets may stand side by side."""
    summary: Summary
    """Of all seeds."""
    of_seeds: dict[str, tuple[float, ...]]
    """Each seed's mean after the last adaptation step, by quantity."""

    def measures(self) -> dict[str, Measures]:
        """Return what was measured, by quantity."""
        found = {"return": self.summary.of_return, "success": self.summary.of_success}
        return {quantity: measures for quantity, measures in found.items() if measures is not None}


def write_league(sweeps: Sequence[Path], output: Path, title: str) -> list[Path]:
    """Put the sweeps of several agents beside each other, as they are after their last adaptation step.

    Writes ``agents.csv`` (mean, interquartile mean, gain and share made worse, with 95 % intervals over seeds
    and tasks, and each seed's mean), ``curves.csv`` (every agent's training and held-out numbers over
    environment steps: mean, lowest and highest seed) and ``agents.png``.

    Args:
        sweeps: folders that ``metarl sweep`` made, one for each agent.
        output: folder for the files; it is made if need be.
        title: of the figure.

    Returns:
        The files.

    Raises:
        MetarlError: if a folder is no sweep with a finished run, or the sweeps are not of the same tasks.
    """
    require(len(sweeps) >= 2, "the number of sweeps to compare must be 2 or more", len(sweeps))
    contenders = [read_contender(sweep) for sweep in sweeps]
    check_contenders(contenders)
    standings = sorted(map(stand, sweeps, contenders), key=lambda one: -one.summary.returns[-1].mean)
    output.mkdir(parents=True, exist_ok=True)
    files = [output / name for name in ("agents.csv", "curves.csv", "agents.png")]
    write_csv(files[0], [row_of(standing) for standing in standings])
    write_csv(files[1], [row for sweep in sweeps for row in curve_of(sweep)])
    save(draw_league(standings, title), files[2])
    return files


def stand(sweep: Path, contender: Contender) -> Standing:
    """Sum up a sweep."""
    agent = read_config(sweep_runs(sweep)[0]).agent.kind
    summary = summarize_seeds(contender.evaluations, np.random.default_rng(0))
    last = len(summary.returns) - 1
    found = {name: scores_of(contender.evaluations, last, name) for name in _TITLES}
    of_seeds = {
        name: tuple(scores.mean(axis=1).tolist()) for name, scores in found.items() if scores is not None
    }
    return Standing(agent, len(contender.evaluations), contender.training, summary, of_seeds)


def row_of(standing: Standing) -> dict[str, str | float]:
    """Return an agent's row of the table."""
    row: dict[str, str | float] = {
        "agent": standing.agent,
        "seeds": standing.seeds,
        "training": standing.training,
    }
    for quantity, measures in standing.measures().items():
        row |= interval_columns(f"{quantity}_before", measures.means[0])
        row |= interval_columns(f"{quantity}_after", measures.means[-1])
        row[f"{quantity}_after_by_seed"] = " ".join(f"{value:g}" for value in standing.of_seeds[quantity])
        row |= interval_columns(f"{quantity}_gain", measures.gains[-1])
        row |= interval_columns(f"{quantity}_iqm", measures.iqms[-1])
        row |= interval_columns(f"{quantity}_worse", measures.worse[-1])
    return row


def curve_of(sweep: Path) -> list[dict[str, str | float]]:
    """Return an agent's learning curve, a row for each iteration."""
    runs = sweep_runs(sweep)
    agent = read_config(runs[0]).agent.kind
    return [{"agent": agent, **_kept(row)} for row in average([read_metrics(run) for run in runs])]


def draw_league(standings: Sequence[Standing], title: str) -> Figure:
    """Draw every agent before and after adapting, the best on top."""
    quantities = list(standings[0].measures())
    layout = ConstrainedLayoutEngine(rect=(0.005, 0.05, 0.99, 0.86), wspace=0.04)
    figure = Figure(figsize=(8.0, 1.5 + 0.27 * len(standings)), facecolor="white", layout=layout)
    figure.text(0.012, 0.985, title, fontsize=11, fontweight="bold", color=TEXT, va="top")
    panels = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        label_axes(axes, quantity)
        axes.set_ylabel("")
        axes.set_xlabel(_TITLES[quantity])
        if quantity == "success":
            axes.set_xlim(-0.04, 1.04)
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _draw(
            axes, [one.measures()[quantity].means[0] for one in standings], BEFORE, "white", "before adapting"
        )
        _draw(axes, [one.measures()[quantity].means[-1] for one in standings], AFTER, AFTER, "after")
    panels[0].set_yticks(range(len(standings)), [standing.agent for standing in standings])
    panels[0].set_ylim(len(standings) - 0.5, -0.5)  # the best on top
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="upper right",
        ncols=2,
        frameon=False,
        fontsize=8.5,
        labelcolor=TEXT,
    )
    seeds = sorted({standing.seeds for standing in standings})
    draw_footer(
        figure,
        f"Means over {' to '.join(map(str, seeds))} seeds and all held-out tasks; bars: 95 % "
        "intervals over seeds and tasks.",
    )
    return figure


def _draw(axes: Axes, intervals: Sequence[Interval], colour: str, filling: str, label: str) -> None:
    means, lows, highs = np.asarray(intervals, dtype=np.float64).T
    axes.errorbar(
        means,
        np.arange(len(means)),
        xerr=np.maximum(0.0, [means - lows, highs - means]),
        fmt="o",
        markersize=5,
        color=colour,
        markerfacecolor=filling,
        elinewidth=1.2,
        capsize=2.5,
        label=label,
    )


def _kept(row: Row) -> Row:
    """Leave out what only says how busy the machine was, and each agent's own numbers."""
    return {
        name: value
        for name, value in row.items()
        if name in ("iteration", "env_steps") or name.startswith(("train/", "test/"))
    }
