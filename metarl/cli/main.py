"""Command line ``metarl COMMAND``, an entry point."""

from __future__ import annotations

import io
import logging
import os
import platform
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO, cast

from rich.logging import RichHandler

from metarl import __version__
from metarl.cli.console import NOBODY_READS, console, print_names, say, say_error, silence
from metarl.cli.kept_help import asks_for_help, show_help
from metarl.errors import MetarlError, RankLostError, Stopped
from metarl.plugins import entry_points
from metarl.system.caches import keep_matplotlib_quiet
from metarl.system.launch import is_first_here, launched
from metarl.system.signals import handled

DEBUG = "METARL_DEBUG"  # environment variable with which another package's command ends in a traceback


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # standard outputs may be closed, ``metarl list >&-``, or odd objects
    sys.stdout, sys.stderr = usable(sys.stdout), usable(sys.stderr)
    handler = RichHandler(console=console, show_path=False, show_time=False)
    logging.basicConfig(format="%(message)s", handlers=[handler])
    logging.getLogger("metarl").setLevel(logging.INFO if is_first_here() else logging.CRITICAL)
    return exit_code(lambda: dispatch(sys.argv[1:] if arguments is None else list(arguments)))


def exit_code(work: Callable[[], None], stopped: str = "Stopped; unfinished results are not written.") -> int:
    """Return 0, 2 for a mistake, 130 if stopped, 141 without a reader."""
    try:
        # SIGTERM is treated as Ctrl-C
        with handled((signal.SIGTERM,), signal.default_int_handler):
            try:
                work()
            finally:
                sys.stdout.flush()  # here, so that an error in it is reported
    except Stopped:
        return 130
    except KeyboardInterrupt:
        say(stopped)
        return 130
    except MetarlError as error:
        # the ranks of a machine have the same mistake, which the first reports
        if is_first_here() or isinstance(error, RankLostError):
            say_error(f"{error}{about_current_folder()}")
        return 2
    except OSError as error:
        if nobody_reads(error):
            silence()
            return NOBODY_READS
        say_error(f"{error.filename or 'The disk'}: {error.strerror or error}.{about_current_folder()}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_want_of_memory(error):
            raise
        say_error(f"There is not enough memory for this: {str(error).splitlines()[0]}")
        return 2
    return 0


def is_want_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether host or device memory ran out."""
    torch = sys.modules.get("torch")  # not imported for this alone
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def about_current_folder() -> str:
    """Return a hint if the folder was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return " The current folder was removed: change to another one."
    return ""


def dispatch(arguments: list[str]) -> None:
    """Run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        show_usage()
        return
    if arguments[0] == "--version":
        say(f"metarl {__version__}")
        return
    if platform.system() == "Windows":
        raise MetarlError("Expected Linux or another POSIX system, got Windows; run metarl in WSL.")
    name, *rest = arguments
    if launched():
        if name != "train":
            raise MetarlError(
                f"Only metarl train runs on several ranks; start metarl {name} without torchrun."
            )
        # torch reads it when it is imported; it would print C++ stacks of connections that end
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    keep_matplotlib_quiet()
    entry = entry_points.find(entry_points.COMMANDS, name)  # a slip is reported at once

    def command() -> None:
        run = cast("Callable[[list[str]], None]", entry_points.load(entry_points.COMMANDS, name))
        run(rest)

    if not entry.value.startswith("metarl."):
        run_others(f"The command {name!r} ({entry.value})", command)
    elif asks_for_help(rest):  # another package's command may take --help for something else
        show_help(arguments, command)
    else:
        command()


def run_others(label: str, command: Callable[[], None]) -> None:
    """Run another package's command; MetarlError says what it raises, and where."""
    try:
        command()
    except (MetarlError, OSError, Stopped):
        raise
    except Exception as error:
        of_memory = isinstance(error, MemoryError | RuntimeError) and is_want_of_memory(error)
        if of_memory or os.environ.get(DEBUG):
            raise
        from metarl.plugins.user_files import at_fault  # noqa: PLC0415  # start-up time

        wrong = at_fault(error, f"{label} fails")
        raise MetarlError(f"{wrong} {DEBUG}=1 shows the traceback.") from error


def usable(stream: TextIO | None) -> TextIO:
    """Return an output that takes any text."""
    if stream is None or getattr(stream, "closed", False):
        return cast("TextIO", _Output())
    if not hasattr(stream, "flush"):
        return cast("TextIO", _Output(stream.write))
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")  # a folder's name need not be text
    return stream


class _Output(io.TextIOBase):
    """An output that discards text, or calls ``write``."""

    def __init__(self, write: Callable[[str], object] = len) -> None:
        self._write = write

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)


def nobody_reads(error: OSError) -> bool:
    """Return whether standard output lost its reader."""
    if not isinstance(error, BrokenPipeError):
        return False
    watch = select.poll()
    try:
        watch.register(sys.stdout, 0)
    except (TypeError, ValueError, OSError):  # a caller's object, which is no file
        return False
    return any(event & select.POLLERR for _, event in watch.poll(0))


def show_usage() -> None:
    """Print the help of the whole program."""
    say("usage: metarl COMMAND [OPTIONS]\n\nMeta-reinforcement learning on simulated robots.\n")
    print_names(entry_points.COMMANDS)
    say("\nmetarl COMMAND --help lists the options; metarl --version prints the version.")
