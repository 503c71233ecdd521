"""Writes each file whole or not at all.

This holds whatever the process, the machine or the disk does: a file is written under a temporary name beside
its place, synced to disk and renamed. The temporary name says which process it belongs to, so that two never
share one, and the next writer deletes those of killed ones.
"""

from __future__ import annotations

import csv
import errno
import functools
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from metarl.errors import MetarlError
from metarl.types import Json

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS)
_TEMPORARY = re.compile(r"\.metarl-([0-9a-f]{16})-(\d+)-[0-9a-f]{16}\.tmp")
_ENDINGS = (".json", ".csv", ".png", ".html", ".mp4", ".onnx", ".zip")
_ABANDONED = 24 * 3600.0  # seconds, where the process may still run, unseen


class WriteError(MetarlError):
    """A file that cannot be written; its cause says why."""


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file, whole or not at all, and its folder if need be.

    Raises:
        WriteError: if it cannot be written; the old file stays, and nothing else is left.
    """
    try:
        make_folder(path.parent)
        tidy(path.parent)
        temporary = _temporary(path.parent)
        try:
            write_synced(temporary, content, mode)
            # renaming is atomic: readers see the old file or the new one
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        if is_full(error):
            kept = "; the old file is intact" if path.exists() else ""
            raise WriteError(f"No disk space for the file {path}{kept}.") from error
        raise WriteError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_writable(path: Path, *, folder: bool = False, size: int = 1 << 16) -> None:
    """Check before the work that an output of about ``size`` bytes can be written; leave nothing.

    Raises:
        WriteError: if a file, or the files of a ``folder``, could not be written there.
    """
    try:
        if path.is_dir() and not folder:
            raise WriteError(f"{path} is a folder; name a file with --output.")
        if folder and path.suffix.lower() in _ENDINGS and not path.exists():
            raise WriteError(f"Expected a folder for several files, got {path}; name a folder with --output.")
        place = path if folder else path.parent
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            # random bytes, as some disks keep zeros for nothing
            file.write(secrets.token_bytes(size))
            file.flush()
            sync(file.fileno())
    except OSError as error:
        reason = error.strerror or error
        raise WriteError(f"{path} cannot be written: {reason}; choose another --output.") from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of files, whole or absent, or raise OSError."""
    make_folder(folder.parent)
    tidy(folder.parent)
    temporary = _temporary(folder.parent)
    try:
        temporary.mkdir()
        for name, content in files.items():
            write_synced(temporary / name, content)
        sync_folder(temporary)
        temporary.replace(folder)
    except BaseException:
        # nothing remains of a folder that could not be finished
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def is_full(error: OSError) -> bool:
    """Return whether the disk or quota is full."""
    return error.errno in _FULL


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_whole(path, text.encode())


def write_json(path: Path, data: Mapping[str, Json], indent: int | None = None) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, encode_json(data, indent))


def encode_json(data: Mapping[str, Json], indent: int | None = None) -> bytes:
    """Return a JSON object as a file's content."""
    return (json.dumps(data, indent=indent) + "\n").encode()


def write_rows(path: Path, rows: Iterable[Sequence[str | int | float]]) -> None:
    """Write a CSV, whole or not at all."""
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    write_text(path, table.getvalue())


def write_synced(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write and sync a new file, or raise OSError."""
    with path.open("xb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        sync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder if needed, and sync its name to disk."""
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder's names, where supported."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in (*_CANNOT_SYNC, errno.EACCES, errno.EISDIR):
            return
        raise
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Sync a file, if supported; OSError if the disk fails."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def tidy(folder: Path) -> None:
    """Delete temporary files and folders of killed processes."""
    for path in folder.glob(".metarl-*.tmp"):
        if not _is_abandoned(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _temporary(folder: Path) -> Path:
    return folder / f".metarl-{_process_table()}-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def _is_abandoned(path: Path) -> bool:
    name = _TEMPORARY.fullmatch(path.name)
    if name is None:
        return False
    if name[1] != _process_table():  # another machine's or container's, on a shared file system
        try:
            return time.time() - path.stat().st_mtime > _ABANDONED
        except FileNotFoundError:
            return False
    try:
        os.kill(int(name[2]), 0)
    except OSError as error:  # a running process of another user refuses
        return error.errno == errno.ESRCH
    return False


@functools.cache
def _process_table() -> str:
    """Name this boot of the machine or container."""
    # process numbers are unique only within one boot
    words = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            path = Path(source)
            words.append(str(path.readlink()) if path.is_symlink() else path.read_text())
        except OSError:  # no Linux
            continue
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


@contextmanager
def all_or_none(folder: Path, stems: Sequence[str]) -> Iterator[None]:
    """Take a folder's files with these stems back to what they were if the disk fails.

    Raises:
        MetarlError: if the disk is full.
    """
    beginnings = tuple(f"{stem}{mark}" for stem in stems for mark in ".-")
    before = set(folder.iterdir())
    kept = _keep([path for path in before if path.name.startswith(beginnings)], folder)
    try:
        yield
    except (OSError, MetarlError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        for path in set(folder.iterdir()) - before:
            if path.name.startswith(beginnings):
                path.unlink(missing_ok=True)
        for path in kept.glob("*"):
            path.replace(folder / path.name)
        if not is_full(cause):
            raise
        raise MetarlError(f"No disk space for the results in {folder}; none of them is kept.") from error
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _keep(paths: Sequence[Path], folder: Path) -> Path:
    """Give files a second name in a new folder, which keeps them when the first is renamed over."""
    kept = _temporary(folder)
    # best effort: where it cannot be done, what is replaced is lost if the disk fails
    with suppress(OSError):
        kept.mkdir()
        for path in paths:
            (kept / path.name).hardlink_to(path)
    return kept
