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
    """A segment that is missing or altered."""

    def __init__(self, name: str, problem: str) -> None:
        self.reason = f"its segment {name[:12]} {problem}"
        super().__init__(f"The run is damaged ({self.reason}).")


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
    """Return a saved segment, which reads its file when its tensors are asked for."""
    return Segment(functools.partial(read_segment, folder, name), name)


def read_segment(folder: Path, name: str) -> Params:
    """Return the tensors of a segment; DamagedSegment if it is missing or altered."""
    try:
        content = _file(folder, name).read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from error
    if sha256(content) != name:
        raise _altered(name)
    try:
        return decode_tensors(content)
    except ValueError as error:
        raise _altered(name) from error


def check_segments(folder: Path, names: Sequence[str]) -> None:
    """Verify each segment, keeping none; DamagedSegment if one is missing or altered."""
    for name in names:
        try:
            with _file(folder, name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(name, error) from error
        if found != name:
            raise _altered(name)


def drop_segments(folder: Path, needed: Collection[str]) -> None:
    """Delete unneeded segments of a folder; other files stay."""
    for path in folder.glob("*.safetensors"):
        name = _NAME.fullmatch(path.name)
        if name is not None and name[1] not in needed:
            path.unlink(missing_ok=True)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _unreadable(name: str, error: OSError) -> DamagedSegment:
    return DamagedSegment(name, f"cannot be read: {error.strerror}")


def _altered(name: str) -> DamagedSegment:
    return DamagedSegment(name, "is not what was saved")
