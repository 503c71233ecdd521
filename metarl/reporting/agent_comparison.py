"""Compare several agents on the same held-out tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from metarl.evaluation.record import scores_of
from metarl.evaluation.summary import Summary, summarize_ends, summarize_seeds
from metarl.reporting.comparison import EvaluatedRun
from metarl.reporting.csv_files import interval_columns, write_csv
from metarl.reporting.figures.dots import dot, dot_sheet, draw_legend, label_quantity, name_rows
from metarl.reporting.figures.style import AFTER, BEFORE, save
from metarl.text import count, letter


@dataclass(frozen=True)
class AgentResult:
    """Scores of one agent."""

    label: str
    run: EvaluatedRun
    summary: Summary
    of_seeds: dict[str, tuple[float, ...]]  # each seed's mean after adapting, by quantity


def write_agents(runs: Sequence[EvaluatedRun], output: Path, title: str) -> list[Path]:
    """Write ``agents.csv`` and ``agents.png`` of comparable runs.

    They show results after the last adaptation step: mean, interquartile mean, gain and share made worse,
    with 95 % intervals over seeds and tasks, and each seed's mean. Returned are the files.
    """
    results = sorted(map(summarize_run, labels_of(runs), runs), key=lambda one: -one.summary.returns[-1].mean)
    files = [output / name for name in ("agents.csv", "agents.png")]
    write_csv(files[0], [row_of(result) for result in results])
    save(draw_agents(results, title), files[1])
    return files


def labels_of(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Return the agents' names, or those of the folders where agents repeat."""
    for names in ([run.agent for run in runs], [run.name for run in runs]):
        if len(set(names)) == len(runs):
            return names
    return [f"{letter(place)}: {run.name}" for place, run in enumerate(runs)]


def summarize_run(label: str, run: EvaluatedRun) -> AgentResult:
    """Summarize the evaluations of a run or sweep."""
    summary = summarize_seeds(run.evaluations, np.random.default_rng(0))
    last = len(summary.returns) - 1
    found = {name: scores_of(run.evaluations, last, name) for name in ("return", "success")}
    of_seeds = {
        name: tuple(scores.mean(axis=1).tolist()) for name, scores in found.items() if scores is not None
    }
    return AgentResult(label, run, summary, of_seeds)


def row_of(result: AgentResult) -> dict[str, str | float]:
    """Return an agent's row of the table."""
    run = result.run
    row: dict[str, str | float] = {
        "agent": result.label,
        "seeds": len(run.evaluations),
        "training": run.training,
    }
    for quantity, measures in result.summary.measures.items():
        # for each quantity: before, after, the gain, and robust measures of after
        row |= interval_columns(f"{quantity}_before", measures.means[0])
        row |= interval_columns(f"{quantity}_after", measures.means[-1])
        row[f"{quantity}_after_by_seed"] = " ".join(f"{value:g}" for value in result.of_seeds[quantity])
        row |= interval_columns(f"{quantity}_gain", measures.gains[-1])
        row |= interval_columns(f"{quantity}_iqm", measures.iqms[-1])
        row |= interval_columns(f"{quantity}_worse", measures.worse[-1])
    for kind, measures in summarize_ends(run.evaluations, np.random.default_rng(0)).items():
        row |= interval_columns(f"{kind}_before", measures.means[0])
        row |= interval_columns(f"{kind}_after", measures.means[-1])
        row |= interval_columns(f"{kind}_gain", measures.gains[-1])
    return row


def draw_agents(results: Sequence[AgentResult], title: str) -> Figure:
    """Draw every agent before and after adapting, the best on top."""
    seeds = sorted({len(result.run.evaluations) for result in results})
    number = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    over = "tasks" if seeds[-1] == 1 else "seeds and tasks"
    footer = f"Means over {number} and all held-out tasks; bars: 95 % intervals over {over}."
    known = [result.summary.measures for result in results]
    quantities = [name for name in known[0] if all(name in measures for measures in known)]
    figure, panels = dot_sheet(title, footer, panels=len(quantities), rows=len(results))
    for axes, quantity in zip(panels, quantities, strict=True):
        for place, result in enumerate(results):
            means = result.summary.measures[quantity].means
            # slightly above and below the row, so that neither hides the other
            dot(axes, place - 0.12, means[0], BEFORE, filled=False, label="before adapting")
            dot(axes, place + 0.12, means[-1], AFTER, label="after")
        label_quantity(axes, quantity)
    name_rows(panels, [result.label for result in results])
    draw_legend(figure, panels[0])
    return figure
