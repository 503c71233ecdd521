"""How the programs here start and end."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import tyro

from metarl.cli.main import exit_code
from metarl.storage.files import check_writable


def run(main: Callable[..., object], stopped: str = "Stopped.") -> NoReturn:
    """Call a function with the options of the command line, and exit.

    A mistake, or being stopped, is one sentence and an exit code that is not 0. An ``output`` that cannot be
    written is found before the work.
    """

    @functools.wraps(main)
    def checked(*arguments: object, **options: object) -> object:
        output = inspect.signature(main).bind(*arguments, **options).arguments.get("output")
        if isinstance(output, Path):
            check_writable(output, folder=output.is_dir() or not output.suffix)
        return main(*arguments, **options)

    def work() -> None:
        tyro.cli(checked)

    sys.exit(exit_code(work, stopped))
