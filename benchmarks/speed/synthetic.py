"""Synthetic episodes for benchmarks of learning, without an environment.

Observations are random; the actions are the agent's own, so that likelihood ratios are as in a run, and the
rewards depend on the task and on the actions, so that there is something to learn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.workloads import AGENT
from metarl.functional.distributions import log_prob
from metarl.functional.params import gradient, requires_grad, stack
from metarl.learning.adaptation import Policy
from metarl.learning.advantages import Batch, estimate_advantages
from metarl.meta_learner import Actor, MetaLearner, act_at_start, inputs_at_start
from metarl.networks.policies import GaussianMLPPolicy
from metarl.types import Params, Rollout

OBSERVATION_SIZE, ACTION_SIZE = 39, 4
"""Sizes of Meta-World."""


def plain_policy() -> GaussianMLPPolicy:
    """Return the perceptron of the workloads' agents."""
    return GaussianMLPPolicy(
        observation_size=OBSERVATION_SIZE,
        action_size=ACTION_SIZE,
        hidden_sizes=AGENT.hidden_sizes,
        activation=AGENT.activation,
    )


def synthetic_rollouts(agent: MetaLearner, shape: tuple[int, int, int]) -> list[Rollout]:
    """Return the rollouts of one meta-iteration; ``shape`` is (M, K, T)."""
    generator = torch.Generator().manual_seed(1)
    wanted = torch.randn(shape[0], 1, 1, ACTION_SIZE, generator=generator)
    rng = np.random.default_rng(1)
    actor = agent.initial_actor(shape[0], rng)
    rollouts = [synthetic_rollout(actor, wanted, shape, generator)]
    for _ in range(agent.adaptation_steps):
        actor = agent.adapt(actor, rollouts[-1], rng)
        rollouts.append(synthetic_rollout(actor, wanted, shape, generator))
    return rollouts


def synthetic_rollout(
    actor: Actor, wanted: torch.Tensor, shape: tuple[int, int, int], generator: torch.Generator
) -> Rollout:
    """Run an actor on random observations; rewards fall with the distance to target actions."""
    num_tasks, episodes, horizon = shape
    observations = 0.5 * torch.randn(*shape, OBSERVATION_SIZE, generator=generator)
    inputs = inputs_at_start(observations.flatten(1, 2), ACTION_SIZE)
    chosen = act_at_start(actor, inputs, generator)
    actions = chosen.actions.unflatten(1, (episodes, horizon))
    noise = torch.randn(shape, generator=generator)
    never, last = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    last[..., -1] = True
    return Rollout(
        observations=observations,
        actions=actions,
        log_probs=chosen.log_probs.unflatten(1, (episodes, horizon)),
        rewards=noise - (actions - wanted).square().sum(dim=-1),
        mask=torch.ones(shape, dtype=torch.bool),
        terminated=never,
        truncated=last,
        final_observations=torch.randn(num_tasks, episodes, OBSERVATION_SIZE, generator=generator),
    )


def advantages_of(rollout: Rollout) -> torch.Tensor:
    """Fit the baseline and return the advantages, as the agent does."""
    return estimate_advantages(
        rollout, discount=AGENT.discount, gae_lambda=AGENT.gae_lambda, norm=AGENT.advantage_norm
    )


def plain_pass(policy: Policy, theta: Params, batches: Sequence[Batch]) -> Params:
    """Take a policy gradient with one set of parameters over all transitions."""
    leaves = requires_grad(theta)
    loss = torch.zeros(())
    for batch in batches:
        gaussian = policy(stack(leaves, 1), batch.observations.flatten(0, 1).unsqueeze(0))
        densities = log_prob(gaussian, batch.actions.flatten(0, 1).unsqueeze(0))
        loss = loss - (densities * batch.advantages.flatten()).mean()
    return gradient(loss, leaves)


def timed(action: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs the action and returns the seconds."""

    def run() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return run
