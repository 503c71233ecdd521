"""File names of runs, sweeps and results."""

from __future__ import annotations

import json
from pathlib import Path

from metarl.errors import MetarlError, require

CONFIG = "config.json"


SWEEP = "sweep.json"
"""Names of a sweep's finished runs, in its folder."""


CHECKPOINTS = "checkpoints"


SEGMENTS = "segments"
"""Folder of the segments of checkpoints: blocks of tensors, such as parts of a replay buffer."""


EVALUATION = "evaluation.json"
"""Evaluation on every test task, after training."""


MEASURED = "measured.json"
"""File of a result that says how each of its runs was measured."""


WEIGHTS = "weights"
"""Folder of a result's trained agents, one for each seed."""


PROGRAM = "reproduce.json"
"""File of a result that a program makes, not a training."""


def sweep_runs(folder: Path) -> list[Path]:
    """Return folders of a sweep's finished runs; MetarlError if there are none or SWEEP is damaged."""
    try:
        content = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        names = [str(name) for name in content["finished"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MetarlError(f"{folder / SWEEP} is damaged; start the sweep again.") from error
    require(len(names) > 0, f"{folder} must have a finished run to be compared", "without one yet")
    return [folder.parent / name for name in names]
