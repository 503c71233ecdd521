"""Any Gymnasium vector environment whose slots can be given tasks, as a task distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, Unpack, cast

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv

from metarl.envs.reset_arguments import seeds_of_slots, split_options
from metarl.envs.task_parameters import Layout
from metarl.envs.task_settings import TaskSettings, check_settings
from metarl.envs.task_splits import Sampler, SplitTasks, make_splits
from metarl.errors import MetarlError, require, unknown_name
from metarl.spaces import action_size, vectors
from metarl.tasks import Array, TaskVectorEnv, check_fits
from metarl.types import Task

P = TypeVar("P")
VectorT = TypeVar("VectorT")
Flags: TypeAlias = npt.NDArray[np.bool_]
AnyVectorEnv: TypeAlias = "VectorEnv[Array, Array, Array]"


@dataclass(frozen=True, kw_only=True)
class VectorTasks(SplitTasks):
    """A task distribution whose slots are a vector environment of the user's."""

    make: Callable[[int], AnyVectorEnv]
    apply: Callable[[AnyVectorEnv, Sequence[object]], None]
    observation_space: Box
    action_space: Box | Discrete
    horizon: int
    success_key: str | None

    @property
    def reports_success(self) -> bool:
        """Whether there is a key of the infos that says so."""
        return self.success_key is not None

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment with ``num_envs`` slots; how many workers it has is its own affair.

        Raises:
            MetarlError: on any other engine than "auto" or "vector".
        """
        if engine not in ("auto", "vector"):
            raise unknown_name("engine", engine, ("auto", "vector"))
        return VectorTaskEnv(self, num_envs)


def from_vector_env(
    make: Callable[[int], VectorEnv[Array, Array, Array]],
    *,
    sample: Sampler[P] | Sequence[P],
    apply: Callable[[VectorT, Sequence[P]], None],
    test_sample: Sampler[P] | Sequence[P] | None = None,
    **settings: Unpack[TaskSettings],
) -> VectorTasks:
    """Make a task distribution of a Gymnasium vector environment.

    Args:
        make: builds one with so many slots. Its autoreset must be disabled, and ``reset`` must take a list of
            seeds and ``options["reset_mask"]``, as :class:`gymnasium.vector.SyncVectorEnv` does.
        sample: draws a training task's parameters, or lists those of all training tasks.
        apply: gives the environment the parameters of every slot, one after the other in a list; called right
            before a reset, it must leave a slot alone whose parameters are those it has.
        test_sample: as ``sample``, for the held-out tasks; without it they are drawn from seeds of their own.
        settings: see :class:`.TaskSettings`; the horizon must be given.

    Raises:
        MetarlError: if the environment resets its slots by itself, if an agent cannot take the observations
            or actions, if there is no horizon, or if a task is in both splits.
    """
    check_settings(settings)
    if "horizon" not in settings:
        raise MetarlError("A vector environment does not tell its limit of steps; give one: horizon=200.")
    horizon = settings["horizon"]
    built = make(1)
    try:
        observations, actions = vectors(built.single_observation_space), built.single_action_space
        action_size(actions)
        _check_autoreset(built)
    finally:
        built.close()
    observed = tuple(settings.get("observed", ()))
    splits = make_splits(settings.get("name", "my-vector-env"), sample, test_sample)
    splits.layout.describe(observed)
    return VectorTasks(
        splits=splits,
        observed=observed,
        make=make,
        apply=cast("Callable[[AnyVectorEnv, Sequence[object]], None]", apply),
        observation_space=observations,
        action_space=cast("Box | Discrete", actions),
        horizon=horizon,
        success_key=settings.get("success_key"),
    )


class VectorTaskEnv(TaskVectorEnv):
    """Keeps the contract of :class:`~metarl.tasks.TaskVectorEnv` over an environment that does not know it.

    An idle slot runs episodes that nobody sees, since many environments will not step one that is over.
    """

    def __init__(self, distribution: VectorTasks, num_envs: int) -> None:
        require(num_envs >= 1, "The number of slots must be 1 or more", num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self._env = distribution.make(num_envs)
        self._plan = distribution
        self.num_envs = num_envs
        self.single_observation_space = self._env.single_observation_space
        self.single_action_space = self._env.single_action_space
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self._live = np.zeros(num_envs, np.bool_)
        self._over = np.ones(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        self._seeds = np.random.default_rng(np.random.SeedSequence().generate_state(1)[0])
        self._seen: Array = np.zeros(
            (num_envs, *distribution.observation_space.shape), distribution.observation_space.dtype
        )
        listed = distribution.tasks("train")
        self._running = [listed[slot % len(listed)] for slot in range(num_envs)]
        self._wanted = list(self._running)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Let slot i run ``tasks[i]`` from its next reset on; slots past the last task stay idle.

        Raises:
            MetarlError: on more tasks than slots, none, or a task that is none of the distribution's.
        """
        check_fits(tasks, self.num_envs)
        for task in tasks:
            if task.family != self._plan.name:
                raise unknown_name("task family", task.family, (self._plan.name,))
            self._layout.restore(task.parameters)
        self._wanted = list(tasks)
        self._live[len(tasks) :] = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in all slots that have a task, or in those that ``options["reset_mask"]`` names.

        Raises:
            TypeError: if the mask is no bool array.
            ValueError: if the mask has a wrong shape or no True, or there is not one seed a slot.
        """
        named, rest = split_options(options, self.num_envs)
        starts = named & (np.arange(self.num_envs) < len(self._wanted))
        for slot in np.flatnonzero(starts):
            self._running[slot] = self._wanted[slot]
        self._live |= starts
        self._steps[starts] = 0
        self._plan.apply(self._env, [self._layout.restore(task.parameters) for task in self._running])
        self._begin(starts | self._over, seeds_of_slots(seed, self.num_envs), rest, shown=starts)
        return self._seen.copy(), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        """Step every slot whose episode is running.

        Returns:
            Observations ``[N, O]``, rewards ``[N]`` float64, terminated ``[N]`` and truncated ``[N]``, and
            ``{"success": ...}`` ``[N]`` where the environment says so.
        """
        if np.shape(actions) != self.action_space.shape:
            raise MetarlError(f"Actions {self.action_space.shape} were wanted; {np.shape(actions)} came.")
        if self._over.any():
            self._begin(self._over.copy(), [None] * self.num_envs, None, shown=np.zeros_like(self._over))
        live = self._live.copy()
        seen, rewards, ended, cut, infos = self._env.step(np.array(actions))
        self._over = np.asarray(ended, np.bool_) | np.asarray(cut, np.bool_)
        self._steps += live
        terminated = live & np.asarray(ended, np.bool_)
        truncated = live & ~terminated & (np.asarray(cut, np.bool_) | (self._steps >= self._plan.horizon))
        self._seen[live] = seen[live]
        self._live = live & ~(terminated | truncated)
        key = self._plan.success_key
        shown = {"success": live & np.asarray(infos[key], np.bool_)} if key and key in infos else {}
        return self._seen.copy(), np.where(live, rewards, 0.0), terminated, truncated, shown

    def close_extras(self, **_: object) -> None:
        """Close the environment."""
        self._env.close()

    @property
    def _layout(self) -> Layout:
        return self._plan.splits.layout

    def _begin(
        self,
        mask: Flags,
        seeds: Sequence[int | None],
        options: dict[str, object] | None,
        *,
        shown: Flags,
    ) -> None:
        """Start an episode in the slots of a mask, and take note of what some of them show."""
        fresh = self._seeds.integers(2**31, size=self.num_envs).tolist()
        given = [new if seed is None else seed for new, seed in zip(fresh, seeds, strict=True)]
        seen, _ = self._env.reset(
            seed=given,  # type: ignore[arg-type]  # Gymnasium's environments take one for each slot too
            options={**(options or {}), "reset_mask": mask.copy()},
        )
        self._over &= ~mask
        self._seen[shown] = seen[shown]


def _check_autoreset(env: AnyVectorEnv) -> None:
    mode = env.metadata.get("autoreset_mode")
    if mode != AutoresetMode.DISABLED:
        raise MetarlError(
            "A vector environment that leaves finished slots alone was wanted, but its autoreset mode is "
            f"{mode}; build it with autoreset_mode=AutoresetMode.DISABLED."
        )
