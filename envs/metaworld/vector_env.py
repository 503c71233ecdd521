"""Meta-World as a plain Gymnasium vector environment with autoreset, goals in turn and pictures.

Step for step the same as :class:`gymnasium.vector.SyncVectorEnv` over Meta-World's own environments, at the
speed of :class:`~.threads.SawyerVectorEnv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl.envs.engines.autoreset import Flags, Infos, read_mode, with_final
from metarl.envs.engines.reset_arguments import seeds_of_slots, split_options
from metarl.envs.engines.threads.batched import StepperName
from metarl.envs.metaworld.env import MAX_HORIZON, observation_space
from metarl.envs.metaworld.goal_order import GoalChoice, Select
from metarl.envs.metaworld.rendering import CAMERAS, DEFAULT_SIZE
from metarl.envs.metaworld.resets import METAWORLD, Families
from metarl.envs.metaworld.rewards.catalog import RewardVersion, check_reward
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.errors import MetarlError, require, unknown_name
from metarl.types import Task
from metarl.vector_env import Array, Picture

RENDER_FPS = 80  # steps per simulated second
SETTABLE = ("sample_tasks_on_reset", "success_bonus", "terminate_on_success")  # while it runs
_GOAL = slice(36, 39)


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Options of a vector environment, under Meta-World's names where it has them."""

    goal_visible: bool = False
    """Show the goal in the last three observed numbers, as in multi-task benchmarks."""
    use_one_hot: bool = False
    """Append the running family to observations, one-hot."""
    terminate_on_success: bool = False
    """End an episode at its first success."""
    success_bonus: float = 0.0
    """Pay this much more for each step after which the task is solved."""
    max_episode_steps: int = MAX_HORIZON
    """Steps before an episode is truncated, 1..500."""
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP
    """When a slot starts its next episode: ``"NextStep"``, ``"SameStep"`` or ``"Disabled"``."""
    task_select: Select = "random"
    """Next task of a slot: ``"random"``, or ``"pseudorandom"``, each once before any again."""
    sample_tasks_on_reset: bool = True
    """Take the next task at each reset, else only in a reset with a seed and in ``sample_tasks()``."""
    reward_function_version: RewardVersion = "v2"
    """Meta-World's rewards: ``"v2"``, at most 10 a step, or the original ``"v1"``."""
    num_threads: int = 0
    """Threads of the physics; 0 for each core.
    Results do not depend on it."""
    stepper: StepperName = "auto"
    """``"compiled"``, ``"portable"`` or ``"auto"`` for the first that works; the results are the same."""
    render_mode: Literal["rgb_array"] | None = None
    """``"rgb_array"`` to let ``render()`` return pictures."""
    render_slots: Sequence[int] | None = None
    """The slots that ``render()`` shows; None for all."""
    camera_name: str | None = None
    """Camera of Meta-World's; None for corner2 turned upright."""
    camera_id: int | None = None
    """Number of the camera, instead of its name."""
    width: int = DEFAULT_SIZE  # of the pictures, pixels
    height: int = DEFAULT_SIZE

    def __post_init__(self) -> None:
        steps = self.max_episode_steps
        require(1 <= steps <= MAX_HORIZON, f"max_episode_steps must be in 1..{MAX_HORIZON}", steps)
        require(0 <= self.success_bonus <= 1e6, "success_bonus must be in 0..1e6", self.success_bonus)
        check_reward(self.reward_function_version)
        if self.render_mode not in (None, "rgb_array"):
            raise unknown_name("render mode", self.render_mode, ("rgb_array",))
        read_mode(self.autoreset_mode)
        self._check_camera()

    @property
    def camera(self) -> str | None:
        """The camera's name; None lets the engine choose."""
        return self.camera_name if self.camera_id is None else CAMERAS[self.camera_id]

    def _check_camera(self) -> None:
        name, number = self.camera_name, self.camera_id
        if name is not None and number is not None:
            raise MetarlError(f"Expected camera_name or camera_id, got both: {name!r} and {number}.")
        if name is not None and name not in CAMERAS:
            raise unknown_name("camera", name, CAMERAS)
        last = len(CAMERAS) - 1
        require(number is None or 0 <= number <= last, f"camera_id must be in 0..{last}", number)

    @staticmethod
    def of(options: dict[str, object]) -> VectorOptions:
        """Return options by name; raise ``MetarlError`` on unknown names and values."""
        known = [field.name for field in fields(VectorOptions)]
        for name in options:
            if name not in known:
                raise unknown_name("option of this environment", name, known)
        return VectorOptions(**options)  # type: ignore[arg-type]  # __post_init__ checks their values


