"""Meta-World's own environments with tasks to set, the reference of the engines.

Physics, observations and rewards are Meta-World's. Added are a task to set, the suite's horizon, and success
as a bool; the goal stays hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.threads.worlds import integration_state
from metarl.envs.metaworld.rendering import SawyerRenderers
from metarl.envs.metaworld.reset_bank import check_parameters, reset_to
from metarl.envs.metaworld.resets import METAWORLD, Families
from metarl.envs.metaworld.rewards.catalog import RewardVersion, check_reward
from metarl.errors import MetarlError
from metarl.types import Task
from metarl.vector_env import Picture

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Action: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

FAMILIES: tuple[str, ...] = tuple(ALL_V3_ENVIRONMENTS)
MAX_HORIZON: int = SawyerXYZEnv.max_path_length  # steps after which Meta-World ends an episode


def observation_space() -> Box:
    """Return Meta-World's observation bounds, ``[39]``: two frames of 18, zeros for the goal."""
    hand = SawyerXYZEnv._HAND_SPACE
    low = np.concatenate([hand.low, [-1.0], np.full(14, -np.inf)])
    high = np.concatenate([hand.high, [1.0], np.full(14, np.inf)])
    goal = np.zeros(3)
    return Box(np.concatenate([low, low, goal]), np.concatenate([high, high, goal]), dtype=np.float64)


def action_space() -> Box:
    """Return the space of actions, ``[4]``: three moves of the hand, the gripper's pull."""
    return Box(-1.0, 1.0, (4,), np.float32)


@dataclass(frozen=True)
class MetaWorldFactory:
    """Picklable builder of a family's environment."""

    horizon: int = MAX_HORIZON  # steps after which an episode is truncated, 1 to 500
    reward: RewardVersion = "v2"
    known: Families = METAWORLD  # the families that it can build

    def __call__(self, family: str) -> MetaWorldEnv:
        """Return an environment that waits for its task; raise ``MetarlError`` on unknown names."""
        return MetaWorldEnv(family, horizon=self.horizon, reward=self.reward, known=self.known)


class MetaWorldEnv(gymnasium.Env[Floats, Action]):
    """One environment; an episode is a function of (task, actions), bit for bit.

    Raw actions reach the reward; the package itself clips the ones that move the hand. It takes about 31 MB.
    """

    def __init__(
        self,
        family: str,
        *,
        horizon: int = MAX_HORIZON,
        reward: RewardVersion = "v2",
        known: Families = METAWORLD,
    ) -> None:
        check_reward(reward)
        self.family = family
        self.horizon = horizon
        self.metadata = SawyerXYZEnv.metadata
        self.observation_space = observation_space()  # type: ignore[assignment]  # Gymnasium does not say which numbers a Box holds
        self.action_space = action_space()  # type: ignore[assignment]  # as above
        self._inner = known.models.environment(family)(reward_function_version=reward)
        self._edited = [field for field in known.models.expanded if "." not in field]
        self._renderers = SawyerRenderers(known.full_model, known.look)
        self._task: Task | None = None
        self._steps = horizon

    def set_task(self, task: Task) -> None:
        """Run this task from the next reset on; raise ``MetarlError`` if it cannot be the family's."""
        if task.family != self.family:
            raise MetarlError(f"Task {task.id!r} is of {task.family!r}; this is {self.family!r}.")
        check_parameters(self._inner, task.family, np.array(task.parameters))
        self._task = task

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Floats, dict[str, object]]:
        """Start an episode of the task, which must be set; return ``[39]`` and no infos."""
        if self._task is None:
            raise MetarlError(f"A task must be set before {self.family!r} is reset, but there is none.")
        observation = reset_to(self._inner, self.family, np.array(self._task.parameters))
        self._steps = 0
        return observation, {}

    def step(self, action: Action) -> tuple[Floats, float, bool, bool, dict[str, object]]:
        """Advance by 12.5 ms; return ``[39]``, reward, False, truncated, ``{"success": bool}``."""
        if self._steps >= self.horizon:
            raise MetarlError(f"{self.family!r} must be reset before it is stepped again.")
        observation, reward, _, _, info = self._inner.step(np.asarray(action, dtype=np.float32))
        self._steps += 1
        truncated = self._steps >= self.horizon
        return observation, float(reward), False, truncated, {"success": bool(info["success"])}

    def draw(self, *, camera: str | None, width: int, height: int) -> Picture:
        """Return a camera's picture of the full model, ``[height, width, 3]``; see :class:`.Offscreen`."""
        model, data = self._inner.model, self._inner.data
        state = integration_state(model, data)
        renderer = self._renderers.get(self.family, model, width=width, height=height)
        fields = {field: getattr(model, field) for field in self._edited}
        return renderer.frame(state, fields, camera, self._task.parameters if self._task else ())

    def close(self) -> None:
        """Free what rendering holds."""
        self._renderers.close()
        self._inner.close()  # type: ignore[no-untyped-call]  # Gymnasium's
