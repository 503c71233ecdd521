"""Checkpoints of runs, by the paths that a user gives: a run, one of its checkpoints, or a result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from metarl.errors import MetarlError
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import find, load, load_newest, names_of_checkpoints
from metarl.storage.metrics import best_iteration, read_metrics
from metarl.storage.run_folder import CHECKPOINTS, CONFIG, MEASURED, SWEEP, WEIGHTS


def split_checkpoint(path: Path) -> tuple[Path, str | None]:
    """Split ``RUN/checkpoints/40`` into run and checkpoint.

    Raises:
        MetarlError: if it names the folder of all checkpoints, or of a sweep.
    """
    if (path / SWEEP).is_file():
        sweep = path if path.name else path.resolve()
        raise MetarlError(
            f"Expected a run or a checkpoint, got the folder of a sweep, {sweep}; "
            f"name one of its runs, {str(sweep).removesuffix('-sweep')}-seedN."
        )
    # a link to a checkpoint counts as the checkpoint itself
    place = path if path.parent.name == CHECKPOINTS else path.resolve()
    if (place / CONFIG).is_file():
        return path, None
    if place.name == CHECKPOINTS:
        raise MetarlError(
            f"Expected a run or a checkpoint, got the folder of all checkpoints, {path}; "
            f"name the run, {place.parent}, or one of: {', '.join(names_of_checkpoints(place))}."
        )
    return (place.parent.parent, place.name) if place.parent.name == CHECKPOINTS else (path, None)


def open_checkpoint(path: Path, report: Callable[[str], None]) -> Checkpoint:
    """Load a run's newest whole checkpoint, or the one of ``path``.

    It is to act and adapt: segments are not verified, as only training needs them. Damaged checkpoints are
    reported in a sentence.

    Raises:
        MetarlError: if there is none, or it is damaged or of another version.
    """
    folder, name = split_checkpoint(path)
    if name is not None:
        return load(find_checkpoint(folder, name), with_segments=False)
    if (path / CHECKPOINTS).is_dir():
        return load_newest(path / CHECKPOINTS, report, with_segments=False)
    if path.is_file():
        raise MetarlError(f"Expected the folder of a run or of a checkpoint, got the file {path}.")
    if not path.is_dir():
        raise MetarlError(f"There is no folder {path}.")
    if (path / WEIGHTS).is_dir():
        return load(weights_of_result(path, report), with_segments=False)
    if (path / MEASURED).is_file():
        raise MetarlError(f"The result {path} holds no weights: train it again with metarl reproduce {path}.")
    if (path / CONFIG).is_file():
        raise MetarlError(
            f"The run {path} has no checkpoint: it was stopped before its first, or copied without them."
        )
    # not in a run, but perhaps a checkpoint that was copied elsewhere
    if not any(path.glob("*.safetensors")):
        raise MetarlError(f"{path} is neither a run nor a checkpoint: it has no folder {CHECKPOINTS!r}.")
    return load(path, with_segments=False)


def weights_of_result(path: Path, report: Callable[[str], None]) -> Path:
    """Return the first weights of a result.

    Args:
        path: folder of a result, ``results/NAME``, that has a folder ``weights``.
        report: called with a sentence if there are others.

    Raises:
        MetarlError: if there are none.
    """
    folders = {file.parent for file in (path / WEIGHTS).rglob("*.safetensors")}
    ordered = sorted(folders, key=lambda one: (str(one.parent), len(one.name), one.name))
    if not ordered:
        raise MetarlError(f"The folder {path / WEIGHTS} must hold weights, and it holds none.")
    if len(ordered) > 1:
        report(f"{path} has the weights of {len(ordered)} runs, to {ordered[-1]}; this is {ordered[0]}.")
    return ordered[0]


def find_checkpoint(folder: Path, name: str) -> Path:
    """Find a run's checkpoint by iteration; ``best``: the stored one with the best held-out return."""
    if name == "best":
        stored = {int(iteration) for iteration in names_of_checkpoints(folder / CHECKPOINTS)}
        best = best_iteration(row for row in read_metrics(folder) if row["iteration"] in stored)
        name = name if best is None else str(best)
    return find(folder / CHECKPOINTS, name)
