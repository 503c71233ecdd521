"""Combine runs that differ only in their seed in one folder: curves as CSV, tables, figures."""

import sys
from pathlib import Path

import tyro

from metarl.cli.main import exit_code
from metarl.reporting.aggregate import combine


def main(runs: tyro.conf.Positional[tuple[Path, ...]], output: Path, title: str) -> None:
    """Combine runs that differ only in their seed, and print the files."""
    print(*combine(runs, output, title), sep="\n")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: tyro.cli(main)))
