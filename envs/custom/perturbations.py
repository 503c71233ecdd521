"""Faults of a real robot in tasks, for distributions in worker processes.

    with_perturbations(distribution, ActionDelay(), WeakActuator())

A task is then one of the distribution's with the numbers of each perturbation. Those of held-out tasks come
from ranges that training never sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from metarl.action_map import ActionMap, MapsActions
from metarl.envs.custom import perturbation_wrappers as wrappers
from metarl.envs.custom.from_gymnasium import processes
from metarl.envs.custom.perturbation_wrappers import (
    GymEnv,
    PerturbationWrapper,
    check_actuators,
    check_entries,
)
from metarl.envs.engines.processes.env_pool import Drawable, EnvFactory, TaskEnv
from metarl.envs.engines.processes.messages import TIMEOUT
from metarl.errors import MetarlError, require
from metarl.tasks import (
    ControlledInTime,
    DescribesParameters,
    HasModels,
    Parameter,
    Split,
    TaskDistribution,
    check_draw,
    check_split,
)
from metarl.types import Task
from metarl.vector_env import Array, Picture, TaskVectorEnv

Range: TypeAlias = tuple[float, float]
Numbers: TypeAlias = tuple[float, ...]


class Spaces(NamedTuple):
    """The spaces of the environment that is perturbed."""

    observations: Box
    actions: Box | Discrete


class Perturbation(Protocol):
    """A fault of a robot and its range."""

    def draw(self, spaces: Spaces, rng: np.random.Generator, split: Split) -> Numbers:
        """Draw how large it is in a task; raise ``MetarlError`` if it does not apply to the spaces."""

    def wrap(self, env: GymEnv) -> PerturbationWrapper:
        """Return the perturbed environment."""


@dataclass(frozen=True, kw_only=True)
class ActionDelay:
    """Actions arrive a number of steps late."""

    train: tuple[int, int] = (0, 2)  # steps, both ends included
    test: tuple[int, int] = (3, 4)  # likewise, of held-out tasks

    def __post_init__(self) -> None:
        check_apart(self.train, self.test, lowest=0.0, shared_end=False)
        whole = all(float(end).is_integer() for end in (*self.train, *self.test))
        require(whole, "A delay must be a whole number of steps", (*self.train, *self.test))

    def draw(self, spaces: Spaces, rng: np.random.Generator, split: Split) -> Numbers:
        """Draw a delay."""
        low, high = self.train if split == "train" else self.test
        return (float(rng.integers(low, high + 1)),)

    def wrap(self, env: GymEnv) -> PerturbationWrapper:
        """Return the perturbed environment."""
        return wrappers.DelayedActions(env)


@dataclass(frozen=True, kw_only=True)
class WeakActuator:
    """One actuator is weaker; a gain below zero pulls the wrong way."""

    train: Range = (0.4, 1.0)  # gains
    test: Range = (-1.0, 0.4)  # of held-out tasks

    def __post_init__(self) -> None:
        check_apart(self.train, self.test)

    def draw(self, spaces: Spaces, rng: np.random.Generator, split: Split) -> Numbers:
        """Draw all gains, one of them not 1; raise ``MetarlError`` if actions are choices."""
        gains = np.ones(check_actuators(spaces.actions))
        gains[rng.integers(len(gains))] = rng.uniform(*(self.train if split == "train" else self.test))
        return tuple(gains.tolist())

    def wrap(self, env: GymEnv) -> PerturbationWrapper:
        """Return the perturbed environment."""
        return wrappers.WeakActuators(env)


@dataclass(frozen=True, kw_only=True)
class SensorNoise:
    """Observations are noisy."""

    train: Range = (0.0, 0.05)  # standard deviations, in the observation's own units
    test: Range = (0.05, 0.1)  # of held-out tasks

    def __post_init__(self) -> None:
        check_apart(self.train, self.test, lowest=0.0)

    def draw(self, spaces: Spaces, rng: np.random.Generator, split: Split) -> Numbers:
        """Draw a standard deviation."""
        return (rng.uniform(*(self.train if split == "train" else self.test)),)

    def wrap(self, env: GymEnv) -> PerturbationWrapper:
        """Return the perturbed environment."""
        return wrappers.NoisySensors(env)


@dataclass(frozen=True, kw_only=True)
class SensorOffset:
    """A fixed offset on some observations, as of a bumped camera."""

    entries: tuple[int, ...] = ()  # indices of observed numbers; none for all
    train: Range = (0.0, 0.05)  # largest offset either way, in the observation's own units
    test: Range = (0.05, 0.1)  # of held-out tasks

    def __post_init__(self) -> None:
        check_apart(self.train, self.test, lowest=0.0)

    def draw(self, spaces: Spaces, rng: np.random.Generator, split: Split) -> Numbers:
        """Draw an offset for each entry; raise ``MetarlError`` if observations have no such entry."""
        check_entries(self.entries, spaces.observations)
        count = len(self.entries) or spaces.observations.shape[0]
        sizes = rng.uniform(*(self.train if split == "train" else self.test), count)
        return tuple((sizes * rng.choice([-1.0, 1.0], count)).tolist())

    def wrap(self, env: GymEnv) -> PerturbationWrapper:
        """Return the perturbed environment."""
        size = env.observation_space.shape
        assert size is not None
        return wrappers.ShiftedSensors(env, self.entries or range(size[0]))


class InProcesses(TaskDistribution, Protocol):
    """A distribution that describes its environments to workers."""

    @property
    def env_factory(self) -> EnvFactory:
        """Builds an environment of a family."""


@dataclass(frozen=True, kw_only=True)
class PerturbedTasks:
    """Another distribution's tasks on a perturbed robot."""

    name: str
    base: InProcesses
    perturbations: tuple[Perturbation, ...]
    observation_space: Box  # the base's, without bounds where a sensor may now show anything
    action_space: Box | Discrete
    action_map: ActionMap | None  # the base's; it comes before the perturbations
    horizon: int
    reports_success: bool
    timeout: float
    listed: Mapping[Split, tuple[Task, ...]]

    @property
    def env_factory(self) -> EnvFactory:
        """Builder of perturbed base environments."""
        return PerturbedFactory(self.base.env_factory, self.perturbations, self._sizes())

    def control_step(self) -> float | None:
        """Return the base's seconds per action."""
        return self.base.control_step() if isinstance(self.base, ControlledInTime) else None

    def model_sums(self) -> Mapping[str, str]:
        """Return the base's sums of model files, if it has some."""
        return self.base.model_sums() if isinstance(self.base, HasModels) else {}

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return the base's list with perturbations, drawn once and for all."""
        check_split(split)
        return self.listed[split]

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw tasks of the base: for training with fresh perturbations, else held-out ones."""
        check_draw(num_tasks, rng, split)
        if split == "train":
            return [self._perturb(task, rng, split) for task in self.base.sample(num_tasks, rng, split)]
        places = {task.id: index for index, task in enumerate(self.base.tasks(split))}
        return [self.listed[split][places[task.id]] for task in self.base.sample(num_tasks, rng, split)]

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Return the base's parameters, then the perturbations'; those of sensors are observed."""
        listed = [*self.tasks("train"), *self.tasks("test")]  # families may be held out as a whole
        example = next(task for task in listed if task.family == family)
        own = len(example.parameters) - sum(self._sizes())
        described = [Parameter(f"parameter {number}", observed=False) for number in range(own)]
        if isinstance(self.base, DescribesParameters):
            described = list(self.base.describe_parameters(family))
        for perturbation, size in zip(self.perturbations, self._sizes(), strict=True):
            sensing = isinstance(perturbation, SensorNoise | SensorOffset)
            described += [Parameter(f"{type(perturbation).__name__}[{n}]", sensing) for n in range(size)]
        return described

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment; raise ``MetarlError`` on engines but "auto" and "processes"."""
        return processes(self, self.env_factory, num_envs, engine, num_workers)

    def _perturb(self, task: Task, rng: np.random.Generator, split: Split) -> Task:
        drawn = [each.draw(self._spaces, rng, split) for each in self.perturbations]
        numbers = tuple(number for each in drawn for number in each)
        word = ",".join(f"{number:.6g}" for number in numbers)
        return Task(task.family, (*task.parameters, *numbers), f"{task.id}+{word}")

    def _sizes(self) -> tuple[int, ...]:
        rng = np.random.default_rng(0)
        return tuple(len(each.draw(self._spaces, rng, "train")) for each in self.perturbations)

    @property
    def _spaces(self) -> Spaces:
        return Spaces(self.base.observation_space, self.base.action_space)


def with_perturbations(base: InProcesses, *perturbations: Perturbation) -> PerturbedTasks:
    """Return a distribution of the same tasks on a robot with perturbations.

    ``base`` is any distribution with an ``env_factory``, such as those of :func:`metarl.envs.from_gymnasium`;
    the first perturbation is nearest to the environment. One that does not apply raises ``MetarlError``.
    """
    require(len(perturbations) > 0, "At least one perturbation is needed", "none")
    if not hasattr(base, "env_factory"):
        raise MetarlError(
            f"The suite {base.name} has no env_factory, so nothing can be put around its robots."
        )
    # noise and offsets may leave the bounds of the observation space
    space = base.observation_space
    free = Box(-np.inf, np.inf, space.shape, np.float64 if space.dtype == np.float64 else np.float32)
    sensing = any(isinstance(each, SensorNoise | SensorOffset) for each in perturbations)
    empty = PerturbedTasks(
        name=f"{base.name}-perturbed",
        base=base,
        perturbations=perturbations,
        observation_space=free if sensing else space,
        action_space=base.action_space,
        action_map=base.action_map if isinstance(base, MapsActions) else None,
        horizon=base.horizon,
        reports_success=base.reports_success,
        timeout=getattr(base, "timeout", TIMEOUT),
        listed={},
    )
    # the lists are drawn once, from seeds of their own
    seeds: dict[Split, int] = {"train": 2101, "test": 2102}
    listed: dict[Split, tuple[Task, ...]] = {}
    for split, seed in seeds.items():
        rng = np.random.default_rng(seed)
        listed[split] = tuple(empty._perturb(task, rng, split) for task in base.tasks(split))
    return replace(empty, listed=listed)


@dataclass(frozen=True)
class PerturbedFactory:
    """Builds environments with perturbations, in the workers."""

    base: EnvFactory
    perturbations: tuple[Perturbation, ...]
    sizes: tuple[int, ...]

    def __call__(self, family: str) -> TaskEnv:
        """Build one; raise ``MetarlError`` if the base builds anything but Gymnasium environments."""
        env: object = self.base(family)
        if not isinstance(env, gymnasium.Env):
            raise MetarlError(
                f"Perturbations need a gymnasium.Env, but family {family!r} is a {type(env).__name__}."
            )
        return (DrawnPerturbedEnv if isinstance(env, Drawable) else PerturbedEnv)(env, self)


class PerturbedEnv(gymnasium.Wrapper[Array, Array, Array, Array]):
    """Passes a task's numbers to environment and perturbations."""

    def __init__(self, env: GymEnv, factory: PerturbedFactory) -> None:
        self._tasked = env
        self._sizes = factory.sizes
        self._wrappers: list[PerturbationWrapper] = []
        for perturbation in factory.perturbations:
            env = perturbation.wrap(env)
            self._wrappers.append(env)
        super().__init__(env)

    def set_task(self, task: Task) -> None:
        """Run ``task`` from the next reset on; raise ``MetarlError`` if it has too few numbers."""
        count, numbers = sum(self._sizes), task.parameters
        require(len(numbers) >= count, f"A task with perturbations has {count} numbers or more", len(numbers))
        split = len(numbers) - count
        self._tasked.set_task(Task(task.family, numbers[:split], task.id))  # type: ignore[attr-defined]  # a TaskEnv
        for wrapper, size in zip(self._wrappers, self._sizes, strict=True):
            wrapper.set_perturbation(numbers[split : split + size])
            split += size


class DrawnPerturbedEnv(PerturbedEnv):
    """Draws the environment inside, which sees no perturbation."""

    def draw(self, *, camera: str | None, width: int, height: int) -> Picture:
        """Return a picture, ``[height, width, 3]``."""
        assert isinstance(self._tasked, Drawable)
        return self._tasked.draw(camera=camera, width=width, height=height)


def check_apart(train: Range, test: Range, *, lowest: float = -np.inf, shared_end: bool = True) -> None:
    """Check that ranges make sense and do not overlap, but for an end; raise ``MetarlError`` if not."""
    for low, high in (train, test):
        require(
            lowest <= low <= high < np.inf, f"A range must go from low to high, {lowest} or more", (low, high)
        )
    (_, high), (low, _) = sorted((train, test))
    # two intervals may share an end, which is drawn with probability zero; a single number may not
    shares = shared_end and train[0] < train[1] and test[0] < test[1]
    apart = high <= low if shares else high < low
    require(apart, f"Training and held-out ranges must not overlap; training's is {train}", test)
