"""Checkpoints of a run: each whole or absent, however its process dies.

A checkpoint is a folder named by its iteration, ``00000040``; its files are those of
:mod:`metarl.storage.checkpoint_files`. It is written beside its place under a temporary name, synced to disk
and renamed, so that a process that dies at any moment leaves only whole checkpoints behind:

    00000040.tmp        being written or being deleted; never read
    00000040            whole
    00000040.replaced   whole; exists only while a resumed run puts another ``00000040`` in its place

An agent's segments stand outside, in ``RUN/segments``.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metarl.errors import MetarlError
from metarl.storage.checkpoint_files import (
    FILES,
    Checkpoint,
    DamagedCheckpoint,
    damaged,
    encode,
    read,
    read_state,
    references,
    segments_of,
)
from metarl.storage.files import WriteError, is_full, make_folder, sync_folder, write_synced, write_whole
from metarl.storage.segments import (
    DamagedSegment,
    MissingSegment,
    check_segments,
    drop_segments,
    has_all,
    unsaved,
    write_segments,
)
from metarl.storage.tensor_files import encode_tensors, sha256
from metarl.types import State

_TEMPORARY, _REPLACED = ".tmp", ".replaced"


def save(folder: Path, checkpoint: Checkpoint, keep: int, spared: int | None = None) -> Path:
    """Write a checkpoint, whole or not at all, and delete those no longer kept.

    Checkpoints of later iterations are deleted too: resuming discards them.

    Args:
        folder: the run's checkpoints; made if it is not there.
        keep: number of newest checkpoints that stay.
        spared: iteration of an earlier checkpoint that stays too.

    Returns:
        The folder of this checkpoint.

    Raises:
        MetarlError: if it cannot be written, for want of space above all, or if its JSON holds a number
            that is not finite; the checkpoints before it stay as they were.
    """
    path = folder / f"{checkpoint.iteration:08d}"
    segments = checkpoint.agent.segments
    try:
        # segments first: a checkpoint that is there has all of them
        write_segments(segments_of(folder), segments)
        files = encode(checkpoint)
        make_folder(folder)
        _tidy(folder)
        _write(path, files)
        _prune(path, keep, spared)
    except (OSError, WriteError) as error:
        _tidy(folder)
        drop_unneeded_segments(folder)
        raise _not_written(path, error, _size(segments_of(folder), checkpoint)) from error
    drop_unneeded_segments(folder)
    return path


def load(path: Path, *, with_segments: bool = True) -> Checkpoint:
    """Read one checkpoint and verify it; a stranger's is safe, as nothing in it is executed.

    Args:
        with_segments: verify the agent's segments too. Acting and adapting does not need them, and their
            tensors are read when they are asked for.

    Raises:
        DamagedCheckpoint: if it is missing, cut short or altered.
        MetarlError: if another version of the format is needed to read it, or if a segment is missing.
    """
    if not path.is_dir():
        raise DamagedCheckpoint(f"There is no checkpoint {path}.")
    checkpoint = read(path)
    if with_segments:
        names = [segment.sha256 for segment in checkpoint.agent.segments]
        try:
            check_segments(segments_of(path.absolute().parent), names)
        except DamagedSegment as error:
            raise damaged(path, error.reason) from error
        except MissingSegment as error:
            raise _without_segments(path, error) from error
    return checkpoint


def load_newest(folder: Path, report: Callable[[str], None], *, with_segments: bool = True) -> Checkpoint:
    """Read the newest whole checkpoint.

    Args:
        report: called with a sentence for each damaged one that was passed over.

    Raises:
        MetarlError: if none is whole, or if the newest needs another version of the format or a segment
            that is missing, which may be elsewhere.
    """
    tried: set[Path] = set()
    # Listed anew each time: a run that is still going may replace what was listed before.
    while untried := [path for path in _stored(folder) if path not in tried]:
        tried.add(untried[0])
        try:
            return load(untried[0], with_segments=with_segments)
        except DamagedCheckpoint as error:
            if untried[0].exists():
                report(f"{error} The one before it is tried.")
    if tried:
        raise MetarlError(f"None of the {len(tried)} checkpoints in {folder} is whole.")
    raise MetarlError(f"There is no checkpoint in {folder}.")


def find(folder: Path, name: str) -> Path:
    """Find an iteration's checkpoint, ``40`` or ``00000040``, or raise MetarlError."""
    for path in _stored(folder):
        if name.isdecimal() and _iteration(path) == int(name):
            return path
    known = ", ".join(names_of_checkpoints(folder)) or "none"
    raise MetarlError(f"There is no checkpoint {folder / name}; there are: {known}.")


def names_of_checkpoints(folder: Path) -> list[str]:
    """Return a folder's checkpointed iterations, oldest first."""
    return sorted({path.stem for path in _stored(folder)})


def drop_later(folder: Path, iteration: int) -> None:
    """Delete the checkpoints of later iterations."""
    _tidy(folder)  # what a kill left under a name that deleting takes
    for path in _stored(folder):
        if _iteration(path) > iteration:
            _remove(path)
    drop_unneeded_segments(folder)


