"""Small suites that try to fool the checker: leaks of many kinds, and honest suites that look like them.

All are a point that walks on a line or in the plane; each class changes one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.envs.custom.from_vector_env import VectorTasks, from_vector_env
from metarl.vector_env import Array

HORIZON = 24
Info = dict[str, object]


class Walk(gymnasium.Env[Array, Array]):
    """A point in the plane that is paid for being near a goal, which it does not see: honest."""

    extra: ClassVar[int] = 0
    """Entries beside the position."""
    goal: Array | float = np.zeros(2)
    mass: float = 1.0
    angle: float = 0.0
    index: int = 0

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


def leak(entries: int, tell: Callable[[Walk], object], base: type[Walk] = Walk) -> type[Walk]:
    """Return a walk that observes more."""

    class Leaking(base):  # type: ignore[misc, valid-type]  # any walk
        extra = base.extra + entries

        def shown(self) -> Array:
            told = np.atleast_1d(np.array(tell(self), np.float64)).ravel()
            return np.concatenate([np.atleast_1d(np.array(base.shown(self), np.float64)).ravel(), told])

    return Leaking


class Circling(Walk):
    """The goal is somewhere on a circle."""

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place - [np.cos(self.angle), np.sin(self.angle)]))


class Hunting(Walk):
    """Observes the way to the goal instead of the position."""

    def seen(self) -> Array:
        return np.asarray(self.goal - self.place)


class Fogged(Walk):
    """Hides the goal in the last digits of the position."""

    def seen(self) -> Array:
        return self.place + 1e-4 * np.asarray(self.goal)


class Shaken(Walk):
    """Observes the goal through noise."""

    extra = 2

    def shown(self) -> Array:
        return np.asarray(self.goal + self.np_random.normal(0.0, 0.1, 2))


class Heavy(Walk):
    """Velocity remains, and grows the less the greater the mass is: honest, all tasks move otherwise."""

    extra = 2

    def begin(self) -> None:
        self.velocity = np.zeros(2)

    def move(self, action: Array) -> None:
        self.velocity = 0.9 * self.velocity + 0.1 * action / self.mass
        self.place = self.place + self.velocity

    def shown(self) -> Array:
        return self.velocity


class Falling(Heavy):
    """Gravity is the task, and it pulls from the first step on whatever is done."""

    gravity: float = 1.0

    def move(self, action: Array) -> None:
        super().move(action)
        self.velocity = self.velocity - [0.0, 0.05 * self.gravity]


class Windy(Walk):
    """Wind blows along one axis only; the other moves as in every task."""

    wind: float = 0.0

    def move(self, action: Array) -> None:
        super().move(action)
        self.place = self.place + np.array([0.05 * self.wind, 0.0])


class Geared(Walk):
    """One motor is stronger or weaker, the other as always."""

    gain: float = 1.0

    def move(self, action: Array) -> None:
        super().move(action * [self.gain, 1.0])


class Gusty(Heavy):
    """Wind against friction: the velocity comes to rest near the task's number."""

    wind: float = 0.0

    def move(self, action: Array) -> None:
        super().move(action)
        self.velocity = self.velocity + np.array([0.03 * self.wind, 0.0])


class Echoing(Walk):
    """Observes the last reward, as recurrent agents often do."""

    extra = 1

    def shown(self) -> list[float]:
        return [self.paid]


class Touching(Walk):
    """Feels the goal where it touches it."""

    extra = 1

    def shown(self) -> list[float]:
        return [float(np.linalg.norm(self.place - self.goal) < 0.4)]

    def begin(self) -> None:
        self.place = self.place * 0.0 + [3.0, 3.0]

    def move(self, action: Array) -> None:
        self.place = self.place + action


class Unreached(Walk):
    """Is paid at the goal only, which is far away."""

    def reward(self) -> float:
        return float(np.linalg.norm(self.place - 50.0 * np.asarray(self.goal)) < 0.3)


class Thrifty(Unreached):
    """Pays for each action as well, the same in every task."""

    def step(self, action: Array) -> tuple[Array, float, bool, bool, Info]:
        seen, paid, ended, cut, info = super().step(action)
        return seen, paid - 0.01 * float(np.square(action).sum()), ended, cut, info


class Sparse(Walk):
    """Is paid at the goal only, along an axis that random actions do not follow far."""

    def move(self, action: Array) -> None:
        self.place = self.place + 0.1 * action

    def reward(self) -> float:
        along = self.place[0] if np.asarray(self.goal)[0] > 0 else -self.place[0]
        return float(along > 1.5 + abs(np.asarray(self.goal)[1]))


class Lifted(Walk):
    """Is paid only once a lever was held for long."""

    def begin(self) -> None:
        self.held = 0

    def move(self, action: Array) -> None:
        super().move(action)
        self.held = self.held + 1 if action[0] > 0.9 else 0

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place - self.goal)) if self.held > 8 else 0.0


