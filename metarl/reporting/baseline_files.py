"""Files of a comparison with baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from metarl.baselines.comparison import Comparison
from metarl.baselines.plan import META, Baseline
from metarl.baselines.store import Measured
from metarl.evaluation.statistics import Interval
from metarl.evaluation.summary import Summary, summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.evaluation_files import write_evaluation
from metarl.reporting.figures.dots import dot, dot_sheet, label_quantity, name_rows
from metarl.reporting.figures.style import BLUE, ORANGE, save
from metarl.reporting.table import Column, Row, Table, percent
from metarl.storage.files import write_json, write_rows
from metarl.text import count
from metarl.training.evaluation_reader import provenance
from metarl.types import Json


@dataclass(frozen=True)
class Result:
    """Means over tasks, and steps, of one agent at one stage."""

    stem: str  # name of the agent's files
    label: str
    stage: str
    returns: Interval
    successes: Interval | None
    task_steps: int  # environment steps on each held-out task
    training_steps: int  # environment steps on training tasks before that

    @property
    def name(self) -> str:
        """Agent and stage in a few words."""
        return f"{self.label}, {self.stage}" if self.stage else self.label


def rows(comparison: Comparison) -> list[Result]:
    """Return the table of a finished comparison."""
    steps, found = comparison.experiment.config.evaluation.adaptation_steps, []
    trial = comparison.experiment.agent.trial
    for baseline, measured in comparison.results:
        summary = _summary(comparison, measured)
        for index, stage in enumerate(baseline.stages(steps, trial)):
            success = summary.successes[index] if summary.successes else None
            learned = measured.task_steps[index], measured.training_steps
            found.append(
                Result(baseline.stem, baseline.label, stage, summary.returns[index], success, *learned)
            )
    return found


def baseline_table(rows: Sequence[Result], title: str, caption: str) -> Table:
    """Return the table of a comparison."""
    columns = (
        Column("return"),
        Column("success %", percent),
        Column("on task", short),
        Column("before", short),
    )
    found = []
    for row in rows:
        values = (row.returns, row.successes, row.task_steps, row.training_steps)
        found.append(Row(row.label, values, row.stage, emphasis=row.stem == META))
    return Table("agent", columns, tuple(found), title, caption)


def caption_of(comparison: Comparison) -> str:
    """Return the caption of the table."""
    episodes = comparison.experiment.config.evaluation.episodes
    return (
        f"mean over {count(len(comparison.tasks), 'held-out task')} x {count(episodes, 'episode')} "
        "[95 % interval over tasks]; "
        "steps learned from: on each held-out task, and on training tasks before; "
        f"x1 = {comparison.step_budgets.adaptation:,}"
    )


def write_comparison(comparison: Comparison, rows: Sequence[Result], title: str) -> list[Path]:
    """Write a comparison as JSON, CSV and PNG, and each agent's evaluation."""
    folder = comparison.store.folder
    # each agent's own files first, then the comparison of all
    for baseline, measured in comparison.results:
        _write_agent(comparison, baseline, measured)
    files = [folder / f"comparison{ending}" for ending in (".json", ".csv", ".png")]
    tasks: list[Json] = [task.to_json() for task in comparison.tasks]
    listed: list[Json] = [asdict(row) for row in rows]
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
    names = ("agent", "stage", "return", "success", "task_steps", "training_steps")
    write_rows(files[1], baseline_table(rows, "", "").csv(names))
    save(draw(rows, title, caption_of(comparison)), files[2])
    return files


def draw(rows: Sequence[Result], title: str, caption: str) -> Figure:
    """Draw all rows' returns and successes, with intervals."""
    quantities = ["return"] + (["success"] if any(row.successes for row in rows) else [])
    figure, panels = dot_sheet(title, caption, panels=len(quantities), rows=len(rows))
    for axes, quantity in zip(panels, quantities, strict=True):
        for place, row in enumerate(rows):
            interval = row.returns if quantity == "return" else row.successes
            if interval is not None:
                ours = row.stem == META
                dot(axes, place, interval, BLUE if ours else ORANGE, filled=ours)
        label_quantity(axes, quantity)
    name_rows(panels, [f"{row.name} ({short(row.task_steps)})" for row in rows])
    return figure


def short(count: float) -> str:
    """Format steps in about four characters, such as 950, 3k, 1.6M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.0f}"


def _summary(comparison: Comparison, measured: Measured) -> Summary:
    return summarize(measured.evaluation, make_rng(comparison.config.seed, Purpose.RESAMPLES))


def _write_agent(comparison: Comparison, baseline: Baseline, measured: Measured) -> None:
    experiment = comparison.experiment
    stages = baseline.stages(experiment.config.evaluation.adaptation_steps, experiment.agent.trial)
    # training steps are the baseline's, not those of the agent that provenance names
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
    summary = _summary(comparison, measured)
    title = f"{baseline.label} on {experiment.suite.name}, held-out tasks"
    write_evaluation(comparison.store.folder, baseline.stem, measured.evaluation, summary, about, title)
