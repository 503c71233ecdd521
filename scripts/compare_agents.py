"""Put sweeps of several agents on the same tasks beside each other: a table, curves as CSV, a figure."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.main import exit_code
from metarl.reporting.figures.agents import write_league


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Put sweeps of several agents on the same tasks beside each other."""

    sweeps: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that metarl sweep made, one for each agent."""
    output: Path
    """Folder for the results."""
    title: str
    """Title of the figure."""


def main() -> None:
    """Write the files and print their paths."""
    wanted = tyro.cli(Arguments)
    for path in write_league(wanted.sweeps, wanted.output, wanted.title):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
