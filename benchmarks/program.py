"""How the programs here start and end."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import tyro

from metarl.cli.main import exit_code
from metarl.settings import check_number
from metarl.storage.files import check_writable


def run(main: Callable[..., object], stopped: str = "Stopped.") -> NoReturn:
    """Call a function with the options of the command line, and exit.

    A mistake, or being stopped, is one sentence and an exit code that is not 0. A number beyond the bounds of
    its type and an ``output`` that cannot be written are found before the work.
    """

    @functools.wraps(main)
    def checked(*arguments: object, **options: object) -> object:
        given = inspect.signature(main).bind(*arguments, **options).arguments
        for name, hint in typing.get_type_hints(main, include_extras=True).items():
            if name in given:
                check_number(name, given[name], hint)
        output = given.get("output")
        if isinstance(output, Path):
            check_writable(output, folder=output.is_dir() or not output.suffix)
        return main(*arguments, **options)

    def work() -> None:
        tyro.cli(checked)

    sys.exit(exit_code(work, stopped))
