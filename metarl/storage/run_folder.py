"""File names of runs and sweeps."""

from __future__ import annotations

import json
from pathlib import Path

from metarl.errors import MetarlError, require

CONFIG = "config.json"


SWEEP = "sweep.json"
"""File of a sweep's runs, in its folder."""


CHECKPOINTS = "checkpoints"


SEGMENTS = "segments"
"""Folder of the segments of checkpoints.

Segments are blocks of tensors, such as parts of a replay buffer.
"""


EVALUATION = "evaluation.json"
"""Evaluation on every test task, after training."""


ADAPTATION = "adaptation.json"
"""File of a session's settings and environment, in its folder."""


ADAPTED = "adapted.safetensors"
"""Experience that a session's policy learned from, in its folder."""


def sweep_runs(folder: Path) -> list[Path]:
    """Return the folders of a sweep's finished runs.

    Raises:
        MetarlError: if it has finished none, or its file is damaged.
    """
    try:
        content = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        names = [str(name) for name in content["finished"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MetarlError(f"{folder / SWEEP} is damaged; start the sweep again.") from error
    require(len(names) > 0, f"{folder} must have a finished run to be compared", "without one yet")
    return [folder.parent / name for name in names]
