"""Constants of an episode's rewards, read from Meta-World's environment after its reset."""

from __future__ import annotations

import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from numpy.typing import NDArray

from metarl.envs.metaworld.rewards.task import SawyerTask

_PRIVATE = {"target_pos", "handle_init_pos", "lever_pos_init", "obj_to_target_init", "target_to_obj_init"}


def constants_of(env: SawyerXYZEnv, task: SawyerTask) -> NDArray[np.float64]:
    """Return the present episode's constants, ``[C]``, laid out as the task says.

    One that Meta-World fixes at the first step is NaN until :func:`.task.latch` fills it in.
    """
    return np.concatenate([_value(env, name) for name in task.constant_places])


def _value(env: SawyerXYZEnv, name: str) -> NDArray[np.float64]:
    if name in ("goal_low", "goal_high"):
        return np.array(getattr(env.goal_space, name.removeprefix("goal_")), dtype=np.float64)
    value = getattr(env, f"_{name}" if name in _PRIVATE else name)
    return np.array(value, dtype=np.float64).reshape(-1)
