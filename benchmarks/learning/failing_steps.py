"""Meta-World's rewards for steps that fail, beside those that solve the task, under its scripted policies.

    .venv/bin/python -m benchmarks.learning.failing_steps --output results/failing-steps/rewards.csv

A reward that pays failing as well as solving does not teach to solve: a policy may stop just short of it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.program import run
from benchmarks.scripted import scripted_steps
from metarl.envs.metaworld.env import FAMILIES
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.metaworld.threads import SawyerVectorEnv


@dataclass(frozen=True)
class Row:
    """Rewards of a family's steps, over all goals."""

    family: str
    solving: float
    """Mean reward of the steps after which the task is solved; NaN if none is."""
    best_failing: float
    """Highest reward of the others."""
    solved_goals: float
    """Share of the goals solved at any step."""


def main(
    *,
    families: tuple[str, ...] = tuple(sorted(FAMILIES)),
    goals: Annotated[int, Ge(1)] = 20,
    horizon: int = 250,
    output: Path | None = None,
) -> None:
    """Run the scripted policies, and print the rewards of their steps.

    Args:
        families: Meta-World's tasks.
        goals: number of goals of each, the first training goals of its ML1.
        horizon: steps of an episode.
        output: CSV file of the table.
    """
    rows = [measure(family, goals, horizon) for family in track(families, "scripted policies")]
    rows.sort(key=lambda row: row.best_failing - row.solving, reverse=True)
    table = Table("family", "solving", "best failing", "goals solved %")
    for row in rows:
        table.add_row(
            row.family, f"{row.solving:.2f}", f"{row.best_failing:.2f}", f"{100 * row.solved_goals:.0f}"
        )
    Console().print(table)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Row)])
            writer.writerows([*vars(row).values()] for row in rows)


def measure(family: str, goals: int, horizon: int) -> Row:
    """Run a family's scripted policy on as many goals as there are slots."""
    tasks = ML1Config(task=family).build().tasks("train")[:goals]
    env = SawyerVectorEnv(families=[family], default_tasks=tasks, num_envs=len(tasks), horizon=horizon)
    rewards, solved = zip(*scripted_steps(env, tasks, horizon), strict=True)
    env.close()
    paid, success = np.array(rewards), np.array(solved)
    solving = float(paid[success].mean()) if success.any() else float("nan")
    return Row(family, solving, float(paid[~success].max(initial=0.0)), float(success.any(axis=0).mean()))


if __name__ == "__main__":
    run(main)
