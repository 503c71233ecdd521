"""Locks on runs' folders, released by the kernel."""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from metarl.errors import MetarlError

LOCK = ".lock"
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR, errno.ENOENT)
logger = logging.getLogger(__name__)


class HeldError(MetarlError):
    """A lock that another process holds."""


@contextmanager
def locked(folder: Path, name: str = LOCK, *, patience: float = 0.0) -> Iterator[None]:
    """Lock a run's folder, within this process too.

    On a file system without locks (Lustre without ``-o flock``, some NFS and FUSE) a warning says so.

    Args:
        name: of the lock file, if the folder has several.
        patience: seconds to wait for another process.

    Raises:
        HeldError: if another process holds it.
        MetarlError: if the lock file cannot be written.
    """
    path = folder / name
    lock = FileLock(path, timeout=patience, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        # the holder wrote its process id into the lock
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "(unknown)"
        raise HeldError(
            f"The run {folder} is still going on in process {holder}; stop that one first."
        ) from error
    except OSError as error:
        if error.errno in _DENIED:
            raise _refusal(folder, error) from error
        # the file system knows no locks: go on, but say so
        _warn_once(folder, error.strerror or str(error))
    try:
        try:
            path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        except OSError as error:
            raise _refusal(folder, error) from error
        yield
    finally:
        lock.release()


@functools.cache
def _warn_once(folder: Path, reason: str) -> None:
    said = "%s is on a file system without locks (%s): nothing keeps a second process off this run."
    logger.warning(said, folder, reason)


def _refusal(folder: Path, error: OSError) -> MetarlError:
    return MetarlError(f"The run folder {folder} cannot be locked: {error.strerror or error}.")