class Choosing(Unreached):
    """Is paid where it ends, and ends where the task says; nothing else differs."""

    limit: int = 5

    def ended(self) -> bool:
        return self.steps >= self.limit

    def reward(self) -> float:
        return 1.0


class Deaf(Walk):
    """Has one goal whatever it is told."""

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place - 0.3))

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, np.full(2, 0.3) if name == "goal" else value)


class Overwriting(Walk):
    """Draws its goal anew at each reset."""

    def begin(self) -> None:
        self.goal = np.full(2, 0.3)


class Unread(Walk):
    """Never uses what it is told."""

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place))


class Limited(Walk):
    """Has another limit of steps in each task."""

    limit: int = 10

    def cut(self) -> bool:
        return self.steps >= self.limit


class Fuelled(Walk):
    """Is cut when its fuel is used up."""

    def begin(self) -> None:
        self.fuel = 6.0

    def move(self, action: Array) -> None:
        super().move(action)
        self.fuel -= float(np.abs(action).sum())

    def cut(self) -> bool:
        return self.fuel <= 0


class Dying(Walk):
    """Ends where it leaves a square."""

    def ended(self) -> bool:
        return bool(np.abs(self.place).max() > 0.3)


class Hasty(Walk):
    """Is cut after 9 steps, whatever the horizon says."""

    def cut(self) -> bool:
        return self.steps >= 9


class Placed(Walk):
    """Sees where a thing is that it has to bring to a hidden goal: only the goal is to be inferred."""

    extra = 2
    thing: Array | float = np.zeros(2)

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place - self.thing) + np.linalg.norm(self.place - self.goal))

    def shown(self) -> Array:
        return np.asarray(self.thing)


class Misread(Walk):
    """A sensor is off by a number, which is the task; the reward knows the true position."""

    offset: Array | float = np.zeros(2)

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place))

    def seen(self) -> Array:
        return np.asarray(self.place + self.offset)


class Settled(Heavy):
    """Physics runs for a while within the reset, so the mass shows in where an episode starts."""

    def begin(self) -> None:
        super().begin()
        for _ in range(5):
            self.move(np.array([0.3, -0.5]) - self.place)


class Loaded(Walk):
    """Stiff motors follow the actions whatever the load, which a force sensor feels."""

    extra = 2
    load: float = 1.0
    force: Array | float = np.zeros(2)

    def begin(self) -> None:
        self.force = np.zeros(2)

    def reward(self) -> float:
        return -float(np.linalg.norm(self.place - 0.5))

    def move(self, action: Array) -> None:
        super().move(action)
        self.force = self.load * action

    def shown(self) -> Array:
        return np.asarray(self.force)


def goals(rng: np.random.Generator) -> dict[str, object]:
    """Draw a goal in the plane."""
    return {"goal": rng.uniform(-1.0, 1.0, 2)}


def angles(rng: np.random.Generator) -> dict[str, object]:
    """Draw a direction."""
    return {"angle": rng.uniform(-3.0, 3.0)}


def goals_and_masses(rng: np.random.Generator) -> dict[str, object]:
    """Draw a goal and a mass."""
    return {"goal": rng.uniform(-1.0, 1.0, 2), "mass": rng.uniform(0.5, 2.0)}


def goals_and_things(rng: np.random.Generator) -> dict[str, object]:
    """Draw a goal and the place of a thing."""
    return {"goal": rng.uniform(-1.0, 1.0, 2), "thing": rng.uniform(-1.0, 1.0, 2)}


def one(name: str, low: float = 0.5, high: float = 2.0) -> Callable[[np.random.Generator], dict[str, object]]:
    """Draw one number."""
    return lambda rng: {name: rng.uniform(low, high)}


def suite(
    env: type[Walk],
    sample: Callable[[np.random.Generator], dict[str, object]] = goals,
    *,
    test_sample: Sequence[dict[str, object]] | None = None,
    horizon: int = HORIZON,
    observed: Sequence[str] = (),
) -> VectorTasks:
    """Make a suite of a walk, its slots in this process."""
    return from_vector_env(
        lambda count: SyncVectorEnv([env] * count, autoreset_mode=AutoresetMode.DISABLED),
        sample=sample,
        test_sample=test_sample,
        apply=set_tasks,
        horizon=horizon,
        name="walk",
        observed=observed,
    )


def listed(env: type[Walk]) -> VectorTasks:
    """Make a suite of six tasks, each with a number of its own."""
    rng = np.random.default_rng(3)
    tasks = [{"goal": rng.uniform(-1.0, 1.0, 2), "index": index} for index in range(8)]
    return suite(env, tasks[:6], test_sample=tasks[6:])  # type: ignore[arg-type]  # a list does as well


def set_tasks(env: SyncVectorEnv, tasks: Sequence[dict[str, object]]) -> None:
    """Set every parameter as the attribute of its name."""
    for each, task in zip(env.envs, tasks, strict=True):
        for name, value in task.items():
            setattr(each.unwrapped, name, value)
