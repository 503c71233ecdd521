"""Locomotion on the GPU's physics, an extra: imported only where an engine of that name is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from metarl.envs.engines.warp.available import device_of, not_installed
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv


def make_warp_locomotion(
    engine: str,
    family: LocomotionFamily,
    *,
    default_tasks: Sequence[Task],
    num_envs: int,
    horizon: int,
) -> TaskVectorEnv:
    """Build the engine of a locomotion family; see :class:`~.warp_env.WarpLocomotionVectorEnv`.

    ``engine`` is as for :func:`make_warp_env`.

    Raises:
        EngineError: if the extra is not installed here.
    """
    try:
        from metarl.envs.locomotion.warp_env import WarpLocomotionVectorEnv  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    return WarpLocomotionVectorEnv(
        family,
        default_tasks=default_tasks,
        num_envs=num_envs,
        horizon=horizon,
        device=device_of(engine),
    )
