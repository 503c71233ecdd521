"""CAVIA: its outer gradient against a loop that concatenates, and that only the context adapts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from metarl.agents.cavia import CAVIA, CAVIAConfig
from metarl.learning.advantages import Batch
from metarl.networks.context_policies import CONTEXT, ContextPolicy
from metarl.types import Params
from support import tiny
from support.learned_agents import moved_by_adapting
from support.meta_gradients import acts, error_of_outer_gradient, rollouts_of

POLICY = ContextPolicy(network=replace(tiny.POLICY, observation_size=3 + 2), context_size=2)
CONFIG = CAVIAConfig(inner_lr=0.7, context_size=2, curvature_stride=1)
SMALL = CAVIAConfig(hidden_sizes=(8,), context_size=3)


def tiny_agent(config: CAVIAConfig = CONFIG) -> CAVIA:
    return CAVIA(config, POLICY, tiny.tiny_params(POLICY.network))


def by_hand(theta: Params, own: Sequence[Batch]) -> Params:
    """Adapt a context that is concatenated to every observation, and fold it into the first bias."""
    context = torch.zeros(2, dtype=torch.float64)
    for batch in own[:-1]:

        def loss(given: torch.Tensor, batch: Batch = batch) -> torch.Tensor:
            read = torch.cat([batch.observations, given.expand(len(batch.observations), 2)], dim=1)
            return -(batch.advantages * acts(theta, read).log_prob(batch.actions)).mean()

        context = context - 0.7 * torch.func.grad(loss)(context)
    weight, bias = theta["layer_0.weight"], theta["layer_0.bias"]
    return theta | {"layer_0.weight": weight[:3], "layer_0.bias": bias + context @ weight[3:]}


@pytest.mark.parametrize("steps", [1, 2])
def test_outer_gradient_is_that_of_central_differences_of_the_loop(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error_of_outer_gradient(tiny_agent(), rollouts_of(steps), by_hand, monkeypatch) < 1e-6


def test_only_the_context_adapts() -> None:
    assert moved_by_adapting(tiny_agent(), tiny.random_rollout(0)) == {CONTEXT}


def test_context_is_no_meta_parameter() -> None:
    agent = tiny_agent()
    agent.update(rollouts_of())
    assert set(agent.state().tensors) == set(POLICY.shapes)


def test_every_task_starts_from_a_blank_context() -> None:
    actor = tiny_agent().initial_actor(4)
    assert torch.equal(actor.params[CONTEXT], torch.zeros(4, 2, dtype=torch.float64))
