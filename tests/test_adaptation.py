"""The inner loop: its data by hand, one step against a loop over copied modules, its graph."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import tiny
from metarl.adaptation import (
    Batch,
    adapt,
    estimate_advantages,
    make_batch,
    normalize,
    policy_gradient_loss,
)
from metarl.baselines import linear_features
from metarl.params import detach, requires_grad, select, stack
from metarl.types import Params, Rollout

MASK = torch.tensor([[[True, True, True], [True, False, False]]])


def batch(seed: int = 0, tasks: int = 3) -> Batch:
    rollout = tiny.random_rollout(seed, tasks=tasks)
    return make_batch(rollout, normalize(rollout.rewards, rollout.mask, "std"))


def task_params(tasks: int = 3) -> Params:
    """Draw parameters of its own for each task."""
    drawn = [tiny.tiny_params(seed=seed) for seed in range(tasks)]
    return {name: torch.stack([params[name] for params in drawn]) for name in drawn[0]}


class Module(nn.Module):
    """One task's policy as a user of torch would write it."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        sizes = [params["layer_0.weight"].shape[0]]
        sizes += [params[f"layer_{layer}.weight"].shape[1] for layer in range(3)]
        self.layers = nn.ModuleList(nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes))
        for index, layer in enumerate(self.layers):
            layer.load_state_dict(
                {"weight": params[f"layer_{index}.weight"].T, "bias": params[f"layer_{index}.bias"]}
            )
        self.log_std = nn.Parameter(params["log_std"].clone())

    def forward(self, observations: torch.Tensor) -> Normal:
        first, second, last = self.layers
        mean = last(torch.tanh(second(torch.tanh(first(observations)))))
        return Normal(mean, self.log_std.exp())

    def params(self) -> Params:
        weights = {f"layer_{i}.weight": layer.weight.T for i, layer in enumerate(self.layers)}
        biases = {f"layer_{i}.bias": layer.bias for i, layer in enumerate(self.layers)}
        return detach(weights | biases | {"log_std": self.log_std})


