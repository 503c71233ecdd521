"""The folder for cached results, which can all be computed again.

It holds compiled code, drawn goals and states after resets. Compiled code from it is run, so the folder must
be the user's own: another user could replace its files.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)
_NOWHERE = Path(os.devnull)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Return this user's folder for caches.

    It is ``$XDG_CACHE_HOME/metarl`` or ``~/.cache/metarl``; without a home where it can be made, a folder in
    the temporary one. Where that cannot be either, a line in the log says so and the path is one that nobody
    can write to.
    """
    return _choose(os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", ""), os.geteuid())


def is_own_file(path: Path) -> bool:
    """Return whether only this user writes a file."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS_WRITE


def keep_matplotlib_quiet() -> None:
    """Give Matplotlib a cache folder if needed."""
    if "MPLCONFIGDIR" not in os.environ and not _has_home() and cache_folder() != _NOWHERE:
        os.environ["MPLCONFIGDIR"] = str(cache_folder() / "matplotlib")


def _has_home() -> bool:
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    try:
        writable = os.access(Path.home(), os.W_OK)
    except RuntimeError:
        return False
    return writable and (not xdg or Path(xdg).is_absolute()) and cache_folder() in _homes()


@functools.cache
def _choose(xdg: str, home: str, user: int) -> Path:
    """Return the first usable folder, searched for once."""
    reasons = ["there is no home" if not list(_homes()) else ""]
    # the first folder that can be made and that nobody else can write to
    for folder in (*_homes(), *_temporary(user)):
        try:
            _make_own(folder)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
        else:
            if reason := "; ".join(filter(None, reasons)):
                logger.info("Caches are kept in %s (%s).", folder, reason)
            return folder
    reason = "; ".join(filter(None, reasons))
    logger.warning("There is no folder for caches (%s): what they hold is computed again each time.", reason)
    return _NOWHERE


def _homes() -> Iterator[Path]:
    """Yield the user's cache folders, best first."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        yield base / "metarl"
    with suppress(RuntimeError):  # no HOME, and no entry in /etc/passwd
        home = Path.home()
        if os.environ.get("HOME") != "" and home.is_absolute() and home.is_dir():
            yield home / ".cache" / "metarl"


def _temporary(user: int) -> Iterator[Path]:
    with suppress(OSError):  # no folder can be written to
        yield Path(tempfile.gettempdir()) / f"metarl-{user}"


def _make_own(folder: Path) -> None:
    """Make a folder only this user can write to, or raise OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    around = folder.parent.stat().st_mode
    if around & stat.S_IWOTH and not around & stat.S_ISVTX:
        raise PermissionError(f"others can replace what is in {folder.parent}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if {found.st_uid, folder.lstat().st_uid} != {os.geteuid()}:  # a link of the user's own may be followed
        raise PermissionError("it is not this user's own folder")
    if found.st_mode & _OTHERS_WRITE:
        folder.chmod(0o700)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError("it cannot be written to")
