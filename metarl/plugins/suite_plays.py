"""Episodes that differ in their task alone.

All tasks start from the same seed and take the same actions. Several such plays, with other seeds and other
kinds of actions, tell what depends on the task from what depends on the state.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete

from metarl.rollouts.scripted import draw_actions
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

TASKS = 10  # most tasks that are compared
SECONDS = 8.0  # time for the plays of one family; slow environments are seen for fewer steps
_LEAST = 5  # steps that are taken however slow they are
_NUMBERS = 20_000_000  # most observed numbers that are kept
_GUIDED = 32  # most constant directions of guided plans, about
_HOLD = 12  # steps for which a held action is repeated
_ROUNDING = 1e-7
_BOUNDLESS = 10.0  # size of actions in a space without bounds

Flags = npt.NDArray[np.bool_]


class Plan(NamedTuple):
    """Actions of one play, and its reset's seed."""

    seed: int
    actions: Array  # ``[T, A]``, or ``[T]`` choices


@dataclass(frozen=True)
class Plays:
    """The same tasks under several plans."""

    tasks: tuple[Task, ...]
    plans: tuple[Plan, ...]
    observations: Array  # ``[V, T + 1, M, O]``: plans, steps, tasks, entries
    rewards: Array  # ``[V, T, M]``
    # ``[V, T, M]``: 1 where the step terminated the episode, 2 where it truncated it, 4 more on success
    ends: npt.NDArray[np.int8]
    valid: Flags  # ``[V, T + 1, M]``: whether the observed episode was running

    @property
    def parameters(self) -> Array:
        """The tasks' parameters, ``[M, P]``."""
        return np.array([task.parameters for task in self.tasks], np.float64)

    @property
    def effects(self) -> bool:
        """Whether tasks differ in anything an episode returns."""
        lived = self.valid[:, 1:]
        seen = task_spread(self.observations, self.valid).any()
        paid = task_spread(self.rewards[..., None], lived).any()
        return bool(seen or paid or task_spread(self.ends[..., None].astype(np.float64), lived).any())

    @property
    def answer_actions(self) -> bool:
        """Whether plans of equal seeds differ in anything an episode returns."""
        parts = (self.observations, self.rewards, self.ends)
        return any(bool((part != part[:1]).any()) for part in parts)


def task_spread(values: Array, valid: Flags) -> Array:
    """Return running tasks' spread, ``[V, T, O]``.

    It is 0 where fewer than two tasks are running, or where no network in float32 could see the difference.

    Args:
        values: ``[V, T, M, O]``.
        valid: ``[V, T, M]``.
    """
    mask = valid[..., None]
    high = np.where(mask, values, -np.inf).max(axis=2)
    low = np.where(mask, values, np.inf).min(axis=2)
    spread = np.where(valid.sum(axis=2)[..., None] >= 2, high - low, 0.0)
    return np.where(spread > rounding(np.where(mask, values, 0.0)), spread, 0.0)


def rounding(values: Array) -> Array:
    """Return per entry, ``[O]``, differences too small for a network in float32.

    Physics that repeats to the last bit for one task may round otherwise for another.
    """
    # relative to the entry's own size, and a little to that of the largest entry
    sizes = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
    smallest: Array = _ROUNDING * np.maximum(sizes, 0.01 * sizes.max())
    return smallest


def siblings(suite: TaskDistribution, family: str, count: int = TASKS) -> list[Task]:
    """Return a family's training tasks with different parameters."""
    listed = {task.parameters: task for task in suite.tasks("train") if task.family == family}
    return list(listed.values())[:count]


def standard_plans(space: Box | Discrete, num_steps: int) -> list[Plan]:
    """Return plans of random, held and resting actions."""
    return [
        Plan(0, draw_actions(space, num_steps, 1, 11)[:, 0]),
        Plan(1, draw_actions(space, num_steps, 1, 12)[:, 0]),
        Plan(0, _held(space, num_steps, 13)),
        Plan(2, _held(space, num_steps, 14)),
        Plan(1, _constant(space, num_steps, _rest(space))),
    ]