def live(one: Batch, task: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a task's observations, actions and advantages without the masked steps."""
    chosen = one.weights[task] > 0
    return one.observations[task][chosen], one.actions[task][chosen], one.advantages[task][chosen]


def loss_of(module: Module, one: Batch, task: int) -> torch.Tensor:
    observations, actions, advantages = live(one, task)
    return -(advantages * module(observations).log_prob(actions).sum(dim=-1)).mean()


@pytest.mark.parametrize("steps", [1, 3])
def test_adapting_is_gradient_descent_on_a_copy_for_each_task(steps: int) -> None:
    batches, params = [batch(seed) for seed in range(steps)], task_params()
    adapted = adapt(tiny.POLICY, requires_grad(params), batches, inner_lr=0.3)
    for task in range(3):
        module = copy.deepcopy(Module(select(params, task)))
        descent = torch.optim.SGD(module.parameters(), lr=0.3)
        for one in batches:
            descent.zero_grad()
            loss_of(module, one, task).backward()
            descent.step()
        for name, value in module.params().items():
            torch.testing.assert_close(adapted[name][task], value, rtol=1e-11, atol=1e-12)


def test_loss_is_each_tasks_own() -> None:
    params = task_params()
    losses = policy_gradient_loss(tiny.POLICY, params, batch())
    expected = [loss_of(Module(select(params, task)), batch(), task) for task in range(3)]
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_first_order_takes_the_same_step() -> None:
    batches = [batch(0), batch(1)]
    whole, first = (
        adapt(tiny.POLICY, requires_grad(task_params()), batches, inner_lr=0.3, first_order=order)
        for order in (False, True)
    )
    assert all(torch.equal(whole[name], first[name]) for name in whole)


def test_first_order_treats_the_gradient_as_a_constant() -> None:
    leaves = requires_grad(task_params())
    adapted = adapt(tiny.POLICY, leaves, [batch()], inner_lr=0.3, first_order=True)
    slopes = torch.autograd.grad(sum(value.sum() for value in adapted.values()), list(leaves.values()))
    assert all(torch.equal(slope, torch.ones_like(slope)) for slope in slopes)


def test_second_order_reaches_through_the_gradient() -> None:
    leaves = requires_grad(task_params())
    adapted = adapt(tiny.POLICY, leaves, [batch()], inner_lr=0.3)
    (slope,) = torch.autograd.grad(adapted["layer_0.weight"].sum(), [leaves["layer_1.weight"]])
    assert slope.any()


def test_adapting_changes_none_of_its_arguments() -> None:
    params, data = task_params(), batch()
    copies = {name: value.clone() for name, value in params.items()}
    adapt(tiny.POLICY, requires_grad(params), [data], inner_lr=0.3)
    assert all(torch.equal(params[name], copies[name]) for name in params)
    assert torch.equal(data.observations, batch().observations)


def test_no_step_changes_nothing() -> None:
    leaves = requires_grad(task_params())
    adapted = adapt(tiny.POLICY, leaves, [], inner_lr=0.3)
    assert all(adapted[name] is value for name, value in leaves.items())


def test_each_parameter_can_have_a_step_size_of_its_own() -> None:
    leaves = requires_grad(task_params())
    sizes = {name: torch.tensor(0.1 * index) for index, name in enumerate(leaves)}
    adapted = adapt(tiny.POLICY, leaves, [batch()], inner_lr=sizes)
    unit = adapt(tiny.POLICY, leaves, [batch()], inner_lr=1.0)
    for name in leaves:
        torch.testing.assert_close(
            adapted[name] - leaves[name], sizes[name].double() * (unit[name] - leaves[name])
        )


def test_whole_number_is_a_step_size_too() -> None:
    leaves = requires_grad(task_params())
    one, other = (adapt(tiny.POLICY, leaves, [batch()], inner_lr=size) for size in (1, 1.0))
    assert all(torch.equal(one[name], other[name]) for name in leaves)


def test_only_the_adaptable_parameters_adapt() -> None:
    leaves = requires_grad(task_params())
    adapted = adapt(tiny.POLICY, leaves, [batch(), batch(1)], inner_lr=0.3, adaptable=["layer_2.bias"])
    changed = {name for name in leaves if not torch.equal(adapted[name], leaves[name])}
    assert changed == {"layer_2.bias"}


def test_batched_adaptation_is_that_of_each_task_alone() -> None:
    params = requires_grad(task_params())
    together = adapt(tiny.POLICY, params, [batch()], inner_lr=0.3)
    rollout = tiny.random_rollout(0)
    for task in range(3):
        part = tiny.take_tasks(rollout, [task])
        alone = adapt(
            tiny.POLICY,
            {name: value[task : task + 1] for name, value in params.items()},
            [make_batch(part, normalize(part.rewards, part.mask, "std"))],
            inner_lr=0.3,
        )
        for name in params:
            torch.testing.assert_close(together[name][task], alone[name][0], rtol=1e-12, atol=1e-12)


def test_same_parameters_for_every_task_need_no_copies() -> None:
    params = tiny.tiny_params()
    shared = adapt(tiny.POLICY, requires_grad(stack(params, 3)), [batch()], inner_lr=0.3)
    copied = {name: value.clone() for name, value in stack(params, 3).items()}
    own = adapt(tiny.POLICY, requires_grad(copied), [batch()], inner_lr=0.3)
    assert all(torch.equal(shared[name], own[name]) for name in params)


@pytest.mark.parametrize(("norm", "scale"), [("std", 5**0.5), ("var", 5.0)])  # of 1, 3, 5 and 7
def test_advantages_are_centered_and_scaled_over_live_steps(norm: str, scale: float) -> None:
    advantages = torch.tensor([[[1.0, 3.0, 5.0], [7.0, 99.0, 99.0]]], dtype=torch.float64)
    expected = torch.tensor([[[-3.0, -1.0, 1.0], [3.0, 0.0, 0.0]]], dtype=torch.float64) / scale
    found = normalize(advantages, MASK, "std" if norm == "std" else "var")
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_advantages_can_be_left_as_they_are() -> None:
    advantages = torch.arange(6.0).reshape(1, 2, 3)
    assert torch.equal(normalize(advantages, MASK, "none"), advantages)


@pytest.mark.parametrize("norm", ["std", "var"])
def test_equal_advantages_become_zero(norm: str) -> None:
    assert not normalize(torch.full((1, 2, 3), 3.0), MASK, "std" if norm == "std" else "var").any()


def test_tasks_are_normalized_apart() -> None:
    rollout = tiny.random_rollout(0)
    scaled = rollout.rewards * torch.tensor([1.0, 100.0, 0.01]).reshape(3, 1, 1)
    one, other = (normalize(rewards, rollout.mask, "std") for rewards in (rollout.rewards, scaled))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def advantages(
    rollout: Rollout, discount: float = 0.9, gae_lambda: float = 0.8, *, bootstrap: bool = False
) -> torch.Tensor:
    return estimate_advantages(
        rollout, discount=discount, gae_lambda=gae_lambda, norm="none", bootstrap_truncated=bootstrap
    )


class Episode(NamedTuple):
    """The live steps of one episode."""

    rewards: list[float]
    features: torch.Tensor
    """``[steps + 1, F]``, the last of what followed."""
    terminated: bool
    advantages: list[float]


def episodes_of(rollout: Rollout, found: torch.Tensor, task: int) -> list[Episode]:
    episodes = []
    for index, length in enumerate(rollout.mask[task].sum(dim=-1).tolist()):
        last = rollout.final_observations[task, index : index + 1]
        seen = torch.cat([rollout.observations[task, index, :length], last])
        features = linear_features(seen, torch.arange(length + 1))
        rewards = rollout.rewards[task, index, :length].tolist()
        ended = bool(rollout.terminated[task, index].any())
        episodes.append(Episode(rewards, features, ended, found[task, index, :length].tolist()))
    return episodes


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("task", range(3))
def test_advantages_by_a_loop_over_episodes(task: int, bootstrap: bool) -> None:
    rollout = tiny.random_rollout(0, episodes=4)
    episodes = episodes_of(rollout, advantages(rollout, bootstrap=bootstrap), task)
    rows = torch.cat([episode.features[:-1] for episode in episodes])
    targets = [
        sum(0.9**later * reward for later, reward in enumerate(episode.rewards[step:]))
        for episode in episodes
        for step in range(len(episode.rewards))
    ]
    ridge = 1e-5 * torch.eye(rows.shape[1], dtype=torch.float64)
    moments = rows.T @ torch.tensor(targets, dtype=torch.float64)
    weights = torch.linalg.solve(rows.T @ rows + ridge, moments)
    for episode in episodes:
        values = (episode.features @ weights).tolist()
        if episode.terminated or not bootstrap:
            values[-1] = 0.0
        advantage = 0.0
        for step in reversed(range(len(episode.rewards))):
            delta = episode.rewards[step] + 0.9 * values[step + 1] - values[step]
            advantage = delta + 0.9 * 0.8 * advantage
            assert episode.advantages[step] == pytest.approx(advantage, rel=1e-6, abs=1e-7)


def test_both_endings_are_alike_unless_truncation_is_bootstrapped() -> None:
    rollout = tiny.random_rollout(0)
    last, nothing = rollout.terminated | rollout.truncated, torch.zeros_like(rollout.mask)
    cut, ended = replace(rollout, truncated=last, terminated=nothing), replace(rollout, terminated=last)
    assert torch.equal(advantages(cut), advantages(ended))
    assert not torch.allclose(advantages(cut, bootstrap=True), advantages(ended, bootstrap=True))


def test_predictable_returns_leave_no_advantage() -> None:
    rollout = tiny.random_rollout(0, steps=8, episodes=8)
    rollout = replace(
        rollout,
        mask=torch.ones_like(rollout.mask),
        rewards=torch.ones_like(rollout.rewards),
        terminated=torch.zeros_like(rollout.mask),
        truncated=(torch.arange(8) == 7).expand(3, 8, 8),
    )
    # The return falls from 8 to 1 linearly with time, which is a feature; the ridge keeps a little back.
    assert advantages(rollout, discount=1.0, gae_lambda=1.0).abs().max() < 0.01


def test_advantages_have_the_rewards_precision() -> None:
    assert advantages(tiny.random_rollout(0, dtype=torch.float32)).dtype == torch.float32


def test_batch_joins_episodes_and_weighs_live_steps_equally() -> None:
    rollout = tiny.random_rollout(0)
    one = make_batch(rollout, rollout.rewards)
    assert torch.equal(one.observations[1], torch.cat([*rollout.observations[1]]))
    assert torch.equal(one.advantages[2], torch.cat([*rollout.rewards[2]]))
    torch.testing.assert_close(one.weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    counts = rollout.mask.sum(dim=(1, 2))
    expected = torch.cat([*rollout.mask[0]]).double() / counts[0]
    torch.testing.assert_close(one.weights[0], expected)


def test_every_stride_keeps_the_weights_whole() -> None:
    few = batch().every(5)
    assert few.observations.shape == (3, 3, 3)
    assert torch.equal(few.actions, batch().actions[:, [0, 5, 10]])
    torch.testing.assert_close(few.weights.sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_stride_that_meets_only_masked_steps_gives_no_nan() -> None:
    observations, actions, ones = torch.ones(1, 4, 3), torch.ones(1, 4, 2), torch.ones(1, 4)
    one = Batch(observations, actions, ones, torch.tensor([[0.0, 1, 0, 0]]), ones, horizon=4)
    assert one.every(2).weights.tolist() == [[0.0, 0.0]]
