"""File names of runs, sweeps and results."""

from __future__ import annotations

import json
from pathlib import Path

from metarl.errors import MetarlError, require

CONFIG = "config.json"
SWEEP = "sweep.json"  # names of a sweep's finished runs
CHECKPOINTS = "checkpoints"
SEGMENTS = "segments"
"""Folder of the segments of checkpoints: blocks of tensors, such as parts of a replay buffer."""
EVALUATION = "evaluation.json"  # evaluation on every test task, after training
MEASURED = "measured.json"  # file of a result that says how each of its runs was measured
WEIGHTS = "weights"  # folder of a result's agents, one a seed
PROGRAM = "reproduce.json"  # file of a result that a program makes, not a training
ADAPTATION = "adaptation.json"  # file of a session's settings and environment, in its folder
ADAPTED = "adapted.safetensors"  # experience that a session's policy learned from, in its folder


def runs_of(folder: Path) -> list[Path]:
    """Return a run's folder alone, or those of a sweep's finished runs."""
    return sweep_runs(folder) if (folder / SWEEP).is_file() else [folder]


def sweep_runs(folder: Path) -> list[Path]:
    """Return folders of a sweep's finished runs, or raise MetarlError."""
    try:
        content = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        names = [str(name) for name in content["finished"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MetarlError(f"{folder / SWEEP} is damaged; start the sweep again.") from error
    require(len(names) > 0, f"{folder} must have a finished run to be compared", "without one yet")
    return [folder.parent / name for name in names]


def forget_evaluation(folder: Path) -> None:
    """Delete the evaluation after a run's training."""
    # the JSON first: without it the others count for nothing
    for ending in (".json", ".csv", ".png", "-success.csv"):
        (folder / f"{Path(EVALUATION).stem}{ending}").unlink(missing_ok=True)
