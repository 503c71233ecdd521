"""How the programs here start and end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import tyro

from metarl.cli.main import exit_code


def run(main: Callable[..., object], stopped: str = "Stopped.") -> NoReturn:
    """Call a function with the options of the command line, and exit.

    A mistake, or being stopped, is one sentence and an exit code that is not 0.
    """

    def work() -> None:
        tyro.cli(main)

    sys.exit(exit_code(work, stopped))
