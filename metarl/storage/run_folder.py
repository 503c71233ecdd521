"""Names of the files of a run and of a sweep."""

from __future__ import annotations

import json
from pathlib import Path

from metarl.errors import MetarlError, require

CONFIG = "config.json"


SWEEP = "sweep.json"
"""In the folder of a sweep: which runs it is made of."""


CHECKPOINTS = "checkpoints"


SEGMENTS = "segments"
"""Blocks of tensors, such as parts of a replay buffer, that checkpoints refer to."""


EVALUATION = "evaluation.json"
"""On every test task, at the end of a run."""


def sweep_runs(folder: Path) -> list[Path]:
    """Return the folders of the runs that a sweep has finished.

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
