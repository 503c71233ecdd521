"""Tiny Gymnasium environments with tasks, for the tests of engines."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import gymnasium
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from gymnasium.spaces import Box, Discrete

from metarl.errors import unknown_name
from metarl.types import Task

Vector: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Info: TypeAlias = dict[str, object]

OBSERVATION_SPACE = Box(-np.inf, np.inf, (3,), np.float32)
ACTION_SPACE = Box(-1.0, 1.0, (2,), np.float32)


class Walk(gymnasium.Env[Vector, Vector]):
    """A noisy walk: an episode is a function of (task, seed, actions), and of nothing else.

    Task parameters: goal, then steps until the walk terminates.
    """

    observation_space = OBSERVATION_SPACE
    action_space = ACTION_SPACE
    horizon = 20

    def set_task(self, task: Task) -> None:
        self.task = task
        self.goal, self.length = task.parameters

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
        super().reset(seed=seed)
        self.position = self.np_random.normal(size=2)
        if options and "start" in options:
            self.position = np.asarray(options["start"], dtype=np.float64)
        self.count = 0
        return self._observation(), {}

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        self.count += 1
        self.position = self.position + action + 0.1 * self.np_random.normal(size=2)
        distance = float(np.abs(self.position - self.goal).sum())
        terminated = self.count == self.length
        info: Info = {"success": distance < 1.0}
        return self._observation(), -distance, terminated, self.count == self.horizon, info

    def _observation(self) -> Vector:
        return np.array([*self.position, self.count], dtype=np.float32)


class Silent(Walk):
    """A walk that says nothing of success."""

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        return *super().step(action)[:4], {}


class Broken(Walk):
    """A walk that raises an exception at its third step."""

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        if self.count == 2:
            raise ZeroDivisionError("the wheel came off.\nBadly.")
        return super().step(action)


class Misshapen(Walk):
    """A walk whose observations are too short."""

    def _observation(self) -> Vector:
        return np.zeros(2, dtype=np.float32)


class Forgetful(Walk):
    """A walk that keeps the action it was given, as Pendulum does, and looks at it in the next step."""

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
        self.last_action = np.zeros(2, np.float32)
        return super().reset(seed=seed, options=options)

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        result = super().step(self.last_action)
        self.last_action = action
        return result


@dataclass(frozen=True)
class Trap:
    """Something that happens at the fourth step: once, in the first process that gets there, or each time.

    Args:
        flag: a file, which that process removes.
        kind: ``"hang"``, ``"exit"``.
    """

    flag: str
    kind: str
    forever: bool = False

    def spring(self) -> None:
        if not self.forever:
            try:
                Path(self.flag).unlink()
            except FileNotFoundError:
                return
        if self.kind == "hang":
            time.sleep(3600.0)
        os._exit(7)


class Trapped(Walk):
    """A walk whose fourth step may spring a trap."""

    def __init__(self, trap: Trap) -> None:
        self.trap = trap

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        if self.count == 3 and self.task.id == "trapped":
            self.trap.spring()
        return super().step(action)


class Witness(Walk):
    """A walk that reports on the process it runs in: observations are [modules, threads, environments built].

    The first number is 1 if torch or matplotlib has been imported.
    """

    built = 0

    def __init__(self) -> None:
        Witness.built += 1

    def _observation(self) -> Vector:
        imported = {"torch", "matplotlib"} & sys.modules.keys()
        threads = int(os.environ["OMP_NUM_THREADS"])
        return np.array([bool(imported), threads, Witness.built], dtype=np.float32)


class TaskPendulum(PendulumEnv):
    """Gymnasium's pendulum; the task is its gravity."""

    def set_task(self, task: Task) -> None:
        (self.g,) = task.parameters


class TaskCartPole(CartPoleEnv):
    """Gymnasium's cart and pole; the task is the pole's length."""

    def set_task(self, task: Task) -> None:
        (self.length,) = task.parameters


class Echo(gymnasium.Env[Vector, Vector]):
    """Shows three zeros and then the last action and the goal's double; is rewarded with the goal."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1.0, 2.0, (2,), np.float32)

    def __init__(self) -> None:
        self.goal = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Vector, dict[str, object]]:
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, object]]:
        return np.array([*action, 2 * self.goal], np.float32), self.goal, False, False, {}


class Unpaintable(Echo):
    """Cannot be drawn, whatever it says."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # Gymnasium's own name for it

    def render(self) -> object:  # type: ignore[override]  # or nothing
        raise RuntimeError("no paint")


class Drawing(gymnasium.Env[Vector, Vector]):
    """Draws itself, as Gymnasium defines it, where its family says so."""

    def __init__(self, family: str) -> None:
        self.draws = family == "draws"

    def set_task(self, task: Task) -> None: ...

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
        return np.zeros(1), {}

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        return np.zeros(1), 0.0, False, False, {}

    def render(self) -> object:  # type: ignore[override]  # or nothing
        return np.full((3, 4, 3), 7, np.uint8) if self.draws else None


class Strict(gymnasium.Env[Vector, Vector]):
    """Shows the action that it got, and refuses one outside its space."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    space: Box | Discrete = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self) -> None:
        self.action_space = self.space  # type: ignore[assignment]  # choices too
        self.goal = 0.0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
        super().reset(seed=seed)
        return np.zeros(2), {}  # type: ignore[return-value]  # double precision

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is outside {self.action_space}")
        shown = np.broadcast_to(action, (2,)).astype(np.float64)
        return shown, self.goal + float(shown.sum()), False, False, {}  # type: ignore[return-value]  # as above


def set_goal(env: Echo | Strict, goal: float) -> None:
    env.goal = goal


FAMILIES = {
    "walk": Walk,
    "silent": Silent,
    "broken": Broken,
    "misshapen": Misshapen,
    "forgetful": Forgetful,
    "witness": Witness,
}


def make(family: str) -> Walk:
    """Build one of :data:`FAMILIES`."""
    if family == "unbuildable":
        raise OSError("no such robot")
    if family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    return FAMILIES[family]()


def walk_tasks(count: int, family: str = "walk") -> list[Task]:
    """Return tasks that terminate after 9, 10, 11, … steps."""
    return [Task(family, (float(i), 9.0 + i), f"{family}-{i}") for i in range(count)]
