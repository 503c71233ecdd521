"""What ``gymnasium.make_vec("metarl/point")`` makes: a suite's vector environment, given a split's tasks."""

from __future__ import annotations

from typing import get_args

from metarl import registry
from metarl.config import construct
from metarl.errors import unknown_name
from metarl.tasks import Split, TaskVectorEnv


def make_suite(
    *,
    suite: str,
    num_envs: int = 1,
    split: Split = "train",
    engine: str = "auto",
    num_workers: int = 0,
    **settings: object,
) -> TaskVectorEnv:
    """Build a suite's vector environment; the slots run the listed tasks of a split in turn.

    Args:
        suite: its registered name.
        num_envs: slots.
        split: ``"train"`` or ``"test"``.
        engine: what steps the slots.
        num_workers: processes or threads; 0 for one a core.
        settings: of the suite, such as its horizon.

    Raises:
        MetarlError: on names or numbers that make no sense.
    """
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split))
    distribution = construct(registry.suite(suite), settings).build()
    tasks = distribution.tasks(split)
    env = distribution.make_vector_env(num_envs, engine=engine, num_workers=num_workers)
    env.set_tasks([tasks[slot % len(tasks)] for slot in range(num_envs)])
    return env
