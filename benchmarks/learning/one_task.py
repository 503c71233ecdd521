"""RL² on single tasks of Meta-World, one run each: a table of success, and their curves.

    .venv/bin/python -m benchmarks.learning.one_task --output results/ml1-families-rl2

Runs that are there already are gone on with, so a stopped program starts where it was.
"""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.program import run
from metarl.cli.main import main as metarl
from metarl.errors import MetarlError, require
from metarl.reporting.csv_files import write_csv
from metarl.reporting.figures.training_curves import write_curves
from metarl.storage.run_folder import CONFIG
from metarl.training.evaluation_reader import is_finished

ITERATIONS = {
    "button-press-topdown-v3": 140,
    "door-open-v3": 140,
    "drawer-open-v3": 140,
    "sweep-into-v3": 140,
    "window-open-v3": 140,
    "shelf-place-v3": 280,
    "peg-insert-side-v3": 400,
}
"""Of 7,500 steps each; more for tasks in which something must be picked up and put into place."""
AGENT = ("--agent", "rl2", "--agent.trial-episodes", "1")
SUITE = ("--training-goals", "500", "--success-bonus", "10")


def main(output: Path, *, tasks: tuple[str, ...] = tuple(ITERATIONS), seed: int = 0) -> None:
    """Train RL² on each task and write ``success.csv``, ``curves.csv`` and ``curves.png``.

    Args:
        output: folder for the files.
        tasks: some of those above.
        seed: of every run.
    """
    for task in tasks:
        require(task in ITERATIONS, f"Expected tasks among {', '.join(ITERATIONS)}", task)
    folders = [train(task, Path("runs", f"one-{task}-seed{seed}"), seed) for task in tasks]
    rows = [row for task, folder in zip(tasks, folders, strict=True) for row in success(task, folder)]
    files = write_curves(folders, tasks, output, "RL² on single tasks of Meta-World", window=1e5)
    write_csv(output / "success.csv", rows)
    print(output / "success.csv", *files, sep="\n")


def train(task: str, folder: Path, seed: int) -> Path:
    """Train on a task, or go on, as the command line does; return the run's folder.

    Raises:
        MetarlError: if the training failed, which has said why.
    """
    if (folder / CONFIG).is_file():
        arguments = ["--resume", str(folder)]
    else:
        own = f"--task {task} --iterations {ITERATIONS[task]} --seed {seed} --name {folder.name}".split()
        arguments = ["ml1", *own, *AGENT, *SUITE]
    if not is_finished(folder) and metarl(["train", *arguments]) != 0:
        raise MetarlError(f"The training of {folder} did not end.")
    return folder


def success(task: str, folder: Path) -> list[dict[str, str | float]]:
    """Return the rows of a finished run's table of success."""
    with (folder / "evaluation-success.csv").open(newline="") as file:
        return [{"task": task, "iterations": ITERATIONS[task], **row} for row in csv.DictReader(file)]


if __name__ == "__main__":
    run(main, "Stopped; the same command goes on.")
