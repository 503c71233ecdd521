"""Console of all commands: sentences go to one console, mistakes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys

from rich.console import Console

NOBODY_READS = 141
"""Exit code, SIGPIPE's, where the reader is gone, as in ``metarl list | head -1``."""


class _Console(Console):
    """Ends the program quietly where nobody reads it."""

    def on_broken_pipe(self) -> None:
        silence()
        raise SystemExit(NOBODY_READS)


console = _Console(highlight=False)


def say(message: str) -> None:
    """Print a sentence."""
    console.print(message, markup=False, soft_wrap=True)


def say_error(message: str) -> None:
    """Print an error to standard error, as one sentence."""
    Console(stderr=True, highlight=False).print(f"metarl: {message}", markup=False, soft_wrap=True)


def silence() -> None:
    """Discard all output, even at Python's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(AttributeError, ValueError, OSError):  # a caller's object, which is no file
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
