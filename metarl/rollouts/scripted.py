"""Whole episodes with given actions, for checks and tests of environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete

from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv


class Trajectory(NamedTuple):
    """Steps of all slots, T first."""

    observations: Array  # [T + 1, N, O]
    rewards: Array  # [T, N]
    terminated: npt.NDArray[np.bool_]  # [T, N]
    truncated: npt.NDArray[np.bool_]  # [T, N]
    success: npt.NDArray[np.bool_]  # [T, N]; all false where the suite does not report it

    def slot(self, index: int) -> Trajectory:
        """Return one slot's steps, ``[T]``."""
        return Trajectory._make(part[:, index] for part in self)


def same(one: Trajectory, other: Trajectory) -> bool:
    """Say whether two trajectories agree bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def steps(env: TaskVectorEnv, actions: Array, first: Array) -> Trajectory:
    """Step through ``actions`` ``[T, N, A]``, after the ``first`` observations."""
    observations, rewards, terminated, truncated, success = [np.array(first)], [], [], [], []
    for action in actions:
        observation, reward, ended, cut, infos = env.step(action)
        observations.append(np.array(observation))
        rewards.append(np.array(reward))
        terminated.append(np.array(ended))
        truncated.append(np.array(cut))
        success.append(np.array(infos.get("success", np.zeros(env.num_envs, dtype=np.bool_))))
    shape = (len(actions), env.num_envs)  # of no steps as well
    rest = (np.array(x).reshape(shape) for x in (rewards, terminated, truncated, success))
    return Trajectory(np.array(observations), *rest)


def play(
    env: TaskVectorEnv, tasks: Sequence[Task], actions: Array, seed: int | Sequence[int] = 0
) -> Trajectory:
    """Reset to ``tasks``; step through ``actions`` ``[T, N, A]``.

    Every slot is reset. ``seed`` is that of the first, each further one having the next; or one for each.
    """
    env.set_tasks(tasks)
    first, _ = env.reset(seed=seed)  # type: ignore[arg-type]  # Gymnasium's take one for each slot too
    return steps(env, actions, first)


def draw_actions(space: Box | Discrete, num_steps: int, num_envs: int, seed: int = 0) -> Array:
    """Draw uniform actions ``[T, N, A]`` within the bounds, or choices ``[T, N]``.

    Without a bound, actions are in -1..1.
    """
    rng = np.random.default_rng(seed)
    if isinstance(space, Discrete):
        drawn = space.start + rng.integers(space.n, size=(num_steps, num_envs))
        return cast("Array", drawn.astype(space.dtype))
    low = np.where(np.isfinite(space.low), space.low, np.minimum(-1.0, space.high - 2.0))
    high = np.where(np.isfinite(space.high), space.high, np.maximum(1.0, low + 2.0))
    return rng.uniform(low, high, (num_steps, num_envs, *space.shape)).astype(space.dtype)
