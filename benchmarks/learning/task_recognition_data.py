"""Trajectories of all ML45 families under one exploring policy, and an encoder for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.errors import require
from metarl.few_shot.trajectories import windows
from metarl.meta_learner import Action, Inputs
from metarl.rollouts.collect import collect
from metarl.tasks import Split
from metarl.types import Params, Task
from metarl.vector_env import TaskVectorEnv

STEPS = 100
FRAMES = 25
SEEN = 18
"""Entries of a Meta-World observation that show the present; the rest repeat the past or are zero."""
SLOTS = 100


class Explorer:
    """Policy that reaches for the object, closes the gripper, and pulls one way and then back.

    It knows no task: offsets and directions are drawn for each episode and every action is noisy, so
    families can be told apart only by where things are and by how they react.
    """

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._step = 0
        self._offset = self._direction = torch.zeros(0)

    def initial_memory(self, episodes: int) -> Params:
        """Return nothing."""
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose actions for observations ``[M, K, 39]``; a new episode needs a new explorer."""
        observations = inputs.observations
        hand, thing = observations[..., 0:3], observations[..., 4:7]
        if self._step == 0:
            self._offset = 0.02 * torch.randn(hand.shape, generator=generator)
            drawn = torch.randn(hand.shape, generator=generator)
            self._direction = drawn / drawn.norm(dim=-1, keepdim=True)
        above = torch.tensor([0.0, 0.0, 0.1]) if self._step < 30 else torch.zeros(3)
        move = 10 * (thing + self._offset + above - hand)
        if self._step >= 60:
            move = self._direction if self._step < 85 else -self._direction
        grip = torch.full_like(hand[..., :1], 1.0 if self._step >= 50 else -1.0)
        self._step += 1
        noise = 0.2 * torch.randn((*observations.shape[:-1], 4), generator=generator)
        actions = (torch.cat([move, grip], dim=-1) + noise).clamp(-1, 1)
        return Action(actions, torch.zeros(actions.shape[:-1])), memory


class WindowEncoder(nn.Module):
    """Windows ``[B, FRAMES, SEEN + 4]`` to embeddings ``[B, 64]``: convolutions over time, then the mean."""

    def __init__(self, examples: torch.Tensor) -> None:
        """Draw the weights from torch's global generator; standardise by the training ``examples``."""
        super().__init__()
        size = examples.shape[-1]
        self.standardize = Standardize(examples.reshape(-1, size))
        self.layers = nn.Sequential(
            nn.Conv1d(size, 64, 5), nn.ReLU(), nn.Conv1d(64, 64, 5, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(64, 64)

    def forward(self, examples: torch.Tensor) -> torch.Tensor:
        """Return the embeddings."""
        hidden: torch.Tensor = self.layers(self.standardize(examples).transpose(1, 2))
        embeddings: torch.Tensor = self.head(hidden.mean(dim=2))
        return embeddings


class Standardize(nn.Module):
    """Subtract the mean of given rows and divide by their deviation; what was constant stays near zero."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", rows.mean(dim=0))
        self.register_buffer("scale", rows.std(dim=0) + 1e-3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows ``[..., F]`` in units of their deviation."""
        return (rows - self.get_buffer("mean")) / self.get_buffer("scale")


def explore(
    suite: MetaWorldTasks, split: Split, goals: int, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Return the windows ``[goals, FRAMES, SEEN + 4]`` of one episode on each goal, by family.

    ``goals`` counts the first goals of each family.

    Raises:
        MetarlError: if a family has fewer.
    """
    families: dict[str, list[Task]] = {}
    for task in suite.tasks(split):
        families.setdefault(task.family, []).append(task)
    for family, members in families.items():
        kind = "training" if split == "train" else "the test"
        known = f"Expected at most the {len(members)} goals of {family} in {kind}"
        require(goals <= len(members), known, goals)
    tasks = [task for members in families.values() for task in members[:goals]]
    env = suite.make_vector_env(min(SLOTS, len(tasks)))
    try:
        parts = [_windows(env, tasks[start : start + SLOTS], rng) for start in range(0, len(tasks), SLOTS)]
    finally:
        env.close()
    return dict(zip(families, torch.cat(parts).split(goals), strict=True))


def _windows(env: TaskVectorEnv, tasks: Sequence[Task], rng: np.random.Generator) -> torch.Tensor:
    rollout = collect(env, tasks, Explorer(), episodes=1, horizon=STEPS, rng=rng)
    return windows(rollout, frames=FRAMES, size=SEEN)[:, 0]