def guided_plans(space: Box | Discrete, num_steps: int) -> list[Plan]:
    """Return plans of constant directions and random walks."""
    if isinstance(space, Discrete):
        directions = list(space.start + np.arange(min(int(space.n), _GUIDED)))
    else:
        low, high = _bounds(space)
        rest, directions = _rest(space), []
        # one action at its bound, all others at rest
        for axis, end in itertools.product(range(min(len(rest), _GUIDED // 4)), (low, high)):
            direction = rest.copy()
            direction[axis] = end[axis]
            directions.append(direction)
        # corners and random directions move several joints at once
        directions += [low, high]
        rng = np.random.default_rng(15)
        directions += [rng.uniform(low, high) for _ in range(_GUIDED // 4)]
        directions += [np.where(rng.random(len(rest)) < 0.5, low, high) for _ in range(_GUIDED // 8)]
    holds = enumerate((3, 6, 12, 25, 50, 100))
    walks = [Plan(seed, _held(space, num_steps, 100 + seed, hold)) for seed, hold in holds]
    return [Plan(0, _constant(space, num_steps, direction)) for direction in directions] + walks


def play_plans(
    env: TaskVectorEnv, tasks: Sequence[Task], plans: Sequence[Plan], seconds: float = SECONDS
) -> Plays:
    """Play every plan with every task. After ``seconds`` all plays are cut to the steps so far."""
    # all plays together must fit into memory
    size = math.prod(env.single_observation_space.shape or (1,))
    limit = max(1, min(len(plans[0].actions), _NUMBERS // (len(plans) * len(tasks) * size)))
    left = seconds
    played = []
    for index, plan in enumerate(plans):
        one, took = _play(env, tasks, plan, limit, left / (len(plans) - index))
        left = max(0.0, left - took)
        # a play that was cut short for time cuts all others
        limit = min(limit, len(one.rewards))
        played.append(one)
    return Plays(
        tuple(tasks),
        tuple(plans),
        observations=np.stack([one.observations[: limit + 1] for one in played]),
        rewards=np.stack([one.rewards[:limit] for one in played]),
        ends=np.stack([one.ends[:limit] for one in played]),
        valid=np.stack([one.valid[: limit + 1] for one in played]),
    )


class _Play(NamedTuple):
    """Episodes of all tasks under one plan, in shapes as of :class:`Plays`."""

    observations: Array
    rewards: Array
    ends: npt.NDArray[np.int8]
    valid: Flags


def _play(
    env: TaskVectorEnv, tasks: Sequence[Task], plan: Plan, limit: int, seconds: float
) -> tuple[_Play, float]:
    """Return episodes and the seconds of their steps."""
    count = len(tasks)
    env.set_tasks(tasks)
    first, _ = env.reset(seed=[plan.seed] * env.num_envs)  # type: ignore[arg-type]  # one for each slot
    seen, paid, ends, valid = [np.array(first[:count])], [], [], [np.ones(count, np.bool_)]
    live = np.ones(count, np.bool_)
    begun = time.monotonic()  # building and resetting are not counted: they come once
    for action in plan.actions[:limit]:
        observation, reward, ended, cut, infos = env.step(np.repeat(action[None], env.num_envs, axis=0))
        success = np.asarray(infos.get("success", np.zeros(env.num_envs, np.bool_)))[:count]
        seen.append(np.array(observation[:count]))
        paid.append(np.array(reward[:count]))
        ends.append(ended[:count] + 2 * np.asarray(cut)[:count] + 4 * success.astype(np.int8))
        valid.append(live.copy())
        live &= ~(np.asarray(ended, np.bool_) | np.asarray(cut, np.bool_))[:count]
        if time.monotonic() - begun > seconds and len(paid) >= _LEAST:
            break
    took = time.monotonic() - begun
    played = _Play(
        np.array(seen, np.float64), np.array(paid, np.float64), np.array(ends, np.int8), np.array(valid)
    )
    return played, took


def _bounds(space: Box) -> tuple[Array, Array]:
    low = np.where(np.isfinite(space.low), space.low, np.minimum(-_BOUNDLESS, space.high - _BOUNDLESS))
    high = np.where(np.isfinite(space.high), space.high, np.maximum(_BOUNDLESS, low + _BOUNDLESS))
    return low.astype(np.float64), high.astype(np.float64)


def _rest(space: Box | Discrete) -> Array:
    if isinstance(space, Discrete):
        return cast("Array", np.asarray(space.start))
    return np.clip(np.zeros(space.shape), space.low, space.high)


def _constant(space: Box | Discrete, num_steps: int, action: npt.ArrayLike) -> Array:
    return cast("Array", np.repeat(np.asarray(action)[None], num_steps, axis=0).astype(space.dtype))


def _held(space: Box | Discrete, num_steps: int, seed: int, hold: int = _HOLD) -> Array:
    drawn = draw_actions(space, -(-num_steps // hold), 1, seed)[:, 0]
    return np.repeat(drawn, hold, axis=0)[:num_steps]
