"""Segments: blocks of tensors, written once, that several checkpoints share.

A segment is a file ``RUN/segments/<SHA-256>.safetensors``. It is written before the first checkpoint that
refers to it and deleted after the last, so a checkpoint that is whole has all its segments. A process that
dies in between leaves at most segments that nobody needs; the next save deletes them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from metarl.errors import MetarlError
from metarl.storage.files import write_whole
from metarl.storage.tensor_files import decode_tensors, encode_tensors, sha256
from metarl.types import Params, Segment

_NAME = re.compile(r"([0-9a-f]{64})\.safetensors")


class DamagedSegment(MetarlError):
    """A segment that is altered."""

    def __init__(self, name: str) -> None:
        self.reason = f"its segment {name[:12]} is not what was saved"
        super().__init__(f"The run is damaged ({self.reason}).")


class MissingSegment(MetarlError):
    """A segment that cannot be read here."""

    def __init__(self, path: Path, error: OSError) -> None:
        # of a whole folder that is gone, name the folder
        self.path = path if path.parent.is_dir() else path.parent
        self.problem = "it is a folder" if path.is_dir() else f"{error.strerror}"
        super().__init__(f"The run's {self.path} cannot be read ({self.problem}).")


def is_sum(text: object) -> bool:
    """Return whether something looks like a segment's sum."""
    return isinstance(text, str) and _NAME.fullmatch(f"{text}.safetensors") is not None


def write_segments(folder: Path, segments: Sequence[Segment]) -> None:
    """Write segments that the folder lacks; WriteError if one cannot be written."""
    for segment in unsaved(folder, segments):
        content = encode_tensors(segment.tensors())
        name = sha256(content)
        # a file of this name may have been damaged since it was written, so it is replaced unseen
        write_whole(_file(folder, name), content)
        segment.sha256 = name


def unsaved(folder: Path, segments: Sequence[Segment]) -> list[Segment]:
    """Return segments that the folder lacks."""
    return [part for part in segments if not (part.sha256 and _file(folder, part.sha256).is_file())]


def saved_segment(folder: Path, name: str) -> Segment:
    """Return a saved segment, read when asked."""
    return Segment(functools.partial(read_segment, folder, name), name)


def read_segment(folder: Path, name: str) -> Params:
    """Return a segment's tensors; raises MissingSegment, or DamagedSegment if it is altered."""
    path = _file(folder, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingSegment(path, error) from error
    if sha256(content) != name:
        raise DamagedSegment(name)
    try:
        return decode_tensors(content)
    except ValueError as error:
        raise DamagedSegment(name) from error


def check_segments(folder: Path, names: Sequence[str]) -> None:
    """Verify each segment, keeping none.

    Raises:
        MissingSegment: if one cannot be read.
        DamagedSegment: if one is altered.
    """
    for name in names:
        path = _file(folder, name)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise MissingSegment(path, error) from error
        if found != name:
            raise DamagedSegment(name)


def has_all(folder: Path, names: Sequence[str]) -> bool:
    """Return whether each segment has a file."""
    return all(_file(folder, name).is_file() for name in names)


def drop_segments(folder: Path, needed: Collection[str]) -> None:
    """Delete a folder's unneeded segments, no other files."""
    for path in folder.glob("*.safetensors"):
        name = _NAME.fullmatch(path.name)
        if name is not None and name[1] not in needed and not path.is_dir():
            path.unlink(missing_ok=True)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"
