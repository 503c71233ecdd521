"""Combine runs that differ only in their seed, or evaluations of them, in one folder: tables and figures."""

import sys
from pathlib import Path

import tyro

from metarl.cli.main import exit_code
from metarl.reporting.aggregate import combine


def main(runs: tyro.conf.Positional[tuple[Path, ...]], output: Path, title: str) -> None:
    """Combine runs that differ only in their seed, and print the files.

    Args:
        runs: their folders, or files of metarl evaluate, of which no training curve is drawn.
        output: folder of the result.
        title: of the figures.
    """
    print(*combine(runs, output, title), sep="\n")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: tyro.cli(main)))
