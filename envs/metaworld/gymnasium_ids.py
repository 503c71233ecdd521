"""``gymnasium.make_vec("metarl/...")`` and ``gymnasium.make`` for Meta-World's benchmarks and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from gymnasium.vector import AutoresetMode, VectorEnv

from metarl.envs.engines.one_slot import OneSlot
from metarl.envs.metaworld.env import FAMILIES
from metarl.envs.metaworld.goal_order import assign_goals
from metarl.envs.metaworld.goals import Benchmark, published_goals
from metarl.envs.metaworld.suite import (
    MetaWorldConfig,
    MetaWorldTasks,
    ML1Config,
    ML10Config,
    ML25Config,
    ML45Config,
    numbered_tasks,
)
from metarl.envs.metaworld.vector_env import MetaWorldVectorEnv, VectorOptions
from metarl.errors import MetarlError, require, unknown_name
from metarl.system.caches import cache_folder
from metarl.tasks import Split, check_split
from metarl.types import Task
from metarl.vector_env import Array

SEED = 42  # of the goals, unless another is asked for
_MULTI_TASK: dict[str, Benchmark] = {"MT10": "mt10", "MT25": "mt25", "MT50": "mt50"}


def make_ml(
    *,
    benchmark: str,
    split: Split,
    num_envs: int = 1,
    env_name: str | None = None,
    seed: int = SEED,
    published: bool = False,
    **options: object,
) -> MetaWorldVectorEnv:
    """Build a split of ``"ML1"``, ``"ML10"``, ``"ML25"`` or ``"ML45"``, with hidden goals.

    The goals are shared out to slots. As in Meta-World a slot keeps its goal until ``sample_tasks()``;
    ``sample_tasks_on_reset=True`` takes a new one at each reset. ``env_name`` is ML1's family; all goals come
    from ``seed``, and their order until a reset has a seed; with ``published``, ML25 trains on a family that
    it is tested on too; ``options`` are :class:`.VectorOptions`. Names and numbers that make no sense raise
    ``MetarlError``.
    """
    check_split(split)
    tasks = _distribution(benchmark, env_name, seed, published).tasks(split)
    kept: dict[str, object] = {"task_select": "pseudorandom", "sample_tasks_on_reset": False}
    return _make(tasks, num_envs, seed, kept | options, share_goals=True)


def make_mt(*, benchmark: str, num_envs: int = 1, seed: int = SEED, **options: object) -> MetaWorldVectorEnv:
    """Build ``"MT10"``, ``"MT25"`` or ``"MT50"``, with visible goals, a new one at each reset.

    ``num_envs=10`` runs each of MT10's families once. For ``seed`` and ``options`` see :func:`make_ml`.
    """
    if benchmark not in _MULTI_TASK:
        raise unknown_name("multi-task benchmark", benchmark, _MULTI_TASK)
    _check_seed(seed)
    tasks = numbered_tasks(published_goals(_MULTI_TASK[benchmark], seed).train, "train")
    return _make(tasks, num_envs, seed, {"goal_visible": True, **options}, share_goals=False)


def make_mt1(
    *, env_name: str | None = None, num_envs: int = 1, seed: int = SEED, **options: object
) -> MetaWorldVectorEnv:
    """Build a single family, ``"pick-place-v3"``, with visible goals, a new one at each reset."""
    tasks = _distribution("ML1", env_name, seed, False).train
    return _make(tasks, num_envs, seed, {"goal_visible": True, **options}, share_goals=False)


def make_single(**options: object) -> OneSlot:
    """Build a single family as an ordinary environment; arguments are those of :func:`make_mt1`.

    One thread steps it unless ``num_threads`` says otherwise.
    """
    if "autoreset_mode" in options:
        raise MetarlError(
            "Expected no autoreset_mode, as a single environment is reset by hand; it is for make_vec."
        )
    env = make_mt1(**{"num_threads": 1, **options, "autoreset_mode": AutoresetMode.DISABLED})  # type: ignore[arg-type]  # checked there
    return OneSlot(cast("VectorEnv[Array, Array, Array]", env), env.options.render_mode)


def _make(
    tasks: Sequence[Task], num_envs: int, seed: int, options: dict[str, object], *, share_goals: bool
) -> MetaWorldVectorEnv:
    require(num_envs >= 1, "num_envs must be 1 or more", num_envs)
    return MetaWorldVectorEnv(
        assign_goals(tasks, num_envs, share_goals=share_goals),
        families=list(dict.fromkeys(task.family for task in tasks)),
        seed=seed,
        options=VectorOptions.of(options),
        cache=cache_folder() / "resets",
    )


def _distribution(benchmark: str, env_name: str | None, seed: int, published: bool) -> MetaWorldTasks:
    _check_seed(seed)
    known: dict[str, MetaWorldConfig] = {
        "ML10": ML10Config(goal_seed=seed),
        "ML25": ML25Config(goal_seed=seed, published=published),
        "ML45": ML45Config(goal_seed=seed),
    }
    if benchmark == "ML1":
        return ML1Config(task=_family(env_name), goal_seed=seed).build()
    if benchmark not in known:
        raise unknown_name("meta-learning benchmark", benchmark, ("ML1", *known))
    if env_name is not None:
        raise MetarlError(
            f"Expected no env_name, since {benchmark} has families of its own, got {env_name!r}."
        )
    return known[benchmark].build()


def _family(env_name: str | None) -> str:
    if env_name is None:
        raise MetarlError('Expected a family, env_name="pick-place-v3" for instance, got none.')
    if env_name not in FAMILIES:
        raise unknown_name("Meta-World task", env_name, FAMILIES)
    return env_name


def _check_seed(seed: int) -> None:
    require(0 <= seed < 2**32 - 1, "seed must be in 0..2**32-2", seed)
