"""A vector environment's only slot as an ordinary Gymnasium environment."""

from __future__ import annotations

from typing import Literal

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from metarl.envs.engines.autoreset import Infos
from metarl.vector_env import Array, Picture


class OneSlot(gymnasium.Env[Array, Array]):
    """Slot 0 of a vector environment that waits for a reset; closes ``env`` with itself."""

    def __init__(
        self, env: VectorEnv[Array, Array, Array], render_mode: Literal["rgb_array"] | None = None
    ) -> None:
        self.env = env
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": env.metadata.get("render_fps", 50)}
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space

    def reset(self, *, seed: int | None = None, options: Infos | None = None) -> tuple[Array, Infos]:
        """Start an episode, which a seed decides."""
        super().reset(seed=seed)
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations[0], _of_slot(infos)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, Infos]:
        """Step the environment, truncated at its horizon."""
        observations, rewards, terminated, truncated, infos = self.env.step(np.asarray(action)[None])
        flags = bool(terminated[0]), bool(truncated[0])
        return observations[0], float(rewards[0]), *flags, _of_slot(infos)

    def render(self) -> Picture | None:
        """Return a picture, ``[height, width, 3]``, or none where the render mode asks for none."""
        return None if self.render_mode is None else self.draw()

    def draw(self) -> Picture:
        """Return a picture; a subclass says how it is drawn."""
        pictures: tuple[Picture, ...] = self.env.render()  # type: ignore[assignment]  # of arrays
        return pictures[0]

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()


def _of_slot(infos: Infos) -> Infos:
    return {
        name: values[0]
        for name, values in infos.items()
        if not name.startswith("_") and isinstance(values, np.ndarray)
    }
