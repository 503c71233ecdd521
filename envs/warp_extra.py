"""The way to the GPU's physics, an extra: asked for where it is not installed, it says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.envs.locomotion_starts import LocomotionFamily
from metarl.envs.sawyer.catalog import RewardVersion
from metarl.errors import EngineError
from metarl.tasks import TaskVectorEnv
from metarl.types import Task


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
    """Build Meta-World's engine on MuJoCo Warp; see :class:`~.warp.engine.WarpSawyerVectorEnv`.

    ``engine`` is ``"warp"``, on CUDA where there is some, or names a device, ``"warp:cuda:1"``.

    Raises:
        EngineError: if the extra is not installed here.
    """
    try:
        from metarl.envs.warp.engine import WarpSawyerVectorEnv  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return WarpSawyerVectorEnv(
        families=families,
        default_tasks=default_tasks,
        num_envs=num_envs,
        horizon=horizon,
        device=_device(engine),
        cache=cache,
        reward_version=reward_version,
    )


def make_warp_locomotion(
    engine: str,
    family: LocomotionFamily,
    *,
    default_tasks: Sequence[Task],
    num_envs: int,
    horizon: int,
) -> TaskVectorEnv:
    """Build the engine of a locomotion family; see :class:`~.warp.locomotion.WarpLocomotionVectorEnv`.

    ``engine`` is as for :func:`make_warp_env`.

    Raises:
        EngineError: if the extra is not installed here.
    """
    try:
        from metarl.envs.warp.locomotion import WarpLocomotionVectorEnv  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return WarpLocomotionVectorEnv(
        family,
        default_tasks=default_tasks,
        num_envs=num_envs,
        horizon=horizon,
        device=_device(engine),
    )


def is_warp(engine: str) -> bool:
    """Whether an engine's name is that of MuJoCo Warp."""
    return engine.partition(":")[0] == "warp"


def _device(engine: str) -> str:
    return engine.partition(":")[2] or "auto"


def _not_installed(error: ModuleNotFoundError) -> EngineError:
    return EngineError(
        f"The engine warp needs {error.name}, which is not installed here: "
        "`make setup-warp` makes the environment .venv-warp for it."
    )
