"""A rehearsal for a robot: jitter, missing observations and late actions on a simulated clock."""

from __future__ import annotations

from collections import deque

import gymnasium
import numpy as np

from metarl.deploy.clock import SimulatedClock
from metarl.errors import require
from metarl.vector_env import Array


class TroubledEnv(gymnasium.Wrapper["Array | None", Array, Array, Array]):
    """An environment with a real one's timing.

    Args:
        env: what the robot would do without troubles.
        clock: moves on by the time that each step takes.
        rng: where the troubles come from.
        step_seconds: what a step takes at least.
        jitter: mean of the exponential time that comes on top.
        dropped: share of the steps that return None, as no observation arrived.
        delay: steps by which actions arrive late; until then the robot gets zeros.
    """

    def __init__(
        self,
        env: gymnasium.Env[Array, Array],
        clock: SimulatedClock,
        rng: np.random.Generator,
        *,
        step_seconds: float = 0.0,
        jitter: float = 0.0,
        dropped: float = 0.0,
        delay: int = 0,
    ) -> None:
        super().__init__(env)  # type: ignore[arg-type]  # a wrapped env may show nothing, this one always does
        require(0.0 <= dropped < 1.0, "The share of missing observations must be in [0, 1)", dropped)
        least = min(step_seconds, jitter, delay)
        require(least >= 0, "Seconds of a step, jitter and delay must be at least 0", least)
        self._clock, self._rng = clock, rng
        self._step_seconds, self._jitter, self._dropped, self._delay = step_seconds, jitter, dropped, delay

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array | None, dict[str, object]]:
        """Start an episode; its first actions arrive late."""
        still = np.zeros(self.env.action_space.shape or (), self.env.action_space.dtype)
        self._waiting = deque([still] * self._delay)
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Array) -> tuple[Array | None, float, bool, bool, dict[str, object]]:
        """Take a step, which may show nothing."""
        self._clock.advance(self._step_seconds + self._rng.exponential(self._jitter))
        self._waiting.append(action)
        observation, reward, terminated, truncated, info = self.env.step(self._waiting.popleft())
        lost = self._rng.random() < self._dropped and not (terminated or truncated)
        return None if lost else observation, float(reward), terminated, truncated, info
