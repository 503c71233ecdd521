"""Meta-World's scripted policies solve under Warp what they solve under MuJoCo C of the same version."""

from __future__ import annotations

import numpy as np
import pytest
from metaworld.policies import ENV_POLICY_MAP

from metarl.envs.sawyer.catalog import TASKS
from metarl.envs.sawyer_engine import SawyerVectorEnv
from metarl.envs.warp.engine import WarpSawyerVectorEnv
from warp_support import FAMILIES, tasks_of, threads_env, warp_env

pytestmark = [
    pytest.mark.warp,
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        r"ignore:Constant\(s\) may be too high:UserWarning"
    ),  # of Meta-World's policies
]
LAYOUTS = 10
ALLOWED = 1
"""Episodes of a task in which the two may differ: one in fifty over all, and contacts are chaotic."""


def solved(env: WarpSawyerVectorEnv | SawyerVectorEnv, family: str) -> int:
    """Return how many layouts the family's scripted policy, which sees the goals, solves at some step."""
    place = TASKS[family].constant_places["target_pos"]
    snapshots = env._resets.snapshots(env._tasks)
    goals = np.stack([snapshot.constants["reward"][place] for snapshot in snapshots])
    policy = ENV_POLICY_MAP[family]()
    observations, _ = env.reset()
    found = np.zeros(env.num_envs, np.bool_)
    for _ in range(500):
        seen = np.concatenate([observations[:, :36], goals], axis=1)
        actions = np.stack([policy.get_action(row) for row in seen])
        observations, *_, infos = env.step(np.clip(actions, -1, 1))
        found |= np.asarray(infos["success"], np.bool_)
        if found.all():
            break
    env.close()
    return int(found.sum())


@pytest.mark.parametrize("family", FAMILIES)
def test_success_is_that_of_mujoco_c(family: str) -> None:
    tasks = tasks_of(family, LAYOUTS)
    assert abs(solved(warp_env(tasks), family) - solved(threads_env(tasks), family)) <= ALLOWED
