"""Any vector environment that waits for resets as one of stable-baselines3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from metarl.action_map import rescale
from metarl.errors import MetarlError, require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.spaces import one_line, rounded_to, vectors
from metarl.tasks import TaskDistribution, sample_training
from metarl.types import Task
from metarl.vector_env import Array, Picture, Renderable, TaskVectorEnv

Flags: TypeAlias = npt.NDArray[np.bool_]
Slots: TypeAlias = None | int | Iterable[int]
TaskDraw: TypeAlias = Callable[[Sequence[int]], Sequence[Task]]
"""Function that gives the named slots the tasks of their next episodes."""


@runtime_checkable
class SlotAttributes(Protocol):
    """Methods that reach into slots, as Gymnasium's own vector environments have, for ``isinstance``."""

    def call(self, name: str, *arguments: object, **named: object) -> tuple[object, ...]:
        """Call a method in each slot."""

    def get_attr(self, name: str) -> tuple[object, ...]:
        """Return an attribute of each slot."""

    def set_attr(self, name: str, values: object) -> None:
        """Set an attribute, one value a slot."""


class TaskVecEnv(VecEnv):
    """Vector environment that resets slots at once.

    The next episode is of whatever task ``draw`` names for its slot, or without it of the one that ``env``
    itself takes, as ``gymnasium.make_vec("metarl/MT10", autoreset_mode="Disabled", …)`` does. As everywhere
    in stable-baselines3, the observation that is returned with ``done`` is the first of the next episode; the
    last one is in ``infos[slot]["terminal_observation"]``, and ``infos[slot]["TimeLimit.truncated"]`` says
    that the episode was cut off and not ended. ``infos[slot]["is_success"]`` then says whether it was solved
    at any step, where the suite reports that. All else that ``env`` says of a step is in the infos too.

    Args:
        env: is reset here, and closed with this.
        draw: :func:`in_turn` for tasks in fixed slots, :func:`from_training` for a task of the training
            split in each episode; None where the environment takes its tasks itself.
        seed: source of the episodes' seeds.
        task_size: numbers of the task to append to the observation, its parameters and zeros after them; 0
            hides the task as everywhere else.
        unit_actions: take actions from -1 to 1 and scale them to the environment's bounds.

    Raises:
        MetarlError: if actions are neither vectors with bounds nor choices, a task has more parameters than
            ``task_size``, or the environment resets its slots itself or takes no tasks from ``draw``.
    """

    def __init__(
        self,
        env: VectorEnv[Array, Array, Array],
        draw: TaskDraw | None = None,
        *,
        seed: int = 0,
        task_size: int = 0,
        unit_actions: bool = False,
    ) -> None:
        check_waits(env)
        self.env = env
        self.draw = draw
        self._tasks: list[Task] = []
        # every slot has a task before the first reset
        if draw is not None:
            self._tasks_env = takes_tasks(env)
            self._tasks = list(draw(range(env.num_envs)))
        require(draw is not None or not task_size, "task_size must be 0 without draw", task_size)
        self.task_size = task_size
        space = takes(env.single_action_space)
        self._scale = scale_of(bounded(space)) if unit_actions else None
        self._rng = make_rng(seed, Purpose.BASELINE_EPISODES)
        super().__init__(
            env.num_envs,
            with_task(vectors(env.single_observation_space), task_size),
            Box(-1.0, 1.0, space.shape, np.float32) if unit_actions else deepcopy(space),
        )
        self._solved = np.zeros(env.num_envs, np.bool_)
        self._says_success = False  # at any step until now: some environments name only what is solved
        self._actions: Array = np.zeros(env.action_space.shape or ())

    @property
    def bounds(self) -> Box:
        """Bounds of the environment's own actions; an error if there are none."""
        return bounded(self.env.single_action_space)

    def reset(self) -> Array:
        """Start an episode in every slot."""
        everywhere = np.ones(self.num_envs, np.bool_)
        observations = self._start(everywhere, list(self._seeds))
        self._reset_seeds()
        self._reset_options()
        return self._show(observations)

    def step_async(self, actions: npt.NDArray[np.floating]) -> None:
        """Keep the actions ``[N, A]``, or choices ``[N]``, for :meth:`step_wait`."""
        self._actions = np.asarray(actions, np.float64)

    def step_wait(self) -> VecEnvStepReturn:
        """Step every slot.

        Returns:
            Observations ``[N, O]``, rewards ``[N]`` float32, done ``[N]`` and a dict for each slot.
        """
        actions = self._actions if self._scale is None else self._scale(self._actions)
        observations, rewards, terminated, truncated, named = self.env.step(
            rounded_to(self.env.single_action_space.dtype, actions).copy()  # the environment may write to it
        )
        # SB3 bootstraps the value only where "TimeLimit.truncated" is set
        ended, cut = terminated.astype(np.bool_), truncated.astype(np.bool_)
        infos = infos_of_slots(named, self.num_envs)
        for info, flag in zip(infos, (cut & ~ended).tolist(), strict=True):
            info["TimeLimit.truncated"] = flag
        if "success" in named:
            self._says_success = True
            self._solved |= np.asarray(named["success"], np.bool_)
        done = ended | cut
        if done.any():
            seen = self._show(observations)
            # keep the last observation in the info, as the returned one is the next episode's first
            for slot in np.flatnonzero(done):
                infos[slot] |= {"terminal_observation": seen[slot]}
                infos[slot] |= {"is_success": bool(self._solved[slot])} if self._says_success else {}
            observations = self._start(done, [None] * self.num_envs)
        return self._show(observations), rewards.astype(np.float32), done, infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed slot i's next episode with ``seed + i``; later seeds follow from ``seed``."""
        seed = int(self._rng.integers(2**31)) if seed is None else seed
        self._rng = make_rng(seed, Purpose.BASELINE_EPISODES)
        self._seeds = [seed + slot for slot in range(self.num_envs)]
        return self._seeds

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> list[Picture | None]:
        """Return every slot's picture, or None where the environment cannot be drawn."""
        if not isinstance(self.env, Renderable):
            return [None] * self.num_envs
        return [self.env.render_slot(slot) for slot in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: Slots = None) -> list[object]:
        """Return an attribute for each slot, or the environment's where slots have none of their own."""
        if attr_name == "render_mode":
            values: Sequence[object] = [
                "rgb_array" if isinstance(self.env, Renderable) else None
            ] * self.num_envs
        elif isinstance(self.env, SlotAttributes):
            values = self.env.get_attr(attr_name)
        else:
            values = [getattr(self.env, attr_name)] * self.num_envs
        return [values[slot] for slot in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: object, indices: Slots = None) -> None:
        """Set an attribute of some slots; refused where slots are rows of arrays only."""
        if not isinstance(self.env, SlotAttributes):
            raise MetarlError(
                f"The slots of a task vector environment have no attribute {attr_name!r} to set."
            )
        chosen = set(self._get_indices(indices))
        values = [value] * self.num_envs
        if len(chosen) < self.num_envs:
            kept = self.env.get_attr(attr_name)
            values = [value if slot in chosen else kept[slot] for slot in range(self.num_envs)]
        self.env.set_attr(attr_name, values)

    def env_method(
        self, method_name: str, *method_args: object, indices: Slots = None, **method_kwargs: object
    ) -> list[object]:
        """Call a method in all slots; refused as by :meth:`set_attr`, and for some slots only."""
        if not isinstance(self.env, SlotAttributes):
            raise MetarlError(
                f"The slots of a task vector environment have no method {method_name!r} to call."
            )
        if len(set(self._get_indices(indices))) < self.num_envs:
            raise MetarlError(
                f"Expected no indices, since {method_name} is called in all slots at once, got {indices}."
            )
        return list(self.env.call(method_name, *method_args, **method_kwargs))

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[object, object, object, object]], indices: Slots = None
    ) -> list[bool]:
        """Return that no slot is wrapped in anything."""
        return [False for _ in self._get_indices(indices)]

    def _start(self, mask: Flags, seeds: Sequence[int | None]) -> Array:
        if self.draw is not None:
            slots = np.flatnonzero(mask).tolist()
            for slot, task in zip(slots, self.draw(slots), strict=True):
                self._tasks[slot] = task
            fresh = self._rng.integers(2**31, size=self.num_envs).tolist()
            seeds = [new if seed is None else seed for new, seed in zip(fresh, seeds, strict=True)]
            self._tasks_env.set_tasks(self._tasks)
        self._solved[mask] = False
        observations, _ = self.env.reset(
            seed=None if set(seeds) == {None} else seeds,  # type: ignore[arg-type]  # Gymnasium's environments take one for each slot too
            options={"reset_mask": mask},
        )
        return observations

    def _show(self, observations: Array) -> Array:
        if not self.task_size:
            return observations
        numbers = [task_numbers(task, self.task_size) for task in self._tasks]
        return np.concatenate([observations, numbers], axis=1).astype(observations.dtype)


