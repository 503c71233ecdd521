"""Files of an evaluation: CSV, JSON and figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metarl.evaluation.official import OfficialEvaluation
from metarl.evaluation.record import Axis, Evaluation, steps_axis
from metarl.evaluation.summary import Summary
from metarl.reporting.figures.learning_curve import draw_adaptation_curve, draw_learning_curve
from metarl.reporting.figures.style import save
from metarl.storage.files import write_json, write_rows
from metarl.storage.metrics import read_metrics
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
    """Write an evaluation's CSV, figure and JSON, and return the files.

    ``stem.csv`` has a row for each task and step, ``stem.json`` every episode and ``about``: suite, seed,
    versions. ``axis`` is the second axis of the evaluation, if not adaptation steps.
    """
    along = axis or steps_axis(evaluation)
    files = [folder / f"{stem}{ending}" for ending in (".json", ".csv", ".png")]
    content: dict[str, Json] = {
        **about,
        along.name: list(along.values),
        "summary": dict(summary.metrics()),
        **evaluation.to_json(),
    }
    # the JSON comes last: where it is, the other files are whole
    write_rows(files[1], _rows(evaluation, along))
    curve = draw_adaptation_curve(along.values, summary.returns, summary.successes, title, along.label)
    save(curve, files[2])
    write_json(files[0], content)
    return files


def write_official(path: Path, official: OfficialEvaluation, per_goal: Evaluation | None) -> Path:
    """Write the publisher's result, and its difference from ours, to ``<path>-official.json``.

    With a bonus for success, which counts in our returns only, these are left out.
    """
    content = official.to_json()
    # both protocols at the same number of adaptation steps
    if per_goal is not None:
        step = official.settings.adaptation_steps
        if not official.settings.success_bonus:
            returned = float(per_goal.task_returns[:, step].mean())
            content["per_goal_mean_return"] = returned
            content["mean_return_difference"] = official.mean_return - returned
        if per_goal.task_successes is not None:
            rate = float(np.mean(per_goal.task_successes[:, step]))
            content["per_goal_success_rate"] = rate
            content["success_rate_difference"] = official.success_rate - rate
    file = path.with_name(f"{path.name}-official.json")
    write_json(file, content, indent=2)
    return file


def write_learning_curve(folder: Path, title: str, trial: str = "parallel") -> Path:
    """Draw a run's metrics into its ``learning_curve.png``."""
    path = folder / "learning_curve.png"
    save(draw_learning_curve(read_metrics(folder), title, trial=trial), path)
    return path


def _rows(evaluation: Evaluation, axis: Axis) -> Iterator[list[str | int | float]]:
    """Yield a header, then a row for each task and number of adaptation steps."""
    yield ["task", "family", axis.name, "episodes", "return_mean", "return_std", "success_rate"]
    successes = evaluation.task_successes
    for index, task in enumerate(evaluation.tasks):
        for step, value in enumerate(axis.values):
            returns = evaluation.returns[index, step]
            success = "" if successes is None else float(successes[index, step])
            spread = float(np.std(returns))
            yield [task.id, task.family, value, len(returns), float(returns.mean()), spread, success]
