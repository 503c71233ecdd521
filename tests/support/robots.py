"""A robot of arithmetic for the tests of deployment, and runs that are opened without having been trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.pearl import PEARLConfig
from metarl.agents.rl2 import RL2Config
from metarl.agents.varibad import VariBADConfig
from metarl.config import AgentConfig, SuiteConfig, to_json
from metarl.envs.toy.point import PointConfig
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import save
from metarl.storage.files import write_json
from metarl.storage.run_folder import CHECKPOINTS, CONFIG
from metarl.vector_env import Array
from support.programs import point_config

HORIZON = 6
POINT = PointConfig(horizon=20)
FAMILIES: Mapping[str, AgentConfig] = {
    "maml-trpo": MAMLTRPOConfig(hidden_sizes=(8,)),
    "pearl": PEARLConfig(hidden_sizes=(8,), encoder_sizes=(8,), latent_size=2),
    "rl2": RL2Config(trial_episodes=3, memory_size=8),
    "varibad": VariBADConfig(trial_episodes=3, memory_size=8),
}
"""One agent of each kind: by gradient, by inference, by memory, by a belief in memory."""


def untrained_run(
    folder: Path,
    agent: AgentConfig = FAMILIES["maml-trpo"],
    seed: int = 0,
    suite: SuiteConfig = POINT,
    success_bonus: float = 0.0,
) -> Path:
    """Write a run with a fresh agent, and return its folder."""
    config = replace(point_config(agent=agent, seed=seed, suite=suite), success_bonus=success_bonus)
    fresh = agent.build(config.build_suite(), seed=seed, device=torch.device("cpu"), sampling=config.sampling)
    write_json(folder / CONFIG, to_json(config))
    save(
        folder / CHECKPOINTS,
        Checkpoint(1, to_json(config), fresh.state(), {"env_steps": 0, "elapsed_seconds": 0.0}),
        keep=1,
    )
    return folder


@dataclass
class Table(gymnasium.Env[Array, Array]):
    """A gripper over a table with a hidden mark; nothing is random, and faults come when asked for."""

    mark: tuple[float, float] = (0.3, -0.25)
    at_step: Callable[[int], object] | None = None
    """Called with the number of each step of an episode, from 1; may return what the step returns."""
    steps_file: Path | None = None
    """Gets a line for each step that was taken."""
    sent: list[Array] = field(default_factory=list)
    resets: int = 0
    halted: int = 0
    observation_space: Box = field(default_factory=lambda: Box(-np.inf, np.inf, (2,), np.float64))
    action_space: Box = field(default_factory=lambda: Box(-0.1, 0.1, (2,), np.float64))

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        self.place, self.count, self.resets = np.zeros(2), 0, self.resets + 1
        return self.place.copy(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
        self.count += 1
        self.sent.append(action)
        self.place = self.place + action
        if self.steps_file is not None:
            with self.steps_file.open("ab", buffering=0) as file:
                os.write(file.fileno(), b"step\n")
        distance = float(np.linalg.norm(self.place - self.mark))
        returned = (self.place.copy(), -distance, False, False, {"success": distance < 0.1})
        other = self.at_step(self.count) if self.at_step is not None else None
        return returned if other is None else other  # type: ignore[return-value]  # a fault may be anything

    def halt(self) -> None:
        self.halted += 1
