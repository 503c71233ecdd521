"""Success of Meta-World's scripted policies by factor of variation, in and beyond its training range.

    .venv/bin/python -m benchmarks.learning.factors --output results/factors/scripted.csv

Goals and starts are the same in each column: the first training goals of the family's ML1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.program import run
from benchmarks.scripted import scripted_steps
from metarl.envs.metaworld.factors import draw_factors, factors_of, families_varying
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.storage.files import write_rows
from metarl.types import Task

FAMILIES = (
    *("push-v3", "pick-place-v3", "bin-picking-v3", "sweep-into-v3", "hand-insert-v3", "plate-slide-v3"),
    *(
        "basketball-v3",
        "peg-insert-side-v3",
        "hammer-v3",
        "door-open-v3",
        "drawer-open-v3",
        "button-press-v3",
    ),
)
FACTORS = ("size", "mass", "friction")


def main(
    *,
    families: tuple[str, ...] = FAMILIES,
    goals: int = 20,
    horizon: int = 250,
    output: Path | None = None,
) -> None:
    """Run the scripted policies, and print the share of goals that they solve.

    Args:
        families: Meta-World's tasks.
        goals: number of goals of each.
        horizon: steps of an episode.
        output: CSV file of the table.
    """
    names = ["family", "published", *(f"{factor} {where}" for factor in FACTORS for where in ("in", "out"))]
    table, lines = Table(*names), [names]
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    for family in track(families, "scripted policies"):
        lines.append([family, *measure(family, goals, horizon)])
        table.add_row(family, *("-" if rate == "" else f"{100 * float(rate):.0f}" for rate in lines[-1][1:]))
        # written after each family, so that a run that is stopped loses nothing
        if output is not None:
            write_rows(output, lines)
    Console().print(table)


def measure(family: str, goals: int, horizon: int) -> list[str]:
    """Return the share of solved goals as published, then by factor; empty if the family lacks it."""
    config = ML1Config(task=family)
    tasks = config.build().tasks("train")[:goals]
    rates = [solved(tasks, (), horizon)]
    for factor in FACTORS:
        names = factors_of(family, (factor,))
        for beyond in (False, True):
            drawn = draw_factors(family, names, goals, config.goal_seed, "train", beyond=beyond).tolist()
            varied = [
                replace(task, parameters=(*task.parameters, *row))
                for task, row in zip(tasks, drawn, strict=True)
            ]
            rates.append(solved(varied, tuple(names), horizon) if names else "")
    return rates


def solved(tasks: list[Task] | tuple[Task, ...], factors: tuple[str, ...], horizon: int) -> str:
    """Return the share of tasks that the scripted policy solves at any step."""
    env = SawyerVectorEnv(
        families=[tasks[0].family],
        default_tasks=tasks,
        num_envs=len(tasks),
        horizon=horizon,
        known=families_varying(factors),
    )
    _, success = zip(*scripted_steps(env, tasks, horizon), strict=True)
    env.close()
    return f"{np.array(success).any(axis=0).mean():.2f}"


if __name__ == "__main__":
    run(main)
