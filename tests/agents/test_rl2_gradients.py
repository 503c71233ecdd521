"""RL²'s loss, with each of its options: the gradient that is followed against central differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl.agents.rl2 import RL2, RL2Config
from metarl.config import SamplingConfig
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.envs.toy.point import PointTasks
from metarl.functional.params import map_values
from metarl.learning.chunks import Sequences
from metarl.learning.gradient_descent import loss_and_gradient
from metarl.learning.ppo import Experience
from metarl.rollouts.history import join_trials
from metarl.tasks import TaskDistribution
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params

TINY = RL2Config(memory_size=5, embedding_size=4, trial_episodes=2, epochs=1, minibatches=1)
SMALL_STEP = 1e-6
OPTIONS: dict[str, dict[str, object]] = {
    "gru": {},
    "linear": {"cell": "linear"},
    "hypernetwork": {"head": "hypernetwork", "head_size": 3},
    "linear hypernetwork": {"cell": "linear", "head": "hypernetwork", "head_size": 3},
    "tanh mean": {"cell": "linear", "tanh_mean": True},
    "linear baseline": {"baseline": "linear"},
    "chunks": {"chunk_steps": 3},
    "chunks of a linear memory": {"cell": "linear", "chunk_steps": 3},
    "changes": {"cell": "linear", "changes": True},
    "huber, clipped value": {"value_loss": "huber", "value_clip": 0.05},
    "squared, clipped value": {"value_clip": 0.05},
    "entropy": {"entropy_weight": 0.3},
    "bounded deviation": {"initial_std": 0.5, "min_std": 0.4, "max_std": 0.6},
    "narrow clip": {"clip": 0.02},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_gradient_is_that_of_central_differences(option: str) -> None:
    agree(replace(TINY, **OPTIONS[option]), PointTasks(horizon=8, terminate_at_goal=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["gru", "linear"])
def test_gradient_of_choices_is_that_of_central_differences(cell: str) -> None:
    agree(replace(TINY, cell=cell, entropy_weight=0.1), CartPoleConfig(horizon=8).build())


def agree(config: RL2Config, suite: TaskDistribution) -> None:
    """Assert that slopes of the loss along random directions are those of its gradient, in float64."""
    agent, sequences = collected(config, suite)
    generator = torch.Generator().manual_seed(1)
    # away from the policy that acted, so that ratios and values are clipped here and there
    params = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in agent.params.items()
    }
    everything, live = torch.arange(sequences.features.shape[1]), sequences.experience.live.sum()

    def loss(at: Params) -> torch.Tensor:
        return agent._loss(sequences, everything, live, False, at).loss

    parts = [lambda at: agent._loss(sequences, everything, live, True, at)]
    gradient = loss_and_gradient(parts, params).gradient
    assert all(bool(value.any()) for name, value in gradient.items() if "policy" in name)
    for _ in range(6):
        direction = {
            name: torch.randn(value.shape, generator=generator, dtype=torch.float64)
            for name, value in params.items()
        }
        ahead, behind = (
            float(loss({name: value + sign * direction[name] for name, value in params.items()}))
            for sign in (SMALL_STEP, -SMALL_STEP)
        )
        slope = sum(float((gradient[name] * value).sum()) for name, value in direction.items())
        assert slope == pytest.approx((ahead - behind) / (2 * SMALL_STEP), rel=1e-5, abs=1e-7)


def collected(config: RL2Config, suite: TaskDistribution) -> tuple[RL2, Sequences]:
    """Return an agent, in float64, and trials that it played."""
    agent = config.recurrent(suite, seed=0, device=torch.device("cpu"))
    done = meta_iteration(
        config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()),
        suite.make_vector_env(12),
        suite.sample(3, np.random.default_rng(0)),
        episodes=4,
        horizon=suite.horizon,
        rng=np.random.default_rng(0),
    )
    found = agent.sequences(join_trials(done.rollouts))
    agent.params = map_values(torch.Tensor.double, agent.params)
    experience = Experience(
        *(part.double() if part.is_floating_point() else part for part in found.experience)
    )
    return agent, Sequences(found.features.double(), found.memory.double(), found.acted.double(), experience)
