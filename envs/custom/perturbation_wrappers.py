"""Faults of a real robot as Gymnasium wrappers: late actions, weak actuators, wrong sensors.

``set_perturbation(numbers)`` sets how large a fault is from the next reset on. The agent observes only its
effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import SupportsFloat, TypeAlias, cast

import gymnasium
import numpy as np

from metarl.errors import require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.spaces import action_size, rounded_to, vectors
from metarl.vector_env import Array

GymEnv: TypeAlias = "gymnasium.Env[Array, Array]"
Info: TypeAlias = dict[str, object]
Stepped: TypeAlias = tuple[Array, SupportsFloat, bool, bool, Info]


class PerturbationWrapper(gymnasium.Wrapper[Array, Array, Array, Array]):
    """Base that changes actions before, observations after the environment; by itself neither."""

    def __init__(self, env: GymEnv) -> None:
        super().__init__(env)
        self.next_perturbation: Array = np.zeros(0)  # from the next reset on
        self.perturbation: Array = np.zeros(0)  # of the running episode
        # a generator of its own, so that no draw of the environment changes
        self.noise = np.random.default_rng(0)
        self._inside = _perturbations_in(env)

    def set_perturbation(self, numbers: Sequence[float]) -> None:
        """Change the perturbation from the next reset on."""
        self.next_perturbation = np.array(numbers, np.float64)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Array, Info]:
        """Start an episode with the set perturbation."""
        self.perturbation = self.next_perturbation
        if seed is not None:
            # sensors that are noisy for several reasons are so independently
            self.noise = make_rng(seed, Purpose.TROUBLE, *([self._inside] if self._inside else []))
        observation, info = self.env.reset(seed=seed, options=options)
        self.begin()
        return self.distort(np.asanyarray(observation)), info

    def step(self, action: Array) -> Stepped:
        """Take one step with perturbed actions and observations."""
        observation, reward, terminated, truncated, info = self.env.step(self.transmit(action))
        return self.distort(np.asanyarray(observation)), reward, terminated, truncated, info

    def begin(self) -> None:
        """Forget the last episode."""

    def transmit(self, action: Array) -> Array:
        """Return the action that reaches the environment."""
        return action

    def distort(self, observation: Array) -> Array:
        """Return the observation that the agent gets."""
        return observation


class DelayedActions(PerturbationWrapper):
    """Delays actions by a number of steps, the only parameter; the robot rests until then.

    At rest is zero, or what comes nearest in the action space; of choices, the first.
    """

    def begin(self) -> None:
        """Fill the queue with resting actions."""
        # an array for each step: the environment may keep or change what it is given
        self._on_the_way = deque(resting(self.action_space) for _ in range(int(self.perturbation[0])))

    def transmit(self, action: Array) -> Array:
        """Return the delayed action."""
        self._on_the_way.append(action)
        return self._on_the_way.popleft()


class WeakActuators(PerturbationWrapper):
    """Multiplies every actuator by a gain: 1 is sound, 0.5 weak, 0 dead, -1 reversed.

    The A gains scale the distance from rest, and the result is clipped to the action space, after rounding
    where it is of whole numbers.
    """

    def transmit(self, action: Array) -> Array:
        """Return the action, scaled."""
        space = self.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        moved = resting(space) + self.perturbation * (action - resting(space))
        return rounded_to(space.dtype, np.clip(moved, space.low, space.high))


class NoisySensors(PerturbationWrapper):
    """Adds normal noise to every observed number, fresh at each step; sets its deviation."""

    def distort(self, observation: Array) -> Array:
        """Return the observation with noise."""
        noise = self.noise.normal(0.0, self.perturbation[0], observation.shape)
        return (observation + noise).astype(real_dtype(observation))


class ShiftedSensors(PerturbationWrapper):
    """Offsets some observed numbers, like a bumped camera."""

    def __init__(self, env: GymEnv, entries: Sequence[int]) -> None:
        super().__init__(env)
        self._entries = list(entries)

    def distort(self, observation: Array) -> Array:
        """Return the observation with the shift."""
        shifted = np.array(observation, real_dtype(observation))
        shifted[self._entries] += self.perturbation.astype(shifted.dtype)
        return shifted


def _perturbations_in(env: GymEnv) -> int:
    """Return how many noisy perturbations are inside."""
    count, inner = 0, env
    while isinstance(inner, gymnasium.Wrapper):
        count, inner = count + isinstance(inner, NoisySensors), inner.env
    return count


def real_dtype(observation: Array) -> np.dtype[np.floating]:
    """Return an observation's dtype, or float64 for whole numbers, which hold no noise and no offset."""
    kept: np.dtype[np.floating] = observation.dtype
    return kept if kept.kind == "f" else np.dtype(np.float64)


def resting(space: gymnasium.Space[Array]) -> Array:
    """Return the action nearest to doing nothing."""
    if isinstance(space, gymnasium.spaces.Discrete):
        # a scalar as the engine gives it, which may be looked up in a dictionary
        return cast("Array", space.dtype.type(space.start))
    assert isinstance(space, gymnasium.spaces.Box)
    return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)


def check_entries(entries: Sequence[int], space: gymnasium.Space[object]) -> None:
    """Check that observations have such entries; raise ``MetarlError`` if not."""
    size = vectors(space).shape[0]
    require(all(0 <= entry < size for entry in entries), f"Entries must be in 0..{size - 1}", list(entries))


def check_actuators(space: gymnasium.Space[object]) -> int:
    """Return the number of actuators; raise ``MetarlError`` on choices, which have no strength."""
    require(
        isinstance(space, gymnasium.spaces.Box),
        "Only actions that are vectors have actuators to weaken",
        space,
    )
    return action_size(space)
