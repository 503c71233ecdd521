"""Console of all commands; errors to standard error."""

from __future__ import annotations

import contextlib
import os
import sys

from rich.console import Console, RenderableType

from metarl.plugins import entry_points
from metarl.reporting.plain_tables import list_table

NOBODY_READS = 141  # exit code, SIGPIPE's, where the reader is gone, as in ``metarl list | head -1``


class _Console(Console):
    """Ends the program quietly where nobody reads it."""

    def on_broken_pipe(self) -> None:
        silence()
        raise SystemExit(NOBODY_READS)


console = _Console(highlight=False)


def say(message: str) -> None:
    """Print a sentence."""
    console.print(message, markup=False, soft_wrap=True)


def tell(what: RenderableType) -> None:
    """Print a table or a sentence."""
    if isinstance(what, str):
        say(what)
    else:
        console.print(what)


def print_names(group: str) -> None:
    """Print a group's names, each with its description."""
    rows = [(name, entry_points.describe(group, name)) for name in entry_points.names(group)]
    console.print(list_table(group.removeprefix("metarl."), rows))


def say_error(message: str) -> None:
    """Print an error as a sentence, to stderr."""
    Console(stderr=True, highlight=False).print(f"metarl: {message}", markup=False, soft_wrap=True)


def silence() -> None:
    """Discard all output, even at Python's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(AttributeError, ValueError, OSError):  # a caller's object, which is no file
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
