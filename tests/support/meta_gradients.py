"""The outer gradient of an agent held against central differences of an objective written as a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TypeAlias

import pytest
import torch
from torch.distributions import Independent, Normal

from metarl.agents import maml_trpo
from metarl.agents.gradient_based import GradientBasedConfig
from metarl.agents.maml_trpo import MAMLTRPO
from metarl.functional.params import flatten, unflatten
from metarl.learning.advantages import Batch, estimate_advantages, make_batch
from metarl.learning.trust_region import TrustRegionStep
from metarl.types import Params, Rollout
from support import tiny

Adapted: TypeAlias = Callable[[Params, Sequence[Batch]], Params]
"""One task's policy after adapting: from theta and that task's batches, of which the last is not for it."""
Tasks: TypeAlias = Sequence[Sequence[Batch]]
"""The batches of each task, live transitions only."""


def rollouts_of(steps: int = 1, episodes: int = 2) -> list[Rollout]:
    """Draw the rollouts of one meta-iteration with so many inner steps."""
    return [tiny.random_rollout(seed, episodes=episodes) for seed in range(steps + 1)]


def batches_of(rollouts: Sequence[Rollout], config: GradientBasedConfig) -> list[Batch]:
    """Make batches as an agent does."""

    def advantages(rollout: Rollout) -> torch.Tensor:
        return estimate_advantages(
            rollout, discount=config.discount, gae_lambda=config.gae_lambda, norm=config.advantage_norm
        )

    return [make_batch(rollout, advantages(rollout)) for rollout in rollouts]


def one_task(batch: Batch, task: int) -> Batch:
    """Return one task's live transitions, without its axis."""
    live = batch.weights[task] > 0
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return Batch(**{k: v[task][live] if isinstance(v, torch.Tensor) else v for k, v in parts.items()})


def acts(params: Params, observations: torch.Tensor) -> Independent:
    """Return the action distributions of one task, by torch's own."""
    layers = sum(name.endswith("weight") for name in params if name.startswith("layer_"))
    hidden = observations
    for layer in range(layers):
        hidden = hidden @ params[f"layer_{layer}.weight"] + params[f"layer_{layer}.bias"]
        hidden = torch.tanh(hidden) if layer < layers - 1 else hidden
    return Independent(Normal(hidden, params["log_std"].exp().expand_as(hidden)), 1)


def inner_loss(params: Params, batch: Batch) -> torch.Tensor:
    """Return the policy-gradient loss of one task."""
    return -(batch.advantages * acts(params, batch.observations).log_prob(batch.actions)).mean()


def inner_gradient(params: Params, batch: Batch) -> tuple[Params, torch.Tensor]:
    """Return the gradient of one task's loss as plain numbers, and the loss."""
    slopes = torch.func.grad(lambda given: inner_loss(given, batch))(params)
    return slopes, inner_loss(params, batch)


def objective(theta: Params, old: Sequence[torch.Tensor], tasks: Tasks, adapted: Adapted) -> torch.Tensor:
    """Return the loss of the outer step, one task after another; ``old`` are the log densities before it."""
    losses = []
    for own, before in zip(tasks, old, strict=True):
        ratio = (log_probs(adapted(theta, own), own[-1]) - before).exp()
        losses.append(-(ratio * own[-1].advantages).mean())
    return torch.stack(losses).mean()


def log_probs(params: Params, batch: Batch) -> torch.Tensor:
    """Return the log densities of one task's actions."""
    return acts(params, batch.observations).log_prob(batch.actions)


def outer_gradient(
    agent: MAMLTRPO, rollouts: Sequence[Rollout], monkeypatch: pytest.MonkeyPatch
) -> torch.Tensor:
    """Return the gradient that an update hands to its trust-region step, which is left out."""
    seen: list[torch.Tensor] = []

    def spy(params: Params, loss_gradient: Params, *others: object) -> TrustRegionStep:
        seen.append(flatten(loss_gradient))
        return TrustRegionStep(params, True, {})

    with monkeypatch.context() as patch:
        patch.setattr(maml_trpo, "trust_region_step", spy)
        agent.update(rollouts)
    (found,) = seen
    return found


def slopes_along(
    function: Callable[[Params], float], point: Params, directions: torch.Tensor, h: float
) -> torch.Tensor:
    """Differentiate along each direction: four points, so that the error falls with the fourth power of h."""
    middle = flatten(point)

    def at(shift: torch.Tensor) -> float:
        return function(unflatten(middle + shift, point))

    slopes = [
        (8 * (at(h * d) - at(-h * d)) - (at(2 * h * d) - at(-2 * h * d))) / (12 * h) for d in directions
    ]
    return torch.tensor(slopes, dtype=middle.dtype)


def error_of_outer_gradient(
    agent: MAMLTRPO,
    rollouts: Sequence[Rollout],
    adapted: Adapted,
    monkeypatch: pytest.MonkeyPatch,
    h: float = 1e-3,
) -> float:
    """Return how far the outer gradient is from central differences of the loop, along random directions."""
    theta = agent.params
    found = outer_gradient(agent, rollouts, monkeypatch)
    batches = batches_of(rollouts, agent.config)
    tasks = [[one_task(batch, task) for batch in batches] for task in range(len(batches[-1].weights))]
    old = [log_probs(adapted(theta, own), own[-1]) for own in tasks]
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(12, len(found), generator=generator, dtype=found.dtype)
    directions /= directions.norm(dim=1, keepdim=True)
    expected = slopes_along(lambda given: float(objective(given, old, tasks, adapted)), theta, directions, h)
    return float((directions @ found - expected).norm() / expected.norm())