class MetaWorldVectorEnv(VectorEnv[Array, npt.NDArray[np.float32], Array]):
    """Meta-World tasks in slots that reset themselves.

    Slot i may run ``tasks[i]``; the goals that it meets follow from its seed alone: a reset with a seed
    starts their order anew (slot i gets ``seed + i``, or ``seed[i]``), ``seed`` holds until then. All else in
    an episode is a function of task and actions. ``families`` are in the order of the one-hot numbers;
    ``cache``, ``known`` and errors are :class:`.SawyerVectorEnv`'s.

    ``infos`` holds, with Gymnasium's masks, Meta-World's seven values of a step: ``success`` (bool),
    ``near_object``, ``grasp_success``, ``grasp_reward``, ``in_place_reward``, ``obj_to_target`` and
    ``unscaled_reward``.
    """

    def __init__(
        self,
        tasks: Sequence[Sequence[Task]],
        *,
        families: Sequence[str],
        seed: int = 0,
        options: VectorOptions | None = None,
        cache: Path | None = None,
        known: Families = METAWORLD,
    ) -> None:
        self.closed = True  # until there is something to close
        self.options = options or VectorOptions()
        self.num_envs = len(tasks)
        require(self.num_envs >= 1, "num_envs must be 1 or more", self.num_envs)
        # each slot has a sequence of goals, seeded by seed and slot
        self._choices = [
            GoalChoice(few, self.options.task_select, (seed, slot)) for slot, few in enumerate(tasks)
        ]
        self._shown = self._shown_slots()
        self.autoreset_mode = read_mode(self.options.autoreset_mode)
        self.render_mode = self.options.render_mode
        modes: list[str] = ["rgb_array"]
        self.metadata = {
            "autoreset_mode": self.autoreset_mode,
            "render_modes": modes,
            "render_fps": RENDER_FPS,
        }
        # the engine resets on request only; autoreset is added here
        self._families = list(families)
        self._engine = SawyerVectorEnv(
            families=self._families,
            default_tasks=list(dict.fromkeys(task for few in tasks for task in few)),
            num_envs=self.num_envs,
            num_threads=self.options.num_threads,
            horizon=self.options.max_episode_steps,
            stepper=self.options.stepper,
            cache=cache,
            reward_version=self.options.reward_function_version,
            known=known,
        )
        self.closed = False
        self._moving_goals = self._engine.has_moving_goals
        self.single_observation_space = self._space()
        self.single_action_space = self._engine.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = self._engine.action_space
        # nothing runs before the first reset
        self._tasks: list[Task | None] = [None] * self.num_envs
        self._over = np.zeros(self.num_envs, np.bool_)
        self._goals = np.zeros((self.num_envs, 3))
        self._one_hot = np.zeros((self.num_envs, len(self._families)))

    @property
    def tasks(self) -> tuple[Task | None, ...]:
        """The task that each slot runs; None before its first reset."""
        return tuple(self._tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, Infos]:
        """Start episodes in slots of ``options["reset_mask"]``, or all."""
        self._check_open()
        seeds = seeds_of_slots(seed, self.num_envs)
        mask, _ = split_options(options, self.num_envs)
        for slot in np.flatnonzero(mask):
            if (new := seeds[slot]) is not None:
                self._choices[slot].seed(new)
                self._tasks[slot] = None
        return self._start(mask), {}

    def sample_tasks(self) -> tuple[Array, Infos]:
        """Take every slot's next task, and reset."""
        self._check_open()
        self._tasks = [None] * self.num_envs
        return self._start(np.ones(self.num_envs, np.bool_)), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: npt.NDArray[np.float32]
    ) -> tuple[Array, Array, Flags, Flags, Infos]:
        """Step every slot by ``actions [N, 4]``, once reset; the autoreset mode says which start anew."""
        self._check_open()
        self._check_started()
        # NEXT_STEP: slots that ended in the last step are reset in this one
        waiting = self._over
        observations, rewards, _, cut, step_infos = self._engine.step(cast("Array", actions))
        infos = self._infos(~waiting)
        success = cast("Flags", step_infos["success"])
        rewards = rewards + self.options.success_bonus * success
        truncated = cast("Flags", cut)
        terminated = np.zeros(self.num_envs, np.bool_)
        # Meta-World itself never terminates
        if self.options.terminate_on_success:
            terminated |= success
            self._engine.stop(terminated)
        self._over = terminated | truncated
        # some goals move with the objects, so they are read again
        if self.options.goal_visible and self._moving_goals:
            self._goals = self._engine.goals()
        shown = self._decorated(observations)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and waiting.any():
            shown[waiting] = self._start(waiting)[waiting]
        # SAME_STEP: slots that end now are reset at once, and the infos keep their last step
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._over.any():
            ended = self._over
            infos = with_final(infos, shown, ended)
            shown[ended] = self._start(ended)[ended]
            self._over = np.zeros(self.num_envs, np.bool_)
        return shown, rewards, terminated, truncated, infos

    def call(self, name: str, *arguments: object) -> tuple[object, ...]:
        """Call a method of Meta-World's environments in every slot, or read an attribute.

        Known are ``sample_tasks``, ``toggle_terminate_on_success``, ``toggle_sample_tasks_on_reset`` and
        ``render``; MetarlError on others.
        """
        if name.startswith("toggle_"):
            self.set_attr(name.removeprefix("toggle_"), *arguments)
            return (None,) * self.num_envs
        if name == "sample_tasks":
            return tuple((observation, {}) for observation in self.sample_tasks()[0])
        return self.render() if name == "render" else self.get_attr(name)

    def get_attr(self, name: str) -> tuple[object, ...]:
        """Return an attribute of each slot; MetarlError if there is none.

        There are the :class:`VectorOptions`, and ``task``, ``env_name`` and ``task_name`` (Meta-World's
        class) of what the slot runs.
        """
        if name == "task":
            return self.tasks
        if name in ("env_name", "task_name"):
            running = zip(self._tasks, self._choices, strict=True)
            families = [(task or choice.any).family for task, choice in running]
            return tuple(f if name == "env_name" else ALL_V3_ENVIRONMENTS[f].__name__ for f in families)
        known = [field.name for field in fields(VectorOptions)]
        if name not in known:
            raise unknown_name("attribute of a slot", name, ["task", "env_name", "task_name", *known])
        return (getattr(self.options, name),) * self.num_envs

    def set_attr(self, name: str, values: object) -> None:
        """Set one of :data:`SETTABLE` in all slots; values, one or one a slot, must be equal."""
        if name not in SETTABLE:
            raise unknown_name("attribute to set", name, SETTABLE)
        given = list(values) if isinstance(values, list | tuple) else [values]
        if len(given) not in (1, self.num_envs) or any(value != given[0] for value in given):
            raise MetarlError(f"Expected one {name} for all {self.num_envs} slots, got {values!r}.")
        self.options = replace(self.options, **{name: given[0]})  # type: ignore[arg-type]  # as in VectorOptions.of

    def render(self) -> tuple[Picture, ...]:
        """Return a picture, ``[height, width, 3]``, of each slot that is to be shown."""
        if self.render_mode is None:
            raise MetarlError('render() needs an environment that is made with render_mode="rgb_array".')
        chosen = self.options
        return tuple(
            self.render_slot(slot, camera=chosen.camera, width=chosen.width, height=chosen.height)
            for slot in self._shown
        )

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = DEFAULT_SIZE, height: int = DEFAULT_SIZE
    ) -> Picture:
        """Return a picture of one slot; see :meth:`.SawyerVectorEnv.render_slot`."""
        return self._engine.render_slot(slot, camera=camera, width=width, height=height)

    def close_extras(self, **_: object) -> None:
        """End the threads."""
        self._engine.close()

    def _start(self, mask: Flags) -> Array:
        """Start masked episodes; return all observations."""
        for slot in np.flatnonzero(mask):
            if self._tasks[slot] is None or self.options.sample_tasks_on_reset:
                self._tasks[slot] = self._choices[slot].next()
        # A slot that was never reset is given a task too, which it does not start.
        self._engine.set_tasks([task or self._choices[slot].any for slot, task in enumerate(self._tasks)])
        observations, _ = self._engine.reset(options={"reset_mask": mask})
        self._over = self._over & ~mask
        self._see_tasks(mask)
        shown = self._decorated(observations)
        if self.options.goal_visible:
            shown[mask, _GOAL] = self._engine.goals(clipped=False)[mask]
        return shown

    def _see_tasks(self, mask: Flags) -> None:
        for slot in np.flatnonzero(mask):
            task = self._tasks[slot]
            assert task is not None
            self._one_hot[slot] = 0.0
            self._one_hot[slot, self._families.index(task.family)] = 1.0
        if self.options.goal_visible:
            self._goals[mask] = self._engine.goals()[mask]

    def _decorated(self, observations: Array) -> Array:
        if self.options.goal_visible:
            observations[:, _GOAL] = self._goals
        if self.options.use_one_hot:
            return np.concatenate([observations, self._one_hot], axis=1)
        return observations

    def _infos(self, stepped: Flags) -> Infos:
        """Return Meta-World's infos of stepped slots; none if no slot stepped, as in Gymnasium."""
        if not stepped.any():
            return {}
        values: dict[str, npt.NDArray[np.generic]] = dict(self._engine.outcomes())
        if not stepped.all():
            values = {name: np.where(stepped, column, 0.0) for name, column in values.items()}
        values["success"] = values["success"] > 0.5  # type: ignore[operator]  # they are numbers
        return {**values, **{f"_{name}": stepped.copy() for name in values}}

    def _space(self) -> Box:
        space = observation_space()
        low, high = space.low.copy(), space.high.copy()
        if self.options.goal_visible:
            low[_GOAL], high[_GOAL] = self._engine.goal_bounds()
        if self.options.use_one_hot:
            low = np.concatenate([low, np.zeros(len(self._families))])
            high = np.concatenate([high, np.ones(len(self._families))])
        return Box(low, high, dtype=np.float64)

    def _shown_slots(self) -> tuple[int, ...]:
        chosen = self.options.render_slots
        slots = tuple(range(self.num_envs)) if chosen is None else tuple(chosen)
        last = self.num_envs - 1
        require(all(0 <= slot <= last for slot in slots), f"render_slots must be in 0..{last}", slots)
        return slots

    def _check_started(self) -> None:
        if None in self._tasks:
            raise MetarlError(f"Slot {self._tasks.index(None)} must be reset before it is stepped.")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._over.any():
            raise MetarlError(
                f"The episode of slot {int(self._over.argmax())} is over and autoreset is disabled: "
                'reset it with options={"reset_mask": ...} before the next step.'
            )

    def _check_open(self) -> None:
        if self.closed:
            raise MetarlError("This vector environment is closed: build a new one.")
