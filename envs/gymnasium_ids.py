"""Gymnasium names of suites, such as ``metarl/point``.

``gymnasium.make_vec("metarl/point")`` makes a suite's vector environment with the tasks of a split, and
``gymnasium.make`` one task as an ordinary environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gymnasium.vector import AutoresetMode

from metarl.config import construct
from metarl.envs.engines.autoreset import SelfResetting, read_mode, renderable
from metarl.envs.engines.one_slot import OneSlot
from metarl.errors import require
from metarl.plugins import registry
from metarl.tasks import Split, TaskDistribution, check_split
from metarl.types import Task
from metarl.vector_env import Picture, TaskVectorEnv


def make_suite(
    *,
    suite: str,
    num_envs: int = 1,
    split: Split = "train",
    engine: str = "auto",
    num_workers: int = 0,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **settings: object,
) -> SelfResetting | TaskVectorEnv:
    """Build a suite's vector environment; its slots run the listed tasks of a split in turn.

    ``engine`` steps the slots, on ``num_workers`` processes or threads, 0 for one a core; ``autoreset_mode``
    is ``"NextStep"``, ``"SameStep"``, or ``"Disabled"`` for what our own programs take; ``settings`` are the
    suite's, such as its horizon. Names and numbers that make no sense raise ``MetarlError``.
    """
    mode = read_mode(autoreset_mode)
    distribution, tasks = _tasks(suite, split, settings)
    env = distribution.make_vector_env(num_envs, engine=engine, num_workers=num_workers)
    env.set_tasks([tasks[slot % len(tasks)] for slot in range(num_envs)])
    return env if mode is AutoresetMode.DISABLED else SelfResetting(env, mode)


def make_task(
    *,
    suite: str,
    split: Split = "train",
    task: int = 0,
    engine: str = "auto",
    render_mode: Literal["rgb_array"] | None = None,
    **settings: object,
) -> OneTask:
    """Build the environment of one task.

    ``task`` is its place in the list; ``render_mode="rgb_array"`` lets ``render()`` return pictures. For the
    other arguments see :func:`make_suite`.
    """
    distribution, tasks = _tasks(suite, split, settings)
    require(0 <= task < len(tasks), f"task must be in 0..{len(tasks) - 1}", task)
    env = distribution.make_vector_env(1, engine=engine, num_workers=1)
    return OneTask(env, tasks[task], render_mode)


class OneTask(OneSlot):
    """One task of a suite as an ordinary Gymnasium environment."""

    def __init__(
        self, env: TaskVectorEnv, task: Task, render_mode: Literal["rgb_array"] | None = None
    ) -> None:
        super().__init__(env, render_mode)
        self.task = task
        self._tasks_env = env
        env.set_tasks([task])

    def draw(self) -> Picture:
        """Return a picture of the task."""
        return renderable(self._tasks_env).render_slot(0)


def _tasks(suite: str, split: Split, settings: dict[str, object]) -> tuple[TaskDistribution, Sequence[Task]]:
    check_split(split)
    distribution = construct(registry.suite(suite), settings).build()
    return distribution, distribution.tasks(split)
