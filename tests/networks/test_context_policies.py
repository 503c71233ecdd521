"""The policy with a context: concatenation by hand, and what a context can change."""

from __future__ import annotations

import pytest
import torch

from metarl.functional.params import requires_grad, select
from metarl.networks.context_policies import CONTEXT, ContextPolicy
from metarl.networks.policies import GaussianMLPPolicy
from metarl.types import Params
from support import tiny

OBSERVATIONS = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def policy(hidden_sizes: tuple[int, ...] = (5, 4)) -> ContextPolicy:
    network = GaussianMLPPolicy(observation_size=3 + 2, action_size=2, hidden_sizes=hidden_sizes)
    return ContextPolicy(network=network, context_size=2)


def task_params(of: ContextPolicy) -> Params:
    """Draw parameters and a context of its own for each of three tasks."""
    drawn = [tiny.tiny_params(of.network, seed) for seed in range(3)]
    context = torch.randn(3, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return {name: torch.stack([params[name] for params in drawn]) for name in drawn[0]} | {CONTEXT: context}


@pytest.mark.parametrize("hidden_sizes", [(), (5,), (5, 4)])
def test_context_is_concatenated_to_the_observation(hidden_sizes: tuple[int, ...]) -> None:
    one = policy(hidden_sizes)
    params = task_params(one)
    found = one(params, OBSERVATIONS)
    joined = torch.cat([OBSERVATIONS, params[CONTEXT].unsqueeze(1).expand(3, 7, 2)], dim=-1)
    expected = one.network(params, joined)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.log_std, expected.log_std)
    shown = one.activations(params, OBSERVATIONS)
    assert torch.equal(shown[f"layer_{len(hidden_sizes)}"], found.mean)
    assert list(shown) == list(one.network.activations(params, joined))


def test_context_starts_at_zero_where_its_weights_change_nothing() -> None:
    one = policy()
    params = task_params(one)
    blank = params | one.blank_context(select(params, 0), 3)
    weight = params["layer_0.weight"].clone()
    weight[:, 3:] = 77.0
    other = blank | {"layer_0.weight": weight}
    assert torch.equal(one(blank, OBSERVATIONS).mean, one(other, OBSERVATIONS).mean)
    assert not torch.equal(one(blank, OBSERVATIONS).mean, one(params, OBSERVATIONS).mean)


def test_blank_context_can_be_adapted_from_the_first_step() -> None:
    one = policy()
    params = task_params(one)
    blank = params | requires_grad(one.blank_context(select(params, 0), 3))
    (slope,) = torch.autograd.grad(one(blank, OBSERVATIONS).mean.sum(), [blank[CONTEXT]])
    assert (slope != 0).all()


def test_shared_parameters_are_the_networks() -> None:
    one = policy()
    assert one.shapes == one.network.shapes
    assert one.shapes["layer_0.weight"] == (5, 5)
    drawn = one.initial_params(torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in drawn.items()} == one.shapes
