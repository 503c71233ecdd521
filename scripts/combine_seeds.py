"""Put runs that differ only in their seed into one folder: curves as CSV, tables, figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.seeds import combine


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Put runs that differ only in their seed into one folder."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of finished runs."""
    output: Path
    """Folder for the results."""
    title: str
    """Title of the figures."""


if __name__ == "__main__":
    wanted = tyro.cli(Arguments)
    for path in combine(wanted.runs, wanted.output, wanted.title):
        print(path)
