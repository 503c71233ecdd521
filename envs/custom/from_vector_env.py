"""Task distributions from Gymnasium vector environments in which each slot has a task to set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, Unpack, cast

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarl.action_map import ActionMap, make_action_map
from metarl.envs.engines.processes.in_process import close, user_errors
from metarl.envs.engines.reset_arguments import seeds_of_slots, split_options
from metarl.envs.task_sampling.parameters import Layout
from metarl.envs.task_sampling.settings import TaskSettings, check_settings
from metarl.envs.task_sampling.splits import Sampler, SplitTasks, make_splits
from metarl.errors import MetarlError, require, unknown_name
from metarl.spaces import action_size, vectors
from metarl.step_values import ObservationReader, UnfitValue, reals, truths, unpack_reset, unpack_step
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv, check_fits

P = TypeVar("P")
VectorT = TypeVar("VectorT")
Flags: TypeAlias = npt.NDArray[np.bool_]
AnyVectorEnv: TypeAlias = "VectorEnv[Array, Array, Array]"


@dataclass(frozen=True, kw_only=True)
class VectorTasks(SplitTasks):
    """A task distribution over a vector environment."""

    make: Callable[[int], AnyVectorEnv]
    apply: Callable[[AnyVectorEnv, Sequence[object]], None]
    observation_space: Box
    action_space: Box | Discrete  # where policies act
    # from policy actions to the environment's; None where the spaces are the same
    action_map: ActionMap | None = None
    horizon: int
    success_key: str | None

    @property
    def reports_success(self) -> bool:
        """Whether the infos have a success key."""
        return self.success_key is not None

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment; raise ``MetarlError`` on engines but "auto" and "vector"."""
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
    """Make a Gymnasium vector environment a task distribution.

    Args:
        make: builds one with a number of slots. Its autoreset must be disabled, and ``reset`` must take a
            list of seeds and ``options["reset_mask"]``, as :class:`gymnasium.vector.SyncVectorEnv` does.
        sample: draws a training task's parameters, or lists those of all training tasks.
        apply: gives the environment the parameters of every slot, one after the other in a list; called right
            before a reset, it must leave a slot with unchanged parameters alone.
        test_sample: as ``sample``, for the held-out tasks; without it they are drawn from seeds of their own.
        settings: see :class:`.TaskSettings`; the horizon must be given.

    Raises:
        MetarlError: if the environment resets its slots by itself, if an agent cannot take the observations
            or actions, if there is no horizon, or if a task is in both splits.
    """
    # check the arguments before anything is built
    check_settings(settings)
    if "horizon" not in settings:
        raise MetarlError("A vector environment does not tell its limit of steps; give one: horizon=200.")
    horizon = int(settings["horizon"])
    name = settings.get("name", "my-vector-env")
    # build one slot, for its spaces and its autoreset mode
    with user_errors(name):
        built = make(1)
    try:
        observations, actions = vectors(built.single_observation_space), built.single_action_space
        action_size(actions)
        action_map = make_action_map(actions, settings.get("actions", "rescale"))
        _check_autoreset(built)
    finally:
        close(built, name)
    # draw the lists, and check that they are apart
    observed = tuple(settings.get("observed", ()))
    splits = make_splits(name, sample, test_sample)
    splits.layout.describe(observed)
    return VectorTasks(
        splits=splits,
        observed=observed,
        make=make,
        apply=cast("Callable[[AnyVectorEnv, Sequence[object]], None]", apply),
        observation_space=observations,
        action_space=cast("Box | Discrete", actions) if action_map is None else action_map.policy_space,
        action_map=action_map,
        horizon=horizon,
        success_key=settings.get("success_key"),
    )


