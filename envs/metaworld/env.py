"""One Meta-World environment as an engine's worker sees it: a family by name, and a task to set.

Physics, observations and rewards are the package's own; what is added changes no number of an episode:

* the goal stays hidden, an episode is truncated at the suite's horizon, and success is a bool;
* environments of a family share, in a process, one model without what only a camera sees;
* what a reset leaves behind is a function of the task alone, so it is computed once and then restored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import gymnasium
import mujoco
import numpy as np
from gymnasium.core import RenderFrame
from gymnasium.spaces import Box
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import RenderMode, SawyerXYZEnv

from metarl.envs.metaworld.models import EXPANDED
from metarl.envs.metaworld.rendering import SawyerRenderers
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.shared import Floats, Start
from metarl.envs.metaworld.shared import family as shared_family
from metarl.errors import MetarlError
from metarl.types import Task
from metarl.vector_env import Picture

Action: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

FAMILIES: tuple[str, ...] = tuple(ALL_V3_ENVIRONMENTS)
"""The 50 families of environments."""
MAX_HORIZON: int = SawyerXYZEnv.max_path_length
"""Steps after which Meta-World itself ends an episode."""
_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


def observation_space() -> Box:
    """Return Meta-World's bounds, ``[39]``: two frames of 18 numbers, then zeros for the hidden goal."""
    hand = SawyerXYZEnv._HAND_SPACE
    low = np.concatenate([hand.low, [-1.0], np.full(14, -np.inf)])
    high = np.concatenate([hand.high, [1.0], np.full(14, np.inf)])
    goal = np.zeros(3)
    return Box(np.concatenate([low, low, goal]), np.concatenate([high, high, goal]), dtype=np.float64)


def action_space() -> Box:
    """Return the space of actions, ``[4]``: where the hand moves, and how the gripper pulls."""
    return Box(-1.0, 1.0, (4,), np.float32)


@dataclass(frozen=True)
class MetaWorldFactory:
    """Builds the environment of a family; it travels to the workers."""

    horizon: int = MAX_HORIZON
    """Steps after which an episode is truncated, 1 to 500."""
    render_mode: RenderMode | None = None
    """None, ``"rgb_array"`` or another of Meta-World's."""
    reward: RewardVersion = "v2"
    """Meta-World's rewards of today ("v2") or its original ones ("v1")."""

    def __call__(self, family: str) -> MetaWorldEnv:
        """Return an environment that waits for its task.

        Raises:
            MetarlError: on an unknown family.
        """
        return MetaWorldEnv(family, horizon=self.horizon, render_mode=self.render_mode, reward=self.reward)


class MetaWorldEnv(gymnasium.Env[Floats, Action]):
    """One environment; an episode is a function of (task, actions), bit for bit.

    Its seed changes nothing. Raw actions reach the reward; the package itself clips what moves the hand.
    """

    def __init__(
        self,
        family: str,
        *,
        horizon: int = MAX_HORIZON,
        render_mode: RenderMode | None = None,
        reward: RewardVersion = "v2",
    ) -> None:
        """Build the environment; see :class:`MetaWorldFactory` for the arguments."""
        self.family = family
        self.horizon = horizon
        self.render_mode = render_mode
        self.metadata = SawyerXYZEnv.metadata
        self.observation_space = observation_space()  # type: ignore[assignment]  # Gymnasium does not say which numbers a Box holds
        self.action_space = action_space()  # type: ignore[assignment]  # as above
        self._shared = shared_family(family, reward)
        self._inner = self._shared.build(render_mode)
        self._renderers = SawyerRenderers()
        self._task: Task | None = None
        self._start: Start | None = None
        self._steps = 0

    def set_task(self, task: Task) -> None:
        """Run this task from the next reset on.

        Raises:
            MetarlError: if it is of another family, or its parameters cannot be the family's.
        """
        size = self._shared.num_parameters
        if task.family != self.family:
            raise MetarlError(f"Task {task.id!r} is of {task.family!r}; this is {self.family!r}.")
        if len(task.parameters) != size or not all(math.isfinite(value) for value in task.parameters):
            raise MetarlError(
                f"A task of {self.family!r} has {size} finite parameters, "
                f"but {task.id!r} has {task.parameters}."
            )
        self._task = task

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Floats, dict[str, object]]:
        """Start an episode of the task.

        Returns:
            The observation ``[39]`` and no information.

        Raises:
            MetarlError: if no task is set, or Meta-World rejects its parameters.
        """
        if self._task is None:
            raise MetarlError(f"A task must be set before {self.family!r} is reset, but there is none.")
        self._start = self._shared.start(self._task.parameters)
        with self._shared.lock:
            self._start.restore(self._inner)
        self._steps = 0
        return self._start.observation.copy(), {}

    def step(self, action: Action) -> tuple[Floats, float, bool, bool, dict[str, object]]:
        """Advance by one step of 12.5 ms.

        Args:
            action: ``[4]``.

        Returns:
            Observation ``[39]``, reward, False, whether the horizon is reached, ``{"success": bool}``.

        Raises:
            MetarlError: if the episode is over or none was started.
        """
        if self._start is None or self._steps >= self.horizon:
            raise MetarlError(f"{self.family!r} must be reset before it is stepped again.")
        with self._shared.lock:
            self._start.place(self._inner.model)
            observation, reward, _, _, info = self._inner.step(np.asarray(action, dtype=np.float32))
        self._steps += 1
        truncated = self._steps >= self.horizon
        return observation, float(reward), False, truncated, {"success": bool(info["success"])}

    def render(self) -> RenderFrame | list[RenderFrame] | None:
        """Return a picture of the state, as Gymnasium defines it for the render mode."""
        frame: RenderFrame | list[RenderFrame] | None = self._inner.mujoco_renderer.render(self.render_mode)
        return frame

    def draw(self, *, camera: str | None, width: int, height: int) -> Picture:
        """Return what a camera of the full model sees, ``[height, width, 3]``, in any render mode.

        Raises:
            MetarlError: on an unknown camera, or a size that makes no sense.
            EngineError: if there is no OpenGL; it says what to install.
        """
        model, data = self._inner.model, self._inner.data
        state = np.empty(mujoco.mj_stateSize(model, _STATE))
        mujoco.mj_getState(model, data, state, _STATE)
        renderer = self._renderers.get(self.family, model, width=width, height=height)
        with self._shared.lock:
            if self._start is not None:
                self._start.place(model)
            return renderer.frame(state, {field: getattr(model, field) for field in EXPANDED}, camera)

    def close(self) -> None:
        """Free what rendering holds."""
        self._renderers.close()
        self._inner.mujoco_renderer.close()  # type: ignore[no-untyped-call]  # Gymnasium's
