"""Policies with a memory: steps and sequences agree, gradients are right, and how hypernetworks begin."""

from __future__ import annotations

import pytest
import torch

from metarl.functional.distributions import Categorical, Gaussian
from metarl.networks.recurrent_policy import HeadName, RecurrentPolicy
from metarl.types import Params

STEPS, BATCH, INPUTS, ACTIONS, SIZE = 5, 3, 4, 2, 6


def make(
    cell: str = "linear",
    head: HeadName = "perceptron",
    *,
    has_value: bool = True,
    discrete: bool = False,
    tanh_mean: bool = False,
) -> RecurrentPolicy:
    return RecurrentPolicy(
        input_size=INPUTS,
        action_size=ACTIONS,
        discrete=discrete,
        cell_name=cell,
        memory_size=SIZE,
        embedding_size=7,
        head=head,
        head_size=3,
        has_value=has_value,
        tanh_mean=tanh_mean,
        initial_std=0.5,
        min_std=0.1,
        max_std=2.0,
    )


def draw(policy: RecurrentPolicy) -> tuple[Params, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return parameters, none of which is zero, inputs, a first memory and a live mask, in float64."""
    generator = torch.Generator().manual_seed(0)
    params = {
        name: value.double() + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in policy.initial_params(generator).items()
    }
    inputs = torch.randn(STEPS, BATCH, INPUTS, generator=generator, dtype=torch.float64)
    memory = torch.randn(BATCH, SIZE, generator=generator, dtype=torch.float64)
    live = torch.arange(STEPS).unsqueeze(1) < torch.tensor([5, 2, 4])
    return params, inputs, memory, live


@pytest.mark.parametrize("head", ["perceptron", "hypernetwork"])
@pytest.mark.parametrize("cell", ["gru", "linear"])
def test_sequence_is_its_steps(cell: str, head: HeadName) -> None:
    policy = make(cell, head, tanh_mean=True)
    params, inputs, memory, _ = draw(policy)
    every = torch.ones(STEPS, BATCH, dtype=torch.bool)
    (found, values), states = (
        policy.sequence(params, inputs, memory, every),
        policy.memories(params, inputs, memory, every),
    )
    assert isinstance(found, Gaussian)
    assert values is not None
    for step in range(STEPS):
        (one, value), memory = policy.step(params, inputs[step], memory)
        assert isinstance(one, Gaussian)
        torch.testing.assert_close(found.mean[step], one.mean)
        torch.testing.assert_close(found.log_std[step], one.log_std)
        torch.testing.assert_close(values[step], value)
        torch.testing.assert_close(states[step], memory)


@pytest.mark.parametrize(("discrete", "has_value"), [(False, True), (True, False)])
@pytest.mark.parametrize("head", ["perceptron", "hypernetwork"])
@pytest.mark.parametrize("cell", ["gru", "linear"])
def test_gradients_are_those_of_finite_differences(
    cell: str, head: HeadName, discrete: bool, has_value: bool
) -> None:
    policy = make(cell, head, discrete=discrete, has_value=has_value)
    params, inputs, memory, live = draw(policy)

    def outputs(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found, values = policy.sequence(dict(zip(params, leaves, strict=True)), inputs, memory, live)
        return (*found, *([] if values is None else [values]))

    assert torch.autograd.gradcheck(outputs, [value.requires_grad_() for value in params.values()])


@pytest.mark.parametrize("head", ["perceptron", "hypernetwork"])
def test_heads_by_hand(head: HeadName) -> None:
    policy = make(head=head)
    params, inputs, memory, _ = draw(policy)
    (found, values), state = policy.step(params, inputs[0], memory)
    embedded = torch.tanh(inputs[0] @ params["embedding.weight"].t() + params["embedding.bias"])
    both = torch.cat([embedded, state], dim=1)
    hidden = torch.tanh(both @ params["value_hidden.weight"].t() + params["value_hidden.bias"])
    torch.testing.assert_close(
        values, (hidden @ params["value.weight"].t() + params["value.bias"]).squeeze(1)
    )
    for row in range(BATCH):
        if head == "perceptron":
            layer = torch.tanh(params["policy_hidden.weight"] @ both[row] + params["policy_hidden.bias"])
            mean = params["policy.weight"] @ layer + params["policy.bias"]
        else:
            layers = params["hyper.weight"] @ state[row] + params["hyper.bias"]
            weight, bias, out, last = layers.split([INPUTS * 3, 3, 3 * ACTIONS, ACTIONS])
            layer = torch.tanh(inputs[0, row] @ weight.view(INPUTS, 3) + bias)
            mean = layer @ out.view(3, ACTIONS) + last
        torch.testing.assert_close(found[0][row], mean)


def test_fresh_hypernetwork_generates_one_policy_from_all_memories() -> None:
    policy = make(head="hypernetwork")
    params = policy.initial_params(torch.Generator().manual_seed(0))
    inputs = torch.randn(1, INPUTS, generator=torch.Generator().manual_seed(1)).expand(50, -1)
    memory = torch.randn(50, SIZE, generator=torch.Generator().manual_seed(2))
    (found, _), _ = policy.step(params, inputs, memory)
    assert bool((found[0] == found[0][0]).all())
    # that policy has the plain initialisation: an orthogonal layer of gain sqrt 2, and small last weights
    weight, bias, out, last = params["hyper.bias"].split([INPUTS * 3, 3, 3 * ACTIONS, ACTIONS])
    columns = weight.view(INPUTS, 3)
    torch.testing.assert_close(columns.t() @ columns, 2 * torch.eye(3), rtol=1e-5, atol=1e-6)
    rows = out.view(3, ACTIONS)
    torch.testing.assert_close(rows.t() @ rows, 1e-4 * torch.eye(2), rtol=1e-4, atol=1e-9)
    assert not bias.any()
    assert not last.any()
    # the memory's own gradient is not zero, so that it is learned from the first step on
    leaf = params["hyper.weight"].requires_grad_()
    (after, _), _ = policy.step({**params, "hyper.weight": leaf}, inputs, memory)
    (slope,) = torch.autograd.grad(after[0].sum(), leaf)
    assert float(slope.abs().max()) > 0


def test_network_without_a_value_has_none() -> None:
    policy = make(has_value=False, discrete=True)
    params, inputs, memory, live = draw(policy)
    assert not [name for name in params if name.startswith("value")]
    found, values = policy.sequence(params, inputs, memory, live)
    assert isinstance(found, Categorical)
    assert values is None
