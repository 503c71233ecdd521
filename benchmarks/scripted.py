"""Meta-World's scripted policies, which see the hidden goals, on our engines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from metaworld.policies import ENV_POLICY_MAP
from metaworld.policies.policy import Policy

from metarl.envs.metaworld.rewards.catalog import TASKS
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.types import Task

if TYPE_CHECKING:  # an optional extra
    from metarl.envs.metaworld.warp import WarpSawyerVectorEnv


class Step(NamedTuple):
    """Rewards and successes after a step, ``[N]`` each."""

    rewards: npt.NDArray[np.float64]
    success: npt.NDArray[np.bool_]


def scripted_steps(
    env: WarpSawyerVectorEnv | SawyerVectorEnv, tasks: Sequence[Task], horizon: int
) -> Iterator[Step]:
    """Run a family's scripted policy on a task in each slot; yield each step's outcome."""
    family = tasks[0].family
    place = TASKS[family].constant_places["target_pos"]
    snapshots = env._resets.snapshots(tasks)
    goals = np.stack([snapshot.constants["reward"][place] for snapshot in snapshots])
    build: Callable[[], Policy] = ENV_POLICY_MAP[family]
    policy = build()
    observations, _ = env.reset()
    for _ in range(horizon):
        seen = np.concatenate([observations[:, :36], goals], axis=1)
        with warnings.catch_warnings():  # of Meta-World's policies, which ask for more than an action can be
            warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high")
            actions = np.stack([policy.get_action(row) for row in seen])
        observations, rewards, *_, infos = env.step(np.clip(actions, -1, 1))
        yield Step(np.asarray(rewards, np.float64), np.asarray(infos["success"], np.bool_))
