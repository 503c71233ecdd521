"""Help texts of commands, kept from one call to the next.

A command's help is made from its options' classes, and importing these imports PyTorch, which takes most of
the time. A kept text is printed only while everything that it was made from is as it was: the words, the
terminal, the environment, the folders of ``sys.path`` and every file that was imported (by time and size as
Python's own compiled files, and by inode and time of change too). Anything else makes the text anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO, cast

from metarl import __version__
from metarl.cli.console import console
from metarl.system.caches import cache_folder, is_own_file

_OF_THE_SHELL = ("_", "PWD", "OLDPWD", "SHLVL")
"""Environment variables that change from call to call, and say nothing."""


def asks_for_help(words: Sequence[str]) -> bool:
    """Return whether help is asked for."""
    return bool({"-h", "--help"} & set(words))


def show_help(words: Sequence[str], make: Callable[[], None]) -> None:
    """Print a command's kept help, or ``make`` and keep it; exits as tyro does."""
    # a process that has PyTorch would save nothing, and may have changed what is offered
    if "torch" in sys.modules or any(".py" in word for word in words):
        make()
        return
    path = cache_folder() / "help" / f"{hashlib.sha256(repr(list(words)).encode()).hexdigest()[:32]}.json"
    terminal = _terminal()
    kept = _read(path)
    if (
        kept is not None
        and kept["terminal"] == terminal
        and _stamps(cast("list[str]", kept["files"])) == kept["files"]
    ):
        sys.stdout.write(str(kept["text"]))
        sys.exit(0)
    recorder = _Recorder(sys.stdout)
    try:
        with contextlib.redirect_stdout(cast("TextIO", recorder)):
            make()
    except SystemExit as ended:
        if ended.code in (None, 0):  # tyro's end after a help
            _keep(path, {"text": recorder.text, "terminal": terminal, "files": _stamps(_imported())})
        raise


class _Recorder(io.TextIOBase):
    """Keeps the text that it passes on."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self.text = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        return self._output.encoding

    def isatty(self) -> bool:
        return self._output.isatty()

    def fileno(self) -> int:
        return self._output.fileno()

    def write(self, text: str) -> int:
        self.text += text
        return self._output.write(text)

    def flush(self) -> None:
        self._output.flush()


def _terminal() -> list[object]:
    """Return all but files that a text depends on, as JSON gives it back."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_SHELL}
    digest = hashlib.sha256(repr(sorted(environment.items())).encode()).hexdigest()
    output = [sys.stdout.isatty(), getattr(sys.stdout, "encoding", None), *console.size]
    return [__version__, sys.version, list(sys.path), output, digest]


def _imported() -> list[str]:
    """Return the files of all modules, and the folders that they may come from."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({str(Path(each)) for each in (*files, *sys.path) if each})


def _stamps(files: Iterable[str]) -> dict[str, list[int] | None]:
    """Return what changes with each file's content, None for one that is not there."""
    return {file: _stamp(file) for file in files}


def _stamp(file: str) -> list[int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]


def _read(path: Path) -> Mapping[str, object] | None:
    """Return a kept text; None if there is none that only this user could write."""
    if not is_own_file(path):
        return None
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("files"), dict)
    return cast("Mapping[str, object]", found) if whole and {"text", "terminal"} <= found.keys() else None


def _keep(path: Path, content: Mapping[str, object]) -> None:
    """Write a text, if it can be written."""
    from metarl.storage.files import WriteError, write_whole  # noqa: PLC0415  # start-up time

    with contextlib.suppress(WriteError):
        write_whole(path, json.dumps(content).encode(), mode=0o600)
