"""One process a run: a lock on the run's folder, which the kernel lets go of however its holder ends."""

from __future__ import annotations

import functools
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl.errors import MetarlError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # checked by whoever locks

LOCK = ".lock"
logger = logging.getLogger(__name__)


def require_locks() -> None:
    """Make sure that this system is one that metarl runs on.

    Raises:
        MetarlError: if it has no file locks, as Windows.
    """
    if fcntl is None:
        raise MetarlError(
            f"Expected Linux or another POSIX system, got {platform.system()}, which has no file locks "
            "(fcntl); on Windows run metarl in WSL."
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a run's folder from other processes, and from other parts of this one.

    Where the file system knows no locks, a warning says that nothing does so.

    Raises:
        MetarlError: if someone else has it, or the lock file cannot be written.
    """
    require_locks()
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _refusal(folder, error) from error
    try:
        _take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        raise MetarlError(
            f"The run {folder} is still going on in process {holder or '(unknown)'}; stop that one first."
        ) from error
    except OSError as error:  # Lustre without -o flock, some NFS and FUSE
        _warn_once(folder, error.strerror or str(error))
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        raise _refusal(folder, error) from error


@functools.cache
def _warn_once(folder: Path, reason: str) -> None:
    logger.warning(
        "%s is on a file system without locks (%s): nothing keeps a second process off this run.",
        folder,
        reason,
    )


def _refusal(folder: Path, error: OSError) -> MetarlError:
    return MetarlError(f"The run folder {folder} cannot be locked: {error.strerror or error}.")
