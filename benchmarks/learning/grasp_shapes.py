"""Success of Meta-World's scripted pick-place policy, which sees the goal, by shape."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from metaworld.policies import SawyerPickPlaceV3Policy
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, wide_console
from metarl.envs.grasp.objects import SHAPES
from metarl.envs.grasp.suite import TEST_SHAPES, TRAIN_RANGES, UNSEEN_RANGES, GraspShapesTasks, draw_tasks
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

RANGES = {"training": TRAIN_RANGES, "unseen": UNSEEN_RANGES}
SLOW = 0.3
"""Share of the policy's pace for a hand that carries something."""
_CLOSED = 0.73  # how far the fingers are apart, as observed, when the policy begins to carry
_GOAL = slice(5, 8)
"""Place of the goal in a task's parameters."""


class Row(NamedTuple):
    """Results of the policy on one shape."""

    shape: str
    split: str
    """Whether the shape is for training or held out."""
    ranges: str
    """Sizes, masses and frictions: those of training, or unseen ones."""
    layouts: int
    solved: int
    """Episodes in which the object came within 7 cm of the goal."""
    kept: int
    """Episodes in which it was there at the last step too."""
    median_steps: int
    """Median steps until the first success, of the solved episodes."""
    slow_solved: int
    """As ``solved``, when the closed hand moves at :data:`SLOW` of the policy's pace."""
    slow_kept: int
    """As ``kept``, likewise."""


def main(
    *,
    shapes: tuple[str, ...] = tuple(SHAPES),
    layouts: int = 50,
    steps: int = 200,
    seed: int = 2025,
    output: Path | None = None,
) -> None:
    """Play the scripted policy on fresh layouts of every shape and print the rates.

    Args:
        shapes: shapes to play.
        layouts: objects with start and goal, of each shape and each of the two ranges.
        steps: steps of an episode, at most 500.
        seed: of the layouts; another than that of the suite's own tasks.
        output: a CSV file to write.
    """
    rows = [
        measure(shape, ranges, layouts=layouts, steps=steps, seed=seed)
        for shape in shapes
        for ranges in RANGES
    ]
    console = wide_console()
    console.print(machine())
    table = Table(title=f"scripted policy, {layouts} layouts a row, {steps} steps an episode")
    for column in Row._fields:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([Row._fields, *rows])


def measure(shape: str, ranges: str, *, layouts: int, steps: int, seed: int) -> Row:
    """Return the policy's results on one shape."""
    tasks = draw_tasks(shape, RANGES[ranges], layouts, seed, "test")
    env = GraspShapesTasks(train=tasks, test=(), horizon=steps).make_vector_env(layouts)
    try:
        solved_at, kept = play(env, tasks, steps)
        slowly_at, slowly_kept = play(env, tasks, steps, pace=SLOW)
    finally:
        env.close()
    times = solved_at[solved_at > 0]
    split = "held out" if shape in TEST_SHAPES else "training"
    median = int(np.median(times)) if len(times) else 0
    slow = int((slowly_at > 0).sum()), int(slowly_kept.sum())
    return Row(shape, split, ranges, layouts, len(times), int(kept.sum()), median, *slow)


def play(env: TaskVectorEnv, tasks: Sequence[Task], steps: int, *, pace: float = 1.0) -> tuple[Array, Array]:
    """Run the policy on N tasks.

    Returns:
        ``[N]``: the step at which each task was solved first, 0 if never; whether it was at the last step.
    """
    policy = SawyerPickPlaceV3Policy()
    goals = [task.parameters[_GOAL] for task in tasks]
    env.set_tasks(tasks)
    observations, _ = env.reset()
    solved_at, success = np.zeros(len(tasks)), np.zeros(len(tasks))
    for step in range(1, steps + 1):
        actions = scripted(policy, observations, goals)
        closed = observations[:, 3] <= _CLOSED
        actions[closed, :3] = np.clip(actions[closed, :3], -1, 1) * pace
        observations, _, _, _, infos = env.step(actions)
        success = np.asarray(infos["success"], np.float64)
        solved_at[(success > 0) & (solved_at == 0)] = step
    return solved_at, success


def scripted(policy: SawyerPickPlaceV3Policy, observations: Array, goals: Sequence[Sequence[float]]) -> Array:
    """Return the policy's actions ``[N, 4]``, with the hidden goals filled in."""
    with warnings.catch_warnings():  # the policy warns of its own large actions
        warnings.simplefilter("ignore")
        chosen = [
            policy.get_action(np.concatenate([seen[:-3], goal]))
            for seen, goal in zip(observations, goals, strict=True)
        ]
    return np.array(chosen, np.float64)


if __name__ == "__main__":
    run(main)
