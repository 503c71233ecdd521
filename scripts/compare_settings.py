"""Draw the training curves of runs or sweeps, finished or not, as CSV and figure."""

import sys
from pathlib import Path

import tyro

from metarl.cli.main import exit_code
from metarl.reporting.figures.training_curves import write_curves

Folders = tyro.conf.Positional[tuple[Path, ...]]


def main(runs: Folders, labels: tuple[str, ...], output: Path, title: str, window: float = 1e6) -> None:
    """Draw training curves, each point a mean over a window of environment steps; print the files."""
    print(*write_curves(runs, labels, output, title, window=window), sep="\n")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: tyro.cli(main)))