class VectorTaskEnv(TaskVectorEnv):
    """Makes a vector environment a :class:`~metarl.vector_env.TaskVectorEnv`.

    Idle slots run episodes that nobody sees: many environments do not step one that is over.
    """

    def __init__(self, distribution: VectorTasks, num_envs: int) -> None:
        require(num_envs >= 1, "The number of slots must be 1 or more", num_envs)
        # the engine resets slots on request only
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        with user_errors(distribution.name):
            self._env = distribution.make(num_envs)
        self._plan = distribution
        self.num_envs = num_envs
        # spaces are those that the policy sees
        self.single_observation_space = self._env.single_observation_space
        self.single_action_space = distribution.action_space
        self.observation_space = self._env.observation_space
        self.action_space = batch_space(distribution.action_space, num_envs)
        self._reader = ObservationReader(
            distribution.observation_space.dtype, distribution.observation_space.shape
        )
        # all slots are idle until the first reset
        self._live = np.zeros(num_envs, np.bool_)
        self._over = np.ones(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        self._seeds = np.random.default_rng(np.random.SeedSequence().generate_state(1)[0])
        self._seen: Array = np.zeros(
            (num_envs, *distribution.observation_space.shape), distribution.observation_space.dtype
        )
        # tasks until set_tasks is called
        listed = distribution.tasks("train")
        self._running = [listed[slot % len(listed)] for slot in range(num_envs)]
        self._wanted = list(self._running)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assign ``tasks[i]`` to slot i; see :meth:`.TaskVectorEnv.set_tasks`."""
        self._check_open()
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
        """Start episodes in slots that have a task, or in those of ``options["reset_mask"]``."""
        self._check_open()
        named, rest = split_options(options, self.num_envs)
        starts = named & (np.arange(self.num_envs) < len(self._wanted))
        for slot in np.flatnonzero(starts):
            self._running[slot] = self._wanted[slot]
        self._live |= starts
        self._steps[starts] = 0
        with self._told("when it was given its tasks"):
            self._plan.apply(self._env, [self._layout.restore(task.parameters) for task in self._running])
        self._begin(starts | self._over, seeds_of_slots(seed, self.num_envs), rest, shown=starts)
        return self._seen.copy(), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        """Step every slot with a running episode; infos have ``"success"`` where the environment does."""
        self._check_open()
        if np.shape(actions) != self.action_space.shape:
            raise MetarlError(
                f"Expected actions of shape {self.action_space.shape}, got {np.shape(actions)}."
            )
        # ended slots must be reset before the next step, whether or not the caller asks for it
        if self._over.any():
            self._begin(self._over.copy(), [None] * self.num_envs, None, shown=np.zeros_like(self._over))
        live, every = self._live.copy(), np.ones(self.num_envs, np.bool_)
        self._steps += live
        # step all slots; nothing counts of those that are idle
        mapped = self._plan.action_map
        with self._told(f"at step {self._steps.max(where=live, initial=0)}"):
            taken = np.array(actions) if mapped is None else mapped(actions)
            seen, paid, over, out_of_time, infos = unpack_step(self._env.step(taken))
            ended, cut = truths(over, every, "terminated"), truths(out_of_time, every, "truncated")
            rewards = reals(paid, live, "reward")
            self._see(seen, live)
            shown = self._success(infos, live)
        # a slot ends by itself or at the horizon, and is idle afterwards
        self._over = ended | cut
        terminated = live & ended
        truncated = live & ~terminated & (cut | (self._steps >= self._plan.horizon))
        self._live = live & ~(terminated | truncated)
        return self._seen.copy(), rewards, terminated, truncated, shown

    def close_extras(self, **_: object) -> None:
        """Close the environment."""
        close(self._env, self._plan.name)

    def _success(self, info: Mapping[str, object], live: Flags) -> dict[str, Flags]:
        """Return the success that the infos report; a slot that reports nothing is not solved."""
        key = self._plan.success_key
        if key is None or key not in info:
            return {}
        said = info.get(f"_{key}")
        told_by = live if said is None else truths(said, live, f"infos[{'_' + key!r}]")
        return {"success": truths(info[key], told_by, f"infos[{key!r}]")}

    def _see(self, observations: object, slots: Flags) -> None:
        # one row a slot, whatever the type
        shape = np.shape(cast("Array", observations))
        if shape[:1] != (self.num_envs,):
            raise UnfitValue(
                f"an observation for each of {self.num_envs} slots",
                f"an array of shape {shape}",
                "Return one array for all slots.",
            )
        rows = cast("Array", observations)
        # the usual case: an array that needs no conversion
        if type(rows) is np.ndarray and (rows.dtype, shape) == (self._seen.dtype, self._seen.shape):
            self._seen[slots] = rows[slots]
            return
        # otherwise row by row, so that an error can name its slot
        for slot in np.flatnonzero(slots).tolist():
            try:
                self._seen[slot] = self._reader.read(rows[slot])
            except UnfitValue as error:
                error.slot = slot
                raise

    @contextmanager
    def _told(self, when: str) -> Iterator[None]:
        """Name task and step in the environment's exceptions and errors on wrong values."""
        tasks = list(dict.fromkeys(task.id for task in self._running))
        others = f" or one of {len(tasks) - 1} others" if len(tasks) > 1 else ""
        try:
            with user_errors(self._plan.name, f"failed in task {tasks[0]!r}{others} {when}"):
                yield
        except UnfitValue as error:
            slot = error.slot or 0
            at = f"at step {self._steps[slot]}" if self._steps[slot] else "at the reset"
            task = self._running[slot].id
            raise error.at(f"from the environment {self._plan.name!r}, task {task!r}, {at}") from error

    @property
    def _layout(self) -> Layout:
        return self._plan.splits.layout

    def _begin(
        self, mask: Flags, seeds: Sequence[int | None], options: dict[str, object] | None, *, shown: Flags
    ) -> None:
        """Start episodes in masked slots; record the observations of the slots in ``shown``."""
        fresh = self._seeds.integers(2**31, size=self.num_envs).tolist()
        given = [new if seed is None else seed for new, seed in zip(fresh, seeds, strict=True)]
        with self._told("at the reset"):
            returned = self._env.reset(
                seed=given,  # type: ignore[arg-type]  # Gymnasium's environments take one for each slot too
                options={**(options or {}), "reset_mask": mask.copy()},
            )
            self._see(unpack_reset(returned), shown)
        self._over &= ~mask


def _check_autoreset(env: AnyVectorEnv) -> None:
    mode = env.metadata.get("autoreset_mode")
    if mode != AutoresetMode.DISABLED:
        raise MetarlError(
            "Expected a vector environment that leaves finished slots alone, got autoreset mode "
            f"{mode}; build it with autoreset_mode=AutoresetMode.DISABLED."
        )
