"""What a comparison leaves for people: one table, one figure, and the evaluation of each agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from metarl.baselines.comparison import Comparison
from metarl.baselines.plan import META, Baseline
from metarl.baselines.store import Measured
from metarl.evaluation.statistics import Interval
from metarl.evaluation.summary import summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.evaluation_files import write_evaluation
from metarl.reporting.figures.style import save
from metarl.reporting.tables import number, percent
from metarl.storage.files import write_json, write_rows
from metarl.training.evaluation_reader import provenance
from metarl.types import Json

OURS, THEIRS, FAINT = "#0072b2", "#d55e00", "#7a7a7a"
"""Okabe and Ito's blue and vermilion (2008), which colour-blind people tell apart."""


@dataclass(frozen=True)
class Row:
    """One agent at one stage: means over tasks with 95 % intervals, and what it has learned from."""

    stem: str
    """Of the agent's files."""
    label: str
    stage: str
    returns: Interval
    successes: Interval | None
    task_steps: int
    """Environment steps on each held-out task."""
    training_steps: int
    """Environment steps on training tasks before that."""

    @property
    def name(self) -> str:
        """Agent and stage in a few words."""
        return f"{self.label}, {self.stage}" if self.stage else self.label


def rows(comparison: Comparison) -> list[Row]:
    """Return the table of a finished comparison."""
    return [row for baseline, measured in comparison.results for row in _rows(comparison, baseline, measured)]


def comparison_table(rows: Sequence[Row], title: str, caption: str) -> Table:
    """Return the table for the terminal."""
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("agent")
    for column in ("return", "success %", "on task", "before"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        success = percent(row.successes) if row.successes else ""
        cells = (number(row.returns), success, short(row.task_steps), short(row.training_steps))
        table.add_row(row.name, *cells, style="bold" if row.stem == META else "")
    return table


def caption_of(comparison: Comparison) -> str:
    """Say what the table's numbers are."""
    episodes = comparison.experiment.config.evaluation.episodes
    return (
        f"mean over {len(comparison.tasks)} held-out tasks x {episodes} episodes [95 % interval over tasks]; "
        "steps learned from: on each held-out task, and on training tasks before; "
        f"x1 = {comparison.step_budgets.adaptation:,}"
    )


def write_comparison(comparison: Comparison, rows: Sequence[Row], title: str) -> list[Path]:
    """Write ``comparison`` as JSON, CSV and PNG, and each agent's evaluation likewise.

    Returns:
        The files of the comparison.
    """
    folder = comparison.store.folder
    for baseline, measured in comparison.results:
        _write_agent(comparison, baseline, measured)
    files = [folder / f"comparison{ending}" for ending in (".json", ".csv", ".png")]
    tasks: list[Json] = [task.to_json() for task in comparison.tasks]
    listed: list[Json] = [_json(row) for row in rows]
    write_json(
        files[0],
        {
            "suite": comparison.experiment.suite.name,
            "settings": comparison.store.settings,
            "adaptation_budget": comparison.step_budgets.adaptation,
            "tasks": tasks,
            "rows": listed,
        },
    )
    _write_csv(files[1], rows)
    save(draw(rows, title, caption_of(comparison)), files[2])
    return files


def draw(rows: Sequence[Row], title: str, caption: str) -> Figure:
    """Draw returns and successes of all rows, one under the other, with their intervals."""
    quantities = ["return"] + (["success"] if any(row.successes for row in rows) else [])
    figure = Figure(figsize=(8.0, 1.6 + 0.27 * len(rows)), dpi=150, facecolor="white", layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    panels = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        for place, row in enumerate(rows):
            interval = row.returns if quantity == "return" else row.successes
            if interval is not None:
                _dot(axes, place, interval, OURS if row.stem == META else THEIRS, row.stem == META)
        _label(axes, quantity)
    panels[0].set_yticks(range(len(rows)), [f"{row.name} ({short(row.task_steps)})" for row in rows])
    panels[0].invert_yaxis()
    figure.supxlabel(caption.replace("; ", "\n"), fontsize=7, color=FAINT, x=0.01, ha="left")
    return figure


def short(count: int) -> str:
    """Write a number of steps in four characters or so: 950, 3k, 1.6M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def _rows(comparison: Comparison, baseline: Baseline, measured: Measured) -> list[Row]:
    steps = comparison.experiment.config.evaluation.adaptation_steps
    summary = summarize(measured.evaluation, make_rng(comparison.config.seed, Purpose.RESAMPLES))
    return [
        Row(
            baseline.stem,
            baseline.label,
            stage,
            summary.returns[index],
            summary.successes[index] if summary.successes else None,
            measured.task_steps[index],
            measured.training_steps,
        )
        for index, stage in enumerate(baseline.stages(steps))
    ]


def _write_agent(comparison: Comparison, baseline: Baseline, measured: Measured) -> None:
    experiment = comparison.experiment
    stages = baseline.stages(experiment.config.evaluation.adaptation_steps)
    own = measured.to_json()
    about: dict[str, Json] = {
        "baseline": baseline.stem,
        "label": baseline.label,
        "stages": list(stages),
        "task_steps": own["task_steps"],
        "training_steps": own["training_steps"],
        **{name: value for name, value in provenance(experiment).items() if name != "training_steps"},
        "settings": comparison.store.settings,
    }
    summary = summarize(measured.evaluation, make_rng(comparison.config.seed, Purpose.RESAMPLES))
    title = f"{baseline.label} on {experiment.suite.name}, held-out tasks"
    write_evaluation(comparison.store.folder, baseline.stem, measured.evaluation, summary, about, title)


def _json(row: Row) -> dict[str, Json]:
    numbers = asdict(row)
    for name, interval in (("returns", row.returns), ("successes", row.successes)):
        numbers[name] = None if interval is None else list(interval)
    return numbers


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    intervals = [f"{name}{end}" for name in ("return", "success") for end in ("", "_low", "_high")]
    table: list[list[str | int | float]] = [["agent", "stage", *intervals, "task_steps", "training_steps"]]
    for row in rows:
        success = ("", "", "") if row.successes is None else row.successes
        table.append([row.label, row.stage, *row.returns, *success, row.task_steps, row.training_steps])
    write_rows(path, table)


def _dot(axes: Axes, place: int, interval: Interval, colour: str, ours: bool) -> None:
    axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.6)
    axes.plot(
        [interval.mean], [place], "o", color=colour, markersize=5, markerfacecolor=colour if ours else "white"
    )


def _label(axes: Axes, quantity: str) -> None:
    axes.set_xlabel({"return": "Return per episode", "success": "Success rate"}[quantity], fontsize=9)
    axes.tick_params(labelsize=8, length=3)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=FAINT, linewidth=0.8)
    if quantity == "success":
        axes.set_xlim(-0.04, 1.04)
        axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
