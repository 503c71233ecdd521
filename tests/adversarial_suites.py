"""Small suites that try to fool the checker: leaks of many kinds, and honest suites that look like them.

All are a point that walks on a line or in the plane; each class changes one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from metarl.envs import from_gymnasium
from metarl.envs.gymnasium_tasks import ProcessTasks
from metarl.tasks import Array

HORIZON = 24
Info = dict[str, object]


class Walk(gymnasium.Env[Array, Array]):
    """A point in the plane that is paid for being near a goal, which it does not see: honest."""

    extra: ClassVar[int] = 0
    """Entries beside the position."""
    goal: Array | float = np.zeros(2)
    mass: float = 1.0

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (2 + self.extra,), np.float64)
        self.action_space = Box(-1.0, 1.0, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Array, Info]:
        super().reset(seed=seed)
        self.steps = 0
        self.place = self.np_random.uniform(-0.1, 0.1, 2)
        self.paid = 0.0
        self.begin()
        return self.seen(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, Info]:
        self.steps += 1
        self.move(np.clip(action, -1.0, 1.0))
        self.paid = self.reward()
        return self.seen(), self.paid, self.ended(), self.cut(), {}

    def begin(self) -> None:
        pass

    def move(self, action: Array) -> None:
        self.place = self.place + 0.1 * action

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place - self.goal))

    def ended(self) -> bool:
        return False

    def cut(self) -> bool:
        return False

    def shown(self) -> Array | list[float]:
        return []

    def seen(self) -> Array:
        shown = np.atleast_1d(np.array(self.shown(), np.float64)).ravel()
        return np.concatenate([self.place, shown])


def leak(entries: int, shown: Callable[[Walk], object]) -> type[Walk]:
    """Return a walk that observes more."""

    class Leaking(Walk):
        extra = entries

        def shown(self) -> Array:
            return np.atleast_1d(np.array(shown(self), np.float64))

    return Leaking


def set_all(env: Walk, task: Mapping[str, object]) -> None:
    """Set every parameter of the name of an attribute."""
    for name, value in task.items():
        setattr(env, name, value)


def goals(rng: np.random.Generator) -> dict[str, object]:
    """Draw a goal in the plane."""
    return {"goal": rng.uniform(-1.0, 1.0, 2)}


def suite(
    env: Callable[[], gymnasium.Env[Array, Array]],
    sample: object = goals,
    *,
    horizon: int = HORIZON,
    observed: tuple[str, ...] = (),
) -> ProcessTasks:
    """Make a suite of a walk."""
    return from_gymnasium(env, sample=sample, apply=set_all, horizon=horizon, name="walk", observed=observed)  # type: ignore[arg-type]  # of several kinds
