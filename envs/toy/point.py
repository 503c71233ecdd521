"""2-D navigation to an unobserved goal.

Source: Finn et al. 2017, section 5.3. All slots are one NumPy array each, so a step costs about the same for
one slot and for two hundred. The best possible return has a closed form, with adaptation
(:func:`optimal_return`) and without (:func:`unadapted_return`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from gymnasium.spaces import Box

from metarl.config import SuiteConfig
from metarl.envs.engines.slot_engine import SlotEngine, check_slots
from metarl.envs.toy.point_drawing import draw
from metarl.errors import MetarlError, require, unknown_name
from metarl.settings import Horizon
from metarl.tasks import Split, check_draw, check_split, sample_evenly
from metarl.types import Task
from metarl.vector_env import Array, Picture, check_slot

Flags: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

MAX_STEP = 0.1  # largest displacement of a step along each axis; within this radius the point has arrived
GOAL_LIMIT = 0.5  # half the side of the goals' square
_TERMINATION_WIDTH = 0.01
_LISTED_GOALS = 40
_TRAIN_SEED, _TEST_SEED = 1703, 3400


@dataclass(frozen=True, kw_only=True)
class PointConfig(SuiteConfig):
    """2-D navigation to a hidden goal (Finn et al. 2017); the best return is known."""

    kind: ClassVar[str] = "point"
    horizon: Horizon = 100
    """Steps of an episode."""
    terminate_at_goal: bool = False
    """End an episode within 0.01 of the goal along both axes, as the paper's own code does."""

    def build(self) -> PointTasks:
        """Return the task distribution."""
        return PointTasks(horizon=self.horizon, terminate_at_goal=self.terminate_at_goal)


@dataclass(frozen=True, kw_only=True)
class PointTasks:
    """Goals uniform in a square.

    Training draws fresh goals from the continuous distribution. The test split is a fixed list of goals that
    training meets with probability zero; a fixed list of other goals stands for the training split.
    """

    horizon: int = 100
    terminate_at_goal: bool = False
    name: str = "point"
    reports_success: bool = True

    @property
    def observation_space(self) -> Box:
        """Position, ``[2]``."""
        return Box(-np.inf, np.inf, (2,), np.float64)

    @property
    def action_space(self) -> Box:
        """Displacement, ``[2]``; clipped to these bounds."""
        return Box(-MAX_STEP, MAX_STEP, (2,), np.float64)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return the split's fixed list of 40 goals."""
        check_split(split)
        rng = np.random.default_rng(_TRAIN_SEED if split == "train" else _TEST_SEED)
        return tuple(_draw_goals(_LISTED_GOALS, rng, split))

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw fresh training or listed test goals."""
        check_draw(num_tasks, rng, split)
        if split == "test":
            return sample_evenly(self.tasks("test"), num_tasks, rng)
        return _draw_goals(num_tasks, rng, split)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> PointVectorEnv:
        """Build an environment; raise ``MetarlError`` on engines but "auto" and "tensor"."""
        if engine not in ("auto", "tensor"):
            raise unknown_name("engine of the point suite", engine, ("auto", "tensor"))
        return PointVectorEnv(self, num_envs)


class PointVectorEnv(SlotEngine):
    """All slots in plain array arithmetic; they run the listed training goals in turn.

    Reward: minus the Euclidean distance to the goal after the move. Success: after the move the point is
    within 0.1, one step along an axis, of the goal. Every episode starts at the origin, and nothing in it is
    random: a seed changes nothing.
    """

    def __init__(self, distribution: PointTasks, num_envs: int) -> None:
        listed, horizon = distribution.tasks("train"), distribution.horizon
        check_slots(listed, num_envs, horizon)
        super().__init__(
            distribution.observation_space,
            distribution.action_space,
            tasks=listed,
            num_envs=num_envs,
            horizon=horizon,
        )
        self.closed = False
        self._terminates = distribution.terminate_at_goal
        self._positions = np.zeros((num_envs, 2))
        self._goals = np.zeros((num_envs, 2))
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._live: Flags = np.zeros(num_envs, dtype=np.bool_)
        self._nothing = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, Flags]]:
        """Start episodes at the origin in all slots or those of ``options["reset_mask"]``."""
        slots = self._to_start(options)
        self._positions[slots] = 0.0
        self._goals[slots] = [_goal(self._tasks[slot]) for slot in slots]
        self._steps[slots] = 0
        self._live[slots] = True
        return self._positions.copy(), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        """Move every running point by its action ``[N, 2]``, clipped to ±0.1 along each axis."""
        self._check_shape(np.shape(actions))
        live = self._live
        moves = np.minimum(np.maximum(actions, -MAX_STEP), MAX_STEP)
        # slots that are over stay where they are
        np.add(self._positions, moves, out=self._positions, where=live[:, None])
        offsets = self._positions - self._goals
        distances = np.sqrt(offsets[:, 0] ** 2 + offsets[:, 1] ** 2)
        self._steps += live
        # the paper's code ends episodes by a square, not a circle, around the goal
        terminated = self._nothing.copy()
        if self._terminates:
            terminated = live & (np.abs(offsets).max(axis=1) < _TERMINATION_WIDTH)
        truncated = live & (self._steps >= self._horizon) & ~terminated
        infos = {"success": live & (distances <= MAX_STEP)}
        # r = -|x - goal|
        rewards = np.where(live, -distances, 0.0)
        self._live = live & ~(terminated | truncated)
        return self._positions.copy(), rewards, terminated, truncated, infos

    def _accept(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            _goal(task)

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a picture of point, goal and square of goals, ``[height, width, 3]``."""
        check_slot(slot, self.num_envs)
        require(camera is None, "The point suite is seen from above only: camera must be None", camera)
        position, goal = self._positions[slot], self._goals[slot]
        return draw(position, goal, goal_limit=GOAL_LIMIT, radius=MAX_STEP, width=width, height=height)


