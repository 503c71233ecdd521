"""Acting by a recurrent policy: the same choices as its network and the distributions' functions give."""

from __future__ import annotations

import pytest
import torch

from metarl.functional.distributions import log_prob, mode, sample
from metarl.networks.recurrent_acting import ActingPolicy
from metarl.networks.recurrent_policy import HeadName, RecurrentPolicy

SLOTS, INPUTS, ACTIONS, SIZE = 7, 5, 3, 6


def make(cell: str, head: HeadName, *, discrete: bool, has_value: bool, tanh_mean: bool) -> RecurrentPolicy:
    return RecurrentPolicy(
        input_size=INPUTS,
        action_size=ACTIONS,
        discrete=discrete,
        cell_name=cell,
        memory_size=SIZE,
        embedding_size=8,
        head=head,
        head_size=4,
        has_value=has_value,
        tanh_mean=tanh_mean,
        initial_std=0.5,
        min_std=0.4,
        max_std=0.6,
    )


@pytest.mark.parametrize("likeliest", [False, True])
@pytest.mark.parametrize(
    ("head", "discrete", "has_value", "tanh_mean"),
    [
        ("perceptron", False, True, False),
        ("perceptron", False, False, True),
        ("perceptron", True, True, False),
        ("hypernetwork", False, True, False),
    ],
)
@pytest.mark.parametrize("cell", ["gru", "linear"])
def test_choices_are_those_of_the_network(
    cell: str, head: HeadName, discrete: bool, has_value: bool, tanh_mean: bool, likeliest: bool
) -> None:
    policy = make(cell, head, discrete=discrete, has_value=has_value, tanh_mean=tanh_mean)
    draw = torch.Generator().manual_seed(0)
    params = {
        name: value + 0.3 * torch.randn(value.shape, generator=draw)
        for name, value in policy.initial_params(draw).items()
    }
    acting, memory = ActingPolicy(policy, params), torch.randn(SLOTS, SIZE, generator=draw)
    for step in range(3):
        inputs = torch.randn(SLOTS, INPUTS, generator=draw)
        (distribution, values), after = policy.step(params, inputs, memory)
        ours, theirs = (None if likeliest else torch.Generator().manual_seed(step) for _ in range(2))
        actions = mode(distribution) if theirs is None else sample(distribution, theirs)
        found = acting(inputs, memory, ours)
        torch.testing.assert_close(found.actions, actions)
        torch.testing.assert_close(found.log_probs, log_prob(distribution, actions))
        torch.testing.assert_close(found.distribution, distribution[0])
        torch.testing.assert_close(found.memory, after)
        assert (found.values is None) == (not has_value)
        if values is not None:
            torch.testing.assert_close(found.values, values)
        memory = after


def test_deviations_act_within_their_bounds() -> None:
    policy = make("linear", "perceptron", discrete=False, has_value=False, tanh_mean=False)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["log_std"] = torch.tensor([-9.0, 0.0, 9.0])
    inputs, memory = torch.zeros(20_000, INPUTS), torch.zeros(20_000, SIZE)
    found = ActingPolicy(policy, params)(inputs, memory, torch.Generator().manual_seed(0))
    spread = (found.actions - found.distribution).std(dim=0)
    torch.testing.assert_close(spread, torch.tensor([0.4, 0.6, 0.6]), rtol=0.02, atol=0.0)
