"""Results that are whole or absent, whatever the disk does."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from metarl.errors import MetarlError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it; its folder is made if need be.

    Raises:
        MetarlError: if it cannot be written; what was there before stays, and nothing else is left.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MetarlError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def all_or_none(folder: Path, stems: Sequence[str]) -> Iterator[None]:
    """Take back the new files of a folder if the disk fails while they are written.

    Args:
        folder: where they are written; it is there.
        stems: what their names begin with, before a dot or a hyphen.

    Raises:
        MetarlError: if the disk is full.
    """
    before = set(folder.iterdir())
    try:
        yield
    except (OSError, MetarlError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        beginnings = tuple(f"{stem}{mark}" for stem in stems for mark in ".-")
        for path in set(folder.iterdir()) - before:
            if path.name.startswith(beginnings):
                path.unlink(missing_ok=True)
        if cause.errno not in _FULL:
            raise
        raise MetarlError(f"No disk space for the results in {folder}; none of them is kept.") from error
