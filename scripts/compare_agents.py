"""Put sweeps of several agents on the same tasks beside each other: a table, curves as CSV, a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.league import write_league


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Put sweeps of several agents on the same tasks beside each other."""

    sweeps: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that metarl sweep made, one for each agent."""
    output: Path
    """Folder for the results."""
    title: str
    """Title of the figure."""


if __name__ == "__main__":
    wanted = tyro.cli(Arguments)
    for path in write_league(wanted.sweeps, wanted.output, wanted.title):
        print(path)