def optimal_return(task: Task, horizon: int) -> float:
    """Return an episode's best possible undiscounted return.

    Each axis moves by at most 0.1 a step whatever the other does, so after t steps the offset along an axis
    is at least ``max(|g| - 0.1 t, 0)``, and walking straight along both axes at once attains both bounds at
    every t. The distance grows with either offset, so that walk is exactly optimal::

        return = - sum over t = 1..horizon of sqrt(max(|gx| - 0.1 t, 0)^2 + max(|gy| - 0.1 t, 0)^2)

    It holds with ``terminate_at_goal`` too: no walk arrives earlier, and after its arrival the terms are 0.
    """
    reach = MAX_STEP * np.arange(1, horizon + 1)
    x, y = (np.maximum(abs(g) - reach, 0.0) for g in _goal(task))
    return -float(np.sqrt(x**2 + y**2).sum())


def unadapted_return(horizon: int) -> float:
    """Return the best expected return over training goals without adapting.

    It is that of staying at the origin, in episodes of fixed length: without the reward in the observation,
    the point's place at step t does not depend on the goal, and the mean distance to a uniform goal is least
    from the middle of the square of side s, where it is ``s (sqrt(2) + log(1 + sqrt(2))) / 6``.
    """
    side = 2 * GOAL_LIMIT
    return -horizon * side * (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6


def _draw_goals(num_goals: int, rng: np.random.Generator, split: Split) -> list[Task]:
    goals = rng.uniform(-GOAL_LIMIT, GOAL_LIMIT, (num_goals, 2)).tolist()
    return [Task(family="point", parameters=(x, y), id=f"point/{split}/{x!r},{y!r}") for x, y in goals]


def _goal(task: Task) -> tuple[float, float]:
    if task.family != "point":
        raise unknown_name("task family of the point suite", task.family, ("point",))
    if len(task.parameters) != 2 or not all(math.isfinite(value) for value in task.parameters):
        raise MetarlError(f"A point task has two finite parameters, but {task.id!r} has {task.parameters}.")
    return task.parameters[0], task.parameters[1]
