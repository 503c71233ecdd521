"""What an evaluation leaves for people: a table as CSV, every episode as JSON, and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metarl.evaluation import Axis, Evaluation, Summary, steps_axis
from metarl.metrics import read_metrics
from metarl.official import OfficialEvaluation
from metarl.report import adaptation_curve, learning_curve
from metarl.types import Json


def write_evaluation(
    folder: Path,
    stem: str,
    evaluation: Evaluation,
    summary: Summary,
    about: dict[str, Json],
    title: str,
    axis: Axis | None = None,
) -> list[Path]:
    """Write ``stem.json`` (every episode), ``stem.csv`` (a row for each task and step) and ``stem.png``.

    Args:
        folder: where to; it is made if need be.
        stem: name of the files.
        evaluation: what was measured.
        summary: of it.
        about: what else belongs in the JSON: suite, seed, versions.
        title: of the figure.
        axis: what the evaluation is laid out along, if not adaptation steps.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    along = axis or steps_axis(evaluation)
    files = [folder / f"{stem}{ending}" for ending in (".json", ".csv", ".png")]
    content = {
        **about,
        along.name: list(along.values),
        "summary": dict(summary.metrics()),
        **evaluation.to_json(),
    }
    files[0].write_text(json.dumps(content) + "\n", encoding="utf-8")
    with files[1].open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(_rows(evaluation, along))
    adaptation_curve(along.values, summary.returns, summary.successes, files[2], title, along.label)
    return files


def write_official(path: Path, official: OfficialEvaluation, per_goal: Evaluation | None) -> Path:
    """Write what a publisher's evaluator says, and how far it is from ours, to ``<path>-official.json``."""
    content = official.to_json()
    if per_goal is not None:
        step = official.settings.adaptation_steps
        returned = float(per_goal.task_returns[:, step].mean())
        content["per_goal_mean_return"] = returned
        content["mean_return_difference"] = official.mean_return - returned
        if per_goal.task_successes is not None:
            rate = float(np.mean(per_goal.task_successes[:, step]))
            content["per_goal_success_rate"] = rate
            content["success_rate_difference"] = official.success_rate - rate
    file = path.with_name(f"{path.name}-official.json")
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def write_learning_curve(folder: Path, title: str) -> Path:
    """Draw a run's metrics into its ``learning_curve.png``."""
    path = folder / "learning_curve.png"
    learning_curve(read_metrics(folder), path, title)
    return path


def _rows(evaluation: Evaluation, axis: Axis) -> Iterator[list[str | int | float]]:
    """Yield a header, then one row for each task and number of adaptation steps."""
    yield ["task", "family", axis.name, "episodes", "return_mean", "return_std", "success_rate"]
    successes = evaluation.task_successes
    for index, task in enumerate(evaluation.tasks):
        for step, value in enumerate(axis.values):
            returns = evaluation.returns[index, step]
            success = "" if successes is None else float(successes[index, step])
            spread = float(np.std(returns))
            yield [task.id, task.family, value, len(returns), float(returns.mean()), spread, success]
