"""What an evaluation leaves for people: a table as CSV, every episode as JSON, and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metarl.evaluation import Evaluation, Summary
from metarl.metrics import read_metrics
from metarl.report import adaptation_curve, learning_curve
from metarl.statistics import Interval
from metarl.types import Json


def write_evaluation(
    folder: Path, stem: str, evaluation: Evaluation, summary: Summary, about: dict[str, Json], title: str
) -> list[Path]:
    """Write ``stem.json`` (every episode), ``stem.csv`` (a row for each task and step) and ``stem.png``.

    Args:
        folder: where to; it is made if need be.
        stem: name of the files.
        evaluation: what was measured.
        summary: of it.
        about: what else belongs in the JSON: suite, seed, versions.
        title: of the figure.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}{ending}" for ending in (".json", ".csv", ".png")]
    content = {**about, "summary": dict(summary.metrics()), **evaluation.to_json()}
    files[0].write_text(json.dumps(content) + "\n", encoding="utf-8")
    with files[1].open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(_rows(evaluation))
    steps = range(evaluation.adaptation_steps + 1)
    adaptation_curve(steps, list(summary.returns), _listed(summary), files[2], title)
    return files


def write_learning_curve(folder: Path, title: str) -> Path:
    """Draw a run's metrics into its ``learning_curve.png``."""
    path = folder / "learning_curve.png"
    learning_curve(read_metrics(folder), path, title)
    return path


def _listed(summary: Summary) -> list[Interval] | None:
    return None if summary.successes is None else list(summary.successes)


def _rows(evaluation: Evaluation) -> Iterator[list[str | int | float]]:
    """Yield a header, then one row for each task and number of adaptation steps."""
    yield ["task", "family", "adaptation_steps", "episodes", "return_mean", "return_std", "success_rate"]
    successes = evaluation.task_successes
    for index, task in enumerate(evaluation.tasks):
        for step in range(evaluation.adaptation_steps + 1):
            returns = evaluation.returns[index, step]
            success = "" if successes is None else float(successes[index, step])
            spread = float(np.std(returns))
            yield [task.id, task.family, step, len(returns), float(returns.mean()), spread, success]
