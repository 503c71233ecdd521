"""Meta-World's scripted policies, which see the hidden goals, on our engines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from metaworld.policies import ENV_POLICY_MAP
from metaworld.policies.policy import Policy

from metarl.envs.metaworld.env import MAX_HORIZON
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
    env: WarpSawyerVectorEnv | SawyerVectorEnv,
    tasks: Sequence[Task],
    horizon: int,
    *,
    past_success: bool = True,
) -> Iterator[Step]:
    """Run a family's scripted policy on a task in each slot; yield each step's outcome.

    Without ``past_success`` a slot rests once it is solved: its outcomes are then of no use.
    """
    family = tasks[0].family
    place = TASKS[family].constant_places["target_pos"]
    snapshots = env._resets.snapshots(tasks)
    goals = np.stack([snapshot.constants["reward"][place] for snapshot in snapshots])
    build: Callable[[], Policy] = ENV_POLICY_MAP[family]
    policy = build()
    observations, _ = env.reset()
    acting = np.ones(len(tasks), np.bool_)
    actions = np.zeros((len(tasks), 4))
    for _ in range(horizon):
        seen = np.concatenate([observations[:, :36], goals], axis=1)
        with warnings.catch_warnings():  # of Meta-World's policies, which ask for more than an action can be
            warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high")
            for slot in np.flatnonzero(acting):
                actions[slot] = policy.get_action(seen[slot])
        observations, rewards, *_, infos = env.step(np.clip(actions, -1, 1))
        yield Step(np.asarray(rewards, np.float64), success := np.asarray(infos["success"], np.bool_))
        if not past_success:
            acting &= ~success
            if isinstance(env, SawyerVectorEnv):
                env.stop(success)


def solved(env: WarpSawyerVectorEnv | SawyerVectorEnv, tasks: Sequence[Task]) -> npt.NDArray[np.bool_]:
    """Return which layouts the scripted policy solves at some step, ``[N]``; close the engine."""
    found = np.zeros(len(tasks), np.bool_)
    for step in scripted_steps(env, tasks, MAX_HORIZON, past_success=False):
        found |= step.success
        if found.all():
            break
    env.close()
    return found
