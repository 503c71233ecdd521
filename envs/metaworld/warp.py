"""Meta-World on the GPU's physics, an extra: imported only where an engine of that name is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.envs.engines.warp.available import device_of, not_installed
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv


def make_warp_env(
    engine: str,
    *,
    families: Sequence[str],
    default_tasks: Sequence[Task],
    num_envs: int,
    horizon: int,
    cache: Path | None,
    reward_version: RewardVersion,
) -> TaskVectorEnv:
    """Build Meta-World's engine on MuJoCo Warp; see :class:`~.warp_env.WarpSawyerVectorEnv`.

    ``engine`` is ``"warp"``, on CUDA where there is some, or names a device, ``"warp:cuda:1"``.

    Raises:
        EngineError: if the extra is not installed here.
    """
    try:
        from metarl.envs.metaworld.warp_env import WarpSawyerVectorEnv  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    return WarpSawyerVectorEnv(
        families=families,
        default_tasks=default_tasks,
        num_envs=num_envs,
        horizon=horizon,
        device=device_of(engine),
        cache=cache,
        reward_version=reward_version,
    )
