"""``metarl evaluate``: measure how a trained agent adapts to held-out tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from metarl import runs
from metarl.config import EvaluationConfig, MeasurementConfig, to_json
from metarl.console import console, say
from metarl.errors import MetarlError, require
from metarl.evaluation import Evaluation, summarize
from metarl.experiment import TEST, Experiment, Stopped, stream
from metarl.progress import ProgressObserver
from metarl.results import write_evaluation
from metarl.tables import evaluation_table, family_table
from metarl.tasks import sample_evenly
from metarl.types import Json, Task


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(MeasurementConfig):
    """Measure a trained agent on tasks it was never trained on, before and after adapting to them."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run (its newest whole checkpoint is taken), or one checkpoint's folder."""
    tasks: int = 0
    """Held-out tasks, as evenly over the families as can be; 0 takes every one."""
    seed: int = 0
    """Seed of the evaluation, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: int = 0
    """Worker processes or threads; 0 takes one a core."""
    output: Path | None = None
    """Folder for the results; by default "evaluations" in the run's folder, or in a lone checkpoint's."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(0 <= self.tasks, "tasks must be 0 or more", self.tasks)
        require(0 <= self.seed < 2**32, "seed must lie in 0..2**32-1", self.seed)
        require(0 <= self.workers <= 1024, "workers must lie in 0..1024", self.workers)


def evaluate_command(arguments: list[str]) -> None:
    """Evaluate a trained agent on held-out tasks."""
    wanted = tyro.cli(EvaluateArguments, args=arguments, prog="metarl evaluate")
    measured = {item.name: getattr(wanted, item.name) for item in fields(MeasurementConfig)}
    experiment = runs.open_trained(
        wanted.run, say, EvaluationConfig(**measured), device=wanted.device, workers=wanted.workers
    )
    tasks = experiment.suite.tasks("test")
    rng = stream(wanted.seed, TEST, 1)
    chosen = sample_evenly(tasks, min(wanted.tasks, len(tasks)), rng) if wanted.tasks else tasks
    stem = f"iteration{experiment.iteration}-seed{wanted.seed}"
    with results_folder(wanted.output or experiment.folder / "evaluations", stem) as folder:
        say(
            f"Evaluating {experiment.config.agent.kind} after {experiment.iteration} iterations on "
            f"{len(chosen)} held-out tasks of {experiment.suite.name}, seed {wanted.seed}."
        )
        evaluation = measure(experiment, chosen, rng)
        files = show_evaluation(experiment, evaluation, folder, stem)
    say(f"Wrote {', '.join(str(path) for path in files)}.")


def measure(experiment: Experiment, tasks: Sequence[Task], rng: np.random.Generator) -> Evaluation:
    """Evaluate an experiment's agent, showing the progress."""
    observer = ProgressObserver(console, "evaluating")
    steps = experiment.config.evaluation.adaptation_steps
    observer.expect(experiment.evaluation_steps(len(tasks), steps))
    experiment.observer = observer
    env = experiment.make_env()
    try:
        with runs.stop_on_signals(experiment), observer:
            return experiment.test(env, tasks, rng)
    except Stopped:
        say("Stopped; nothing was written.")
        raise
    finally:
        env.close()


@contextmanager
def results_folder(folder: Path, stem: str) -> Iterator[Path]:
    """Make the folder of results before they are computed, and take it back if none come.

    Raises:
        MetarlError: if there are results of that name, or the folder cannot be made.
    """
    path = folder / f"{stem}.json"
    if path.exists():
        raise MetarlError(f"{path} exists already; choose another folder with --output, or another --seed.")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise MetarlError(f"The results cannot be written to {folder}; choose another folder with --output.")
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds results, and stays
            folder.rmdir()


def show_evaluation(experiment: Experiment, evaluation: Evaluation, folder: Path, stem: str) -> list[Path]:
    """Print an evaluation's tables and write its files."""
    summary = summarize(evaluation, stream(experiment.config.seed, TEST, 2))
    title = f"{experiment.suite.name}, held-out tasks"
    console.print(evaluation_table(evaluation, summary, title))
    if len({task.family for task in evaluation.tasks}) > 1:
        console.print(family_table(evaluation))
    about: dict[str, Json] = {"iteration": experiment.iteration, "config": to_json(experiment.config)}
    return write_evaluation(folder, stem, evaluation, summary, about, title)
