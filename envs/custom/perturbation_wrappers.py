"""What goes wrong on a real robot, as Gymnasium wrappers; what exactly goes wrong is a task's to say.

Each has ``set_trouble(numbers)``, which holds from the next reset on. A trouble is unknown to the agent,
which observes nothing of it but its effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import SupportsFloat, TypeAlias

import gymnasium
import numpy as np

from metarl.errors import require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.spaces import action_size, vectors
from metarl.vector_env import Array

GymEnv: TypeAlias = "gymnasium.Env[Array, Array]"
Info: TypeAlias = dict[str, object]
Stepped: TypeAlias = tuple[Array, SupportsFloat, bool, bool, Info]


class TroubleWrapper(gymnasium.Wrapper[Array, Array, Array, Array]):
    """Changes actions before and observations after the environment; as it stands, neither."""

    def __init__(self, env: GymEnv) -> None:
        super().__init__(env)
        self.wanted: Array = np.zeros(0)
        """What holds from the next reset on."""
        self.trouble: Array = np.zeros(0)
        """What holds now."""
        self.noise = np.random.default_rng(0)
        """The trouble's own, so that it changes no draw of the environment."""

    def set_trouble(self, numbers: Sequence[float]) -> None:
        """Let something else be wrong from the next reset on."""
        self.wanted = np.array(numbers, np.float64)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Array, Info]:
        """Start an episode with the trouble that was set."""
        self.trouble = self.wanted
        if seed is not None:
            self.noise = make_rng(seed, Purpose.TROUBLE)
        observation, info = self.env.reset(seed=seed, options=options)
        self.begin()
        return self.distort(observation), info

    def step(self, action: Array) -> Stepped:
        """Take one step with whatever reaches the motors, and see what the sensors show."""
        observation, reward, terminated, truncated, info = self.env.step(self.transmit(action))
        return self.distort(observation), reward, terminated, truncated, info

    def begin(self) -> None:
        """Forget the last episode."""

    def transmit(self, action: Array) -> Array:
        """Return the action that reaches the environment."""
        return action

    def distort(self, observation: Array) -> Array:
        """Return the observation that the agent gets."""
        return observation


class DelayedActions(TroubleWrapper):
    """Actions arrive so many steps late, at rest until the first one does; one number.

    At rest is zero, or what comes nearest in the action space; of choices, the first.
    """

    def begin(self) -> None:
        """Put the actions on their way that arrive before the first one that is chosen."""
        self._on_the_way = deque([resting(self.action_space)] * int(self.trouble[0]))

    def transmit(self, action: Array) -> Array:
        """Return the action that was chosen so many steps ago."""
        self._on_the_way.append(action)
        return self._on_the_way.popleft()


class WeakActuators(TroubleWrapper):
    """Every actuator has its own gain: 1 is sound, 0.5 half as strong, 0 dead, -1 wired the wrong way round.

    What is scaled is the distance from rest, and the result stays within the action space; A numbers.
    """

    def transmit(self, action: Array) -> Array:
        """Return the action, scaled."""
        space = self.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        moved = resting(space) + self.trouble * (action - resting(space))
        return np.clip(moved, space.low, space.high).astype(space.dtype)


class NoisySensors(TroubleWrapper):
    """Every observed number has noise of one standard deviation, fresh at each step; one number."""

    def distort(self, observation: Array) -> Array:
        """Return the observation with noise."""
        noise = self.noise.normal(0.0, self.trouble[0], observation.shape)
        return (observation + noise).astype(observation.dtype)


class ShiftedSensors(TroubleWrapper):
    """Some observed numbers are off by a fixed amount each: a camera or a gripper that was bumped."""

    def __init__(self, env: GymEnv, entries: Sequence[int]) -> None:
        super().__init__(env)
        self._entries = list(entries)

    def distort(self, observation: Array) -> Array:
        """Return the observation with the shift."""
        shifted = np.array(observation)
        shifted[self._entries] += self.trouble.astype(shifted.dtype)
        return shifted


def resting(space: gymnasium.Space[Array]) -> Array:
    """Return the action that is nearest to doing nothing."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.asarray(space.start, space.dtype)
    assert isinstance(space, gymnasium.spaces.Box)
    return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)


def check_entries(entries: Sequence[int], space: gymnasium.Space[object]) -> None:
    """Make sure that observations have such entries.

    Raises:
        MetarlError: if they have not.
    """
    size = vectors(space).shape[0]
    require(all(0 <= entry < size for entry in entries), f"Entries must lie in 0..{size - 1}", list(entries))


def check_actuators(space: gymnasium.Space[object]) -> int:
    """Return the number of actuators.

    Raises:
        MetarlError: if actions are choices, which have no strength.
    """
    require(
        isinstance(space, gymnasium.spaces.Box),
        "Only actions that are vectors have actuators to weaken",
        space,
    )
    return action_size(space)
