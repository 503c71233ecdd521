"""Put runs that differ only in their seed into one folder: curves as CSV, tables, figures."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.main import exit_code
from metarl.reporting.aggregate import combine


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Put runs that differ only in their seed into one folder."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of finished runs."""
    output: Path
    """Folder for the results."""
    title: str
    """Title of the figures."""


def main() -> None:
    """Write the files and print their paths."""
    wanted = tyro.cli(Arguments)
    for path in combine(wanted.runs, wanted.output, wanted.title):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
