"""Robots that speak in dictionaries, as Gymnasium environments.

The interface is LeRobot's ``Robot``: a dictionary of named observations, a dictionary of named actions
(https://huggingface.co/docs/lerobot/main/api/robots). Any object with these methods will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from metarl.errors import MetarlError, require, unknown_name
from metarl.vector_env import Array

Named: TypeAlias = Mapping[str, object]


class Robot(Protocol):
    """The used methods of a LeRobot robot."""

    @property
    def observation_features(self) -> Mapping[str, object]:
        """Names of observations; ``float``, or the shape of an array."""

    @property
    def action_features(self) -> Mapping[str, object]:
        """Names of actions, which are numbers."""

    @property
    def is_connected(self) -> bool:
        """Whether the robot can be asked and moved."""

    def connect(self) -> None:
        """Begin to talk to the robot."""

    def disconnect(self) -> None:
        """End it."""

    def get_observation(self) -> Mapping[str, object]:
        """Return what the sensors show now."""

    def send_action(self, action: dict[str, float]) -> Mapping[str, object]:
        """Send actions, and return those that were taken."""


@runtime_checkable
class Paced(Protocol):
    """An environment that waits between sending and observing."""

    def set_pace(self, wait: Callable[[], None]) -> None:
        """Call ``wait`` in each step, after sending the action and before observing."""


@runtime_checkable
class Halting(Protocol):
    """An environment that can hold still."""

    def halt(self) -> None:
        """Hold still: an episode has ended."""


class RobotEnv(gymnasium.Env[Array, Array]):
    """A robot with named observations and actions.

    Args:
        robot: connected at the first reset, and disconnected by ``close``.
        observations: the names that make up the observation vector, in this order; arrays are flattened.
        actions: the names that make up the action vector, each with its least and greatest value.
        reward: of the named observations after a step and the named actions that led there.
        home: brings the robot back before each episode; called with it.
        success: says of named observations whether the task is solved.
        halt: makes the robot hold still when an episode ends; called with it.

    Raises:
        MetarlError: if the robot has no such observation or action, or an observation is no vector.
    """

    def __init__(
        self,
        robot: Robot,
        *,
        observations: Sequence[str],
        actions: Mapping[str, tuple[float, float]],
        reward: Callable[[Named, Named], float],
        home: Callable[[Robot], None],
        success: Callable[[Named], bool] | None = None,
        halt: Callable[[Robot], None] | None = None,
    ) -> None:
        self.robot, self._names, self._actions = robot, tuple(observations), tuple(actions)
        self._reward, self._home, self._success, self._halt = reward, home, success, halt
        self._wait: Callable[[], None] = lambda: None
        for name in self._names:
            _require_name("observation", name, robot.observation_features)
        for name in self._actions:
            _require_name("action", name, robot.action_features)
        for kind, names in (("observation", self._names), ("action", self._actions)):
            require(bool(names), f"There must be an {kind} at least", "none")
        size = sum(_size(robot.observation_features[name]) for name in self._names)
        low, high = np.array([actions[name] for name in self._actions], np.float32).T
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = Box(low, high, dtype=np.float32)  # type: ignore[assignment]  # Box is invariant

    def set_pace(self, wait: Callable[[], None]) -> None:
        """Call ``wait`` in each step, after sending the action and before observing."""
        self._wait = wait

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Bring the robot home; return its observation."""
        super().reset(seed=seed)
        if not self.robot.is_connected:
            self.robot.connect()
        self._home(self.robot)
        return self._vector(self.robot.get_observation()), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
        """Send an action, await the tick, observe."""
        sent = self.robot.send_action(
            {name: float(value) for name, value in zip(self._actions, action, strict=True)}
        )
        self._wait()
        seen = self.robot.get_observation()
        vector = self._vector(seen)  # names what is missing before anything else reads it
        info: dict[str, object] = {} if self._success is None else {"success": self._success(seen)}
        return vector, float(self._reward(seen, sent)), False, False, info

    def halt(self) -> None:
        """Make the robot hold still."""
        if self._halt is not None:
            self._halt(self.robot)

    def close(self) -> None:
        """Disconnect the robot."""
        if self.robot.is_connected:
            self.robot.disconnect()

    def _vector(self, seen: Named) -> Array:
        missing = [name for name in self._names if name not in seen]
        require(
            not missing, f"The robot's observation must have {', '.join(self._names)}", f"without {missing}"
        )
        return np.concatenate([np.asarray(seen[name], np.float64).reshape(-1) for name in self._names])


def _require_name(kind: str, name: str, features: Mapping[str, object]) -> None:
    if name not in features:
        raise unknown_name(f"{kind} of the robot", name, features)


def _size(feature: object) -> int:
    """Return how many numbers an observation has."""
    if feature in (float, int, bool):
        return 1
    if isinstance(feature, tuple):
        return int(np.prod(feature))
    raise MetarlError(f"Expected an observation to be float or an array with a shape, got {feature!r}.")
