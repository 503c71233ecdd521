"""Put the training curves of runs with different settings beside each other, as CSV and as a figure."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.main import exit_code
from metarl.reporting.figures.settings import write_curves


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Put runs with different settings beside each other."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs or sweeps, finished or not."""
    labels: tuple[str, ...]
    """What the figure calls each of them."""
    output: Path
    """Folder for the results."""
    title: str
    """Title of the figure."""
    window: float = 1e6
    """Environment steps that a point of a curve is the mean over."""


def main() -> None:
    """Write the files and print their paths."""
    wanted = tyro.cli(Arguments)
    files = write_curves(wanted.runs, wanted.labels, wanted.output, wanted.title, window=wanted.window)
    for path in files:
        print(path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