def copy_newest(folder: Path, target: Path, most: int) -> int | None:
    """Copy the newest whole checkpoint, without its segments.

    Acting, adapting and evaluating need no segments.

    Args:
        target: folder of the copy; an older copy there is replaced.
        most: bytes of a copy; a larger checkpoint is not copied, and an older copy is deleted.

    Returns:
        Its bytes, copied or not; None if no checkpoint is whole.
    """
    size = None
    for path in _stored(folder):
        try:
            load(path, with_segments=False)
        except DamagedCheckpoint:
            continue
        files = {name: (path / name).read_bytes() for name in FILES}
        size = sum(map(len, files.values()))
        if size <= most:
            for name, content in files.items():
                write_whole(target / name, content)
            return size
        break
    shutil.rmtree(target, ignore_errors=True)
    return size


class Identity(NamedTuple):
    """The agent that a checkpoint holds."""

    iteration: int
    weights_sha256: str


def newest_identity(folder: Path) -> Identity | None:
    """Return the newest whole checkpoint's identity, if any, without reading its tensors."""
    for path in _stored(folder):
        try:
            state = read_state(path)
            return Identity(int(str(state["iteration"])), str(state["weights_sha256"]))
        except (DamagedCheckpoint, KeyError, ValueError):
            continue
    return None


def has_whole(folder: Path) -> bool:
    """Return whether a folder has a finished, perhaps damaged, checkpoint."""
    return bool(_stored(folder))


def weights_sum(agent: State) -> str:
    """Return an agent's tensors' SHA-256 sum, as saved."""
    return sha256(encode_tensors(agent.tensors))


def drop_unneeded_segments(folder: Path) -> None:
    """Delete segments that no checkpoint in ``folder`` needs."""
    stored = segments_of(folder)
    if not stored.is_dir():
        return
    needed: set[str] = set()
    for path in folder.glob("*"):
        if path.is_dir() and path.suffix != _TEMPORARY:
            with contextlib.suppress(DamagedCheckpoint):
                # what a damaged checkpoint refers to cannot be known, nor used
                needed |= set(references(path, read_state(path)))
    drop_segments(stored, needed)


def _without_segments(path: Path, error: MissingSegment) -> MetarlError:
    """Say which file a checkpoint misses, and what to do."""
    earlier = [other for other in _stored(path.parent) if _iteration(other) < _iteration(path)]
    usable = [other for other in earlier if _has_all_segments(other)]
    going_back = (
        ", or go back to an earlier checkpoint, which deletes those after it: "
        f"metarl train --resume {usable[0]}"
        if usable
        else ""
    )
    return MetarlError(
        f"The checkpoint {path} needs {error.path}, which cannot be read ({error.problem}); put it back from "
        f"where the run was copied{going_back}."
    )


def _has_all_segments(path: Path) -> bool:
    """Return whether a checkpoint finds its segments' files."""
    try:
        names = references(path, read_state(path))
    except DamagedCheckpoint:
        return False
    return has_all(segments_of(path.parent), names)


def _write(path: Path, files: dict[str, bytes]) -> None:
    temporary = path.with_suffix(_TEMPORARY)
    temporary.mkdir()
    for name, data in files.items():
        write_synced(temporary / name, data)
    sync_folder(temporary)
    if path.exists():
        # keep the old one until the new one is in place
        path.replace(path.with_suffix(_REPLACED))
    temporary.replace(path)
    sync_folder(path.parent)


def _stored(folder: Path) -> list[Path]:
    """Return finished checkpoints, the newest first."""
    pattern = re.compile(rf"\d{{8,}}(?:{re.escape(_REPLACED)})?")
    names = [path for path in folder.glob("*") if pattern.fullmatch(path.name)]
    return sorted(names, key=lambda path: (_iteration(path), path.suffix == ""), reverse=True)


def _iteration(path: Path) -> int:
    return int(path.stem)


def _tidy(folder: Path) -> None:
    """Remove a killed run's unfinished folders, and complete its replacement."""
    for path in folder.glob(f"*{_TEMPORARY}"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"*{_REPLACED}"):
        if path.with_suffix("").exists():
            _remove(path)
        else:
            path.replace(path.with_suffix(""))


def _prune(newest: Path, keep: int, spared: int | None) -> None:
    """Keep ``newest``, the ``keep - 1`` before it and ``spared``."""
    others = [path for path in _stored(newest.parent) if path != newest]
    earlier = [path for path in others if _iteration(path) < _iteration(newest)]
    for path in set(others) - set(earlier[: keep - 1]):
        if path not in earlier or _iteration(path) != spared:
            _remove(path)


def _remove(path: Path) -> None:
    """Delete a checkpoint under a name never read."""
    doomed = path.with_suffix(_TEMPORARY)
    path.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _size(stored: Path, checkpoint: Checkpoint) -> int:
    """Return the bytes that a checkpoint and its unsaved segments need."""
    files = encode(checkpoint)
    missing = unsaved(stored, checkpoint.agent.segments)
    return sum(map(len, files.values())) + sum(len(encode_tensors(part.tensors())) for part in missing)


def _not_written(path: Path, error: OSError | WriteError, size: int) -> MetarlError:
    cause = error if isinstance(error, OSError) else error.__cause__
    assert isinstance(cause, OSError)
    kept = [other.name for other in _stored(path.parent) if _iteration(other) <= _iteration(path)]
    before = f"checkpoint {kept[0]} before it is intact" if kept else "there is none before it"
    if is_full(cause):
        needs = f"which needs {size / 1e6:.3f} MB"
        return MetarlError(f"No disk space for the checkpoint {path}, {needs}; {before}.")
    return MetarlError(f"The checkpoint {path} cannot be written ({cause.strerror}); {before}.")
