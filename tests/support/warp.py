"""What the tests of the GPU's physics share: engines of both kinds on the same tasks, and acts for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl.envs.engines.warp.batch import BufferSizes
from metarl.envs.metaworld.models import environment_class
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.envs.metaworld.warp import WarpSawyerVectorEnv
from metarl.meta_learner import Action, Inputs
from metarl.system.caches import cache_folder
from metarl.types import Params, Task
from support.physics import rand_vec
from support.tiny import StrideActor

FAMILIES = tuple(sorted(ALL_V3_ENVIRONMENTS))
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


@cache
def tasks_of(family: str, count: int) -> tuple[Task, ...]:
    """Draw tasks of a family."""
    env = environment_class(family)()
    vectors = [rand_vec(env, seed) for seed in range(count)]
    return tuple(Task(family, tuple(v.tolist()), f"{family}/{i}") for i, v in enumerate(vectors))


def warp_env(
    tasks: Sequence[Task],
    *,
    num_envs: int = 0,
    device: str = "cpu",
    horizon: int = 500,
    sizes: BufferSizes | None = None,
) -> WarpSawyerVectorEnv:
    """Return an engine on a device whose slots run these tasks."""
    return WarpSawyerVectorEnv(
        families=list(dict.fromkeys(task.family for task in tasks)),
        default_tasks=tasks,
        num_envs=num_envs or len(tasks),
        horizon=horizon,
        device=device,
        cache=cache_folder() / "resets",
        sizes=sizes,
    )


def threads_env(tasks: Sequence[Task], horizon: int = 500) -> SawyerVectorEnv:
    """Return MuJoCo C of the same version on the same tasks."""
    return SawyerVectorEnv(
        families=list(dict.fromkeys(task.family for task in tasks)),
        default_tasks=tasks,
        num_envs=len(tasks),
        num_threads=1,
        horizon=horizon,
        stepper="portable",
        cache=cache_folder() / "resets",
    )


def acts(steps: int, worlds: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Draw actions that stay for a while, so that arms move and grip, ``[T, N, 4]``."""
    rng = np.random.default_rng(seed)
    return (
        np.repeat(rng.uniform(-1, 1, (-(-steps // 5), worlds, 4)), 5, axis=0)[:steps].astype(np.float32) * 1.0
    )


class WideActor:
    """Moves all numbers of an action as the other actor moves its one."""

    def __init__(self, narrow: StrideActor, size: int) -> None:
        self.narrow, self.device, self.size = narrow, narrow.device, size

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        observations = inputs.observations
        action, memory = self.narrow.act(inputs, memory, None)
        return action._replace(
            actions=action.actions.expand(*observations.shape[:2], self.size),
            log_probs=torch.zeros(observations.shape[:2], device=self.device),
        ), memory