def check_waits(env: VectorEnv[Array, Array, Array]) -> None:
    """Check that slots wait for a reset."""
    if env.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        raise MetarlError(
            "Expected slots that wait for a reset, as a suite's make_vector_env makes them, or "
            f'gymnasium.make_vec with autoreset_mode="Disabled", got a {type(env).__name__}.'
        )


def takes_tasks(env: VectorEnv[Array, Array, Array]) -> TaskVectorEnv:
    """Check that slots take tasks."""
    if not isinstance(env, TaskVectorEnv):
        raise MetarlError(
            f"Expected an environment that takes tasks, or no draw, got a {type(env).__name__}."
        )
    return env


def infos_of_slots(infos: dict[str, object], num_envs: int) -> list[dict[str, object]]:
    """Return each slot's infos, ``[N, …]`` by name, where the mask of that name does not leave it out."""
    columns = {
        name: values.tolist() if values.ndim == 1 else list(values)
        for name, values in infos.items()
        if not name.startswith("_") and isinstance(values, np.ndarray)
    }
    rows = zip(*columns.values(), strict=True) if columns else [()] * num_envs
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    for name in columns:
        for slot in np.flatnonzero(~np.asarray(infos.get(f"_{name}", True), np.bool_)):
            del found[slot][name]
    return found


