"""The perceptron policy: one batched call against a torch module for each task, initial values, the floor."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from metarl.errors import MetarlError
from metarl.functional.distributions import log_prob, mode, sample
from metarl.functional.params import requires_grad, select, stack
from metarl.networks.policies import ActingGaussian, CategoricalMLPPolicy, GaussianMLPPolicy
from metarl.types import Params
from support import tiny


def as_module(params: Params, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Build the perceptron of one task out of torch's layers."""
    modules: list[nn.Module] = []
    layers = sum(name.endswith("weight") for name in params)
    for index in range(layers):
        weight, bias = params[f"layer_{index}.weight"], params[f"layer_{index}.bias"]
        linear = nn.Linear(*weight.shape, dtype=weight.dtype)
        linear.load_state_dict({"weight": weight.T, "bias": bias})
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def different_params(policy: GaussianMLPPolicy, tasks: int) -> Params:
    drawn = [tiny.tiny_params(policy, seed) for seed in range(tasks)]
    return {name: torch.stack([params[name] for params in drawn]) for name in drawn[0]}


@pytest.mark.parametrize("hidden_sizes", [(), (8,), (5, 4), (6, 5, 4)])
@pytest.mark.parametrize(("activation", "module"), [("tanh", nn.Tanh), ("relu", nn.ReLU)])
def test_batched_forward_is_a_module_for_each_task(
    hidden_sizes: tuple[int, ...], activation: str, module: type[nn.Module]
) -> None:
    policy = GaussianMLPPolicy(
        observation_size=3, action_size=2, hidden_sizes=hidden_sizes, activation=activation
    )
    params = different_params(policy, tasks=4)
    observations = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gaussian = policy(params, observations)
    for task in range(4):
        expected = as_module(select(params, task), module)(observations[task])
        torch.testing.assert_close(gaussian.mean[task], expected, rtol=1e-12, atol=1e-12)


def test_deviation_is_the_same_in_every_state() -> None:
    params = different_params(tiny.POLICY, tasks=4)
    gaussian = tiny.POLICY(params, torch.zeros(4, 7, 3, dtype=torch.float64))
    assert gaussian.log_std.shape == (4, 1, 2)
    assert torch.equal(gaussian.log_std[:, 0], params["log_std"])


def test_no_task_reads_anothers_parameters() -> None:
    params = requires_grad(different_params(tiny.POLICY, tasks=3))
    mean = tiny.POLICY(params, torch.ones(3, 2, 3, dtype=torch.float64)).mean
    (slope,) = torch.autograd.grad(mean[1].sum(), [params["layer_0.weight"]])
    assert slope[1].any()
    assert not slope[[0, 2]].any()


def test_shapes_are_those_of_the_drawn_parameters() -> None:
    params = tiny.POLICY.initial_params(torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in params.items()} == tiny.POLICY.shapes
    assert tiny.POLICY.shapes == {
        "layer_0.weight": (3, 5),
        "layer_0.bias": (5,),
        "layer_1.weight": (5, 4),
        "layer_1.bias": (4,),
        "layer_2.weight": (4, 2),
        "layer_2.bias": (2,),
        "log_std": (2,),
    }


def test_weights_fill_xaviers_bounds() -> None:
    policy = GaussianMLPPolicy(observation_size=300, action_size=2, hidden_sizes=(200,))
    weight = policy.initial_params(torch.Generator().manual_seed(0))["layer_0.weight"]
    bound = math.sqrt(6 / 500)
    assert weight.abs().max() <= bound
    # 60,000 uniform draws: the mean is within 5 of its standard errors, the deviation is bound / sqrt(3).
    assert weight.mean().abs() < 5 * bound / math.sqrt(3 * 60_000)
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert weight.abs().max() > 0.99 * bound


def test_biases_start_at_zero_and_deviations_as_asked() -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=2, initial_std=0.25)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    assert not any(value.any() for name, value in params.items() if name.endswith("bias"))
    assert params["log_std"].exp().tolist() == [0.25, 0.25]


