"""Differences between the threads engine and Meta-World's own environments, by family."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, wide_console
from metarl.envs.metaworld.env import FAMILIES, MetaWorldEnv
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.types import Task

Floats = npt.NDArray[np.float64]


class Difference(NamedTuple):
    """Largest differences of one family over all steps."""

    observation: float
    success: float
    reward: float
    """Relative to rewards above 1."""
    equal_rewards: float
    """Share of rewards that agree bit for bit."""


def main(
    *,
    families: tuple[str, ...] = FAMILIES,
    goals: int = 3,
    steps: int = 500,
    worst: int = 10,
    reward: RewardVersion = "v2",
) -> None:
    """Play the same random actions on both engines and print the worst families.

    Args:
        families: families to compare.
        goals: goals of each family.
        steps: steps of an episode.
        worst: rows to print.
        reward: Meta-World's rewards of today ("v2") or its original ones ("v1").
    """
    console = wide_console()
    console.print(machine())
    found = {family: compare(family, goals, steps, reward) for family in families}
    title = f"largest difference from Meta-World ({reward}), {goals} goals × {steps} steps a family"
    table = Table(title=title)
    for column in ("family", "observation", "success", "reward", "equal rewards"):
        table.add_column(column, justify="right")
    for family, row in sorted(found.items(), key=lambda item: -item[1].reward)[:worst]:
        cells = (
            f"{row.observation:.1e}",
            f"{row.success:.0f}",
            f"{row.reward:.1e}",
            f"{row.equal_rewards:.2%}",
        )
        table.add_row(family, *cells)
    console.print(table)
    rows = np.array(list(found.values()))
    console.print(
        f"of all {len(found)} families: observation {rows[:, 0].max():.1e}, reward {rows[:, 2].max():.1e}"
    )


def compare(family: str, goals: int, steps: int, reward: RewardVersion) -> Difference:
    """Return the differences of one family."""
    tasks = draw_tasks(family, goals)
    blocks = np.random.default_rng(0).uniform(-1.3, 1.3, (-(-steps // 10), goals, 4))
    actions = np.repeat(blocks, 10, axis=0)[:steps].astype(np.float32)  # held for a while, so that arms move
    ours = play_batch(tasks, actions, reward)
    theirs = np.stack([play_one(task, actions[:, i], reward) for i, task in enumerate(tasks)], axis=1)
    absolute = np.abs(ours - theirs)
    absolute[..., -1] /= np.maximum(np.abs(theirs[..., -1]), 1)
    difference = absolute.max(axis=(0, 1))
    equal = float((ours[..., -1] == theirs[..., -1]).mean())
    return Difference(float(difference[:-2].max()), float(difference[-2]), float(difference[-1]), equal)


def draw_tasks(family: str, goals: int) -> list[Task]:
    """Draw goals as Meta-World does."""
    env = ALL_V3_ENVIRONMENTS[family]()
    env._set_task_called, env._freeze_rand_vec, env.seeded_rand_vec = True, False, True
    env.seed(0)
    tasks = []
    for index in range(goals):
        env.reset()
        tasks.append(Task(family, tuple(np.asarray(env._last_rand_vec).tolist()), f"{family}/{index}"))
    return tasks


def play_batch(tasks: list[Task], actions: npt.NDArray[np.float32], reward: RewardVersion) -> Floats:
    """Return observation, success and reward of every step, ``[steps, goals, 41]``."""
    family, steps = tasks[0].family, len(actions)
    env = SawyerVectorEnv(
        families=[family], default_tasks=tasks, num_envs=len(tasks), horizon=steps, reward_version=reward
    )
    env.reset()
    rows = []
    for action in actions.astype(np.float64):
        observations, rewards, _, _, infos = env.step(action)
        success = np.asarray(infos["success"], np.float64)
        rows.append(np.column_stack([observations, success, rewards]))
    env.close()
    return np.array(rows)


def play_one(task: Task, actions: npt.NDArray[np.float32], reward: RewardVersion) -> Floats:
    """Return the same from Meta-World's environment, ``[steps, 41]``."""
    env = MetaWorldEnv(task.family, horizon=len(actions), reward=reward)
    env.set_task(task)
    env.reset()
    rows = []
    for action in actions:
        observation, rewarded, _, _, info = env.step(action)
        rows.append([*observation, bool(info["success"]), rewarded])
    env.close()
    return np.array(rows, np.float64)


if __name__ == "__main__":
    run(main)
