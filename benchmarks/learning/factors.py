"""Success of Meta-World's scripted policies by factor of variation, in and beyond its training range.

    .venv/bin/python -m benchmarks.learning.factors --output results/factors/scripted.csv

Goals and starts are the same in each column: the first training goals of the family's ML1. A column's other
numbers are drawn from the factor's training range, from its held-out range, or from one far beyond both.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.program import run
from benchmarks.scripted import solved
from metarl.envs.metaworld.env import MAX_HORIZON
from metarl.envs.metaworld.factors import FACTORS, factors_of, families_varying
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.envs.task_sampling.ranges import Range
from metarl.storage.files import write_rows
from metarl.types import Task

FAMILIES = ("push-v3", "pick-place-v3", "bin-picking-v3")
FAR = {
    "size": Range(0.8, 1.2, 0.6, 1.4, logarithmic=True),
    "mass": Range(0.25, 4.0, 1 / 32, 32.0, logarithmic=True),
    "friction": Range(0.5, 2.0, 1 / 8, 8.0, logarithmic=True),
}
"""Ranges whose margins begin where those of the suite end."""
RANGES = ("training", "held out", "far")
Tasks = list[Task] | tuple[Task, ...]


def main(
    *,
    families: tuple[str, ...] = FAMILIES,
    goals: Annotated[int, Ge(1)] = 20,
    output: Path | None = None,
) -> None:
    """Run the scripted policies, and print the share of goals that they solve.

    Args:
        families: Meta-World's tasks.
        goals: number of goals of each.
        output: CSV file of the table.
    """
    names = ["family", "published", *(f"{factor} {where}" for factor in FAR for where in RANGES)]
    table, lines = Table(*names), [names]
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    for family in track(families, "scripted policies"):
        lines.append([family, *measure(family, goals)])
        table.add_row(family, *("-" if rate == "" else f"{100 * float(rate):.0f}" for rate in lines[-1][1:]))
        # written after each family, so that a run that is stopped loses nothing
        if output is not None:
            write_rows(output, lines)
    Console().print(table)


def measure(family: str, goals: int) -> list[str]:
    """Return the share of solved goals as published, then by factor; empty if the family lacks it."""
    tasks = ML1Config(task=family).build().tasks("train")[:goals]
    rates = [share(tasks, ())]
    for factor in FAR:
        for where in RANGES:
            varied = vary(tasks, factor, where)
            rates.append(share(varied, (factor,)) if factors_of(family, (factor,)) else "")
    return rates


def vary(tasks: Tasks, factor: str, where: str) -> list[Task]:
    """Give each task a number for a factor, from one of its ranges."""
    numbers = FAR[factor] if where == "far" else FACTORS[factor]
    rng = np.random.default_rng(zlib.crc32(f"{tasks[0].family} {factor} {where}".encode()))
    return [
        replace(task, parameters=(*task.parameters, numbers.draw(rng, beyond=where != "training")))
        for task in tasks
    ]


def share(tasks: Tasks, factors: tuple[str, ...]) -> str:
    """Return the share of tasks that the scripted policy solves at any step."""
    env = SawyerVectorEnv(
        families=[tasks[0].family],
        default_tasks=tasks,
        num_envs=len(tasks),
        num_threads=1,
        horizon=MAX_HORIZON,
        known=families_varying(factors),
    )
    return f"{solved(env, tasks).mean():.2f}"


if __name__ == "__main__":
    run(main)