def in_turn(tasks: Sequence[Task]) -> TaskDraw:
    """Assign task i to slot i for good, in turn where there are more slots."""
    return lambda slots: [tasks[slot % len(tasks)] for slot in slots]


def from_training(suite: TaskDistribution, rng: np.random.Generator) -> TaskDraw:
    """Draw a training task for each episode.

    Those that start together are spread evenly over the families.
    """
    return lambda slots: sample_training(suite, len(slots), rng)


def task_numbers(task: Task, size: int) -> Array:
    """Return a task's parameters, zero-padded to ``[size]``."""
    missing = size - len(task.parameters)
    require(missing >= 0, f"Task {task.id!r} must have {size} parameters at most", len(task.parameters))
    return np.array([*task.parameters, *[0.0] * missing])


def with_task(space: Box, task_size: int) -> Box:
    """Extend an observation space by ``task_size`` unbounded numbers."""
    if not task_size:
        return deepcopy(space)
    low, high = np.full(task_size, -np.inf), np.full(task_size, np.inf)
    return Box(
        np.concatenate([space.low, low]).astype(space.dtype),
        np.concatenate([space.high, high]).astype(space.dtype),
        dtype=np.float32 if space.dtype == np.float32 else np.float64,
    )


def takes(space: gymnasium.Space[object]) -> Box | Discrete:
    """Check that actions are choices or have bounds."""
    return space if isinstance(space, Discrete) else bounded(space)


def bounded(space: gymnasium.Space[object]) -> Box:
    """Check that actions have bounds to clip to."""
    if not isinstance(space, Box) or not space.is_bounded():
        raise MetarlError(
            "Expected actions that are vectors with finite bounds, as stable-baselines3's agents take here, "
            f"got {one_line(space)}."
        )
    return space


def scale_of(space: Box) -> Callable[[Array], Array]:
    """Return the map that clips to -1..1 and scales to the bounds of ``space``."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return lambda actions: rescale(np.clip(actions, -1.0, 1.0), low, high)