def test_initial_parameters_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    one, again, other = (tiny.POLICY.initial_params(torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one["layer_0.weight"], again["layer_0.weight"])
    assert not torch.equal(one["layer_0.weight"], other["layer_0.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_deviation_never_falls_below_its_floor() -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=2, min_std=0.1)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["log_std"] = torch.tensor([math.log(0.01), math.log(0.5)])
    stds = policy(stack(params, 1), torch.zeros(1, 1, 3)).log_std.exp()
    torch.testing.assert_close(stds, torch.tensor([[[0.1, 0.5]]]))


def test_deviation_never_rises_above_its_ceiling() -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=2, max_std=2.0)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["log_std"] = torch.tensor([1e4, math.log(0.5)])
    stds = policy(stack(params, 1), torch.zeros(1, 1, 3)).log_std.exp()
    torch.testing.assert_close(stds, torch.tensor([[[2.0, 0.5]]]))


def test_deviation_without_a_given_ceiling_stays_finite() -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=2)
    params = {**policy.initial_params(torch.Generator().manual_seed(0)), "log_std": torch.full((2,), 1e30)}
    assert policy(stack(params, 1), torch.zeros(1, 1, 3)).log_std.exp().square().isfinite().all()


@pytest.mark.parametrize(
    ("deviations", "slopes"), [([0.0, 0.5, 9.0], [1, 1, 1]), ([0.01, 0.5, 4.0], [0, 1, 0])]
)
def test_deviation_has_a_slope_at_its_bounds_and_none_beyond(
    deviations: list[float], slopes: list[float]
) -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=3, min_std=0.1, max_std=2.0)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["log_std"] = torch.tensor(deviations).log()
    if slopes == [1, 1, 1]:
        params = policy.within_bounds(params)
    leaves = requires_grad(stack(params, 1))
    (slope,) = torch.autograd.grad(policy(leaves, torch.zeros(1, 1, 3)).log_std.sum(), [leaves["log_std"]])
    assert slope.tolist() == [slopes]


def test_moving_parameters_within_bounds_does_not_change_the_policy() -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=3, min_std=0.1, max_std=2.0)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["log_std"] = torch.tensor([0.01, 0.5, 4.0]).log()
    inside = policy.within_bounds(params)
    torch.testing.assert_close(inside["log_std"].exp(), torch.tensor([0.1, 0.5, 2.0]))
    one, other = (policy(stack(some, 1), torch.ones(1, 1, 3)) for some in (params, inside))
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.log_std, other.log_std)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"'relu', 'tanh'.*'swish'"):
        GaussianMLPPolicy(observation_size=3, action_size=2, activation="swish")


def test_categorical_policy_is_a_module_for_each_task() -> None:
    policy = CategoricalMLPPolicy(observation_size=3, action_size=4, hidden_sizes=(5, 6))
    drawn = [policy.initial_params(torch.Generator().manual_seed(task), torch.float64) for task in range(3)]
    params = {name: torch.stack([one[name] for one in drawn]) for name in policy.shapes}
    observations = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = policy(params, observations).logits
    for task in range(3):
        expected = as_module(drawn[task])(observations[task])
        torch.testing.assert_close(logits[task], expected, rtol=1e-12, atol=1e-12)


def test_categorical_policy_has_no_deviation() -> None:
    policy = CategoricalMLPPolicy(observation_size=3, action_size=4, hidden_sizes=(5,))
    assert policy.shapes == {
        "layer_0.weight": (3, 5),
        "layer_0.bias": (5,),
        "layer_1.weight": (5, 4),
        "layer_1.bias": (4,),
    }


def test_categorical_policy_knows_its_activations() -> None:
    with pytest.raises(MetarlError, match="activation must be one of"):
        CategoricalMLPPolicy(observation_size=3, action_size=4, activation="sigmoid")


@pytest.mark.parametrize("seed", [None, 0])
def test_acting_has_the_bits_of_sampling_and_of_the_density(seed: int | None) -> None:
    policy = GaussianMLPPolicy(observation_size=3, action_size=2, hidden_sizes=(4,), min_std=0.5)
    params = different_params(policy, tasks=2)
    params["log_std"] = params["log_std"] - torch.tensor([[1.0, 0.1], [0.2, 0.0]])
    drawn = torch.Generator().manual_seed(1)
    observations = torch.randn(2, 5, 3, generator=drawn, dtype=params["log_std"].dtype)
    first, second = (None if seed is None else torch.Generator().manual_seed(seed) for _ in range(2))
    actions, densities = ActingGaussian(policy, params)(observations, first)
    distribution = policy(params, observations)
    expected = mode(distribution) if second is None else sample(distribution, second)
    assert torch.equal(actions, expected)
    assert torch.equal(densities, log_prob(distribution, expected))
