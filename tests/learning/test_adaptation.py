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

from metarl.functional.params import detach, requires_grad, select, stack
from metarl.learning.adaptation import adapt, policy_gradient_loss
from metarl.learning.advantages import AdvantageNorm, Batch, estimate_advantages, make_batch, normalize
from metarl.networks.linear_baseline import linear_features
from metarl.types import Params, Rollout
from support import tiny

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


def constant_columns(length: int, longest: int, discount: float = 0.9) -> torch.Tensor:
    """Return 1, and the value of a constant reward, at each step and after the last: ``[steps + 1, 2]``."""
    values = [sum(discount**later for later in range(longest - step)) for step in range(length + 1)]
    return torch.tensor([[1.0, value] for value in values], dtype=torch.float64)


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
    # what a constant reward explains comes first, then the ridge regression on the features
    longest = max(len(episode.rewards) for episode in episodes)
    profiles = [constant_columns(len(episode.rewards), longest) for episode in episodes]
    columns, returns = torch.cat([p[:-1] for p in profiles]), torch.tensor(targets, dtype=torch.float64)
    constant = torch.linalg.lstsq(columns, returns.unsqueeze(1)).solution.squeeze(1)
    ridge = 1e-5 * torch.eye(rows.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ (returns - columns @ constant))
    for episode, profile in zip(episodes, profiles, strict=True):
        values = (episode.features @ weights + profile @ constant).tolist()
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


def batch_of_lengths(lengths: list[list[int]], horizon: int) -> Batch:
    """Return transitions whose observations tell the episode and the step."""
    mask = torch.arange(horizon) < torch.tensor(lengths).unsqueeze(-1)
    tasks, episodes = mask.shape[:2]
    steps = torch.arange(horizon).double().expand(mask.shape)
    numbers = torch.arange(episodes).double().reshape(1, -1, 1).expand(mask.shape)
    ones = torch.ones(mask.shape, dtype=torch.float64)
    rollout = Rollout(
        observations=torch.stack([numbers, steps], dim=-1),
        actions=ones.unsqueeze(-1),
        log_probs=ones,
        rewards=ones,
        mask=mask,
        terminated=torch.zeros_like(mask),
        truncated=torch.zeros_like(mask),
        final_observations=torch.zeros(tasks, episodes, 2, dtype=torch.float64),
    )
    return make_batch(rollout, ones)


def kept_places(few: Batch, task: int) -> list[tuple[int, int]]:
    """Return episode and step of each kept transition."""
    kept = few.observations[task][few.weights[task] > 0]
    return [(int(episode), int(step)) for episode, step in kept.tolist()]


@pytest.mark.parametrize("stride", [2, 5, 10, 16])
@pytest.mark.parametrize("horizon", [1, 2, 5, 8, 10, 20, 34, 100])
def test_subsample_meets_every_time_of_an_episode_alike(horizon: int, stride: int) -> None:
    episodes = 4000 // horizon
    few = batch_of_lengths([[horizon] * episodes], horizon).subsample(stride, at_least=1)
    places = kept_places(few, 0)
    assert len(set(places)) == len(places) == -(-episodes * horizon // stride)
    counts = torch.bincount(torch.tensor([step for _, step in places]), minlength=horizon)
    expected = len(places) / horizon
    assert (counts - expected).abs().max() <= max(4.0, 0.4 * expected)
    halves = [sum(episode < episodes / 2 for episode, _ in places), len(places)]
    assert halves[0] == pytest.approx(halves[1] / 2, rel=0.1)


def test_subsample_chooses_among_live_transitions_only() -> None:
    lengths = [[1] * 60, [1, 2, 3, 4, 5, 6] * 10, [6] * 60]
    few = batch_of_lengths(lengths, 6).subsample(4, at_least=1)
    assert [len(kept_places(few, task)) for task in range(3)] == [15, 53, 90]
    for task in range(3):
        assert all(step < lengths[task][episode] for episode, step in kept_places(few, task))
    torch.testing.assert_close(few.weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    one = few.weights[0][few.weights[0] > 0]
    assert torch.equal(one, one[:1].expand_as(one))


def test_subsample_keeps_all_of_few_transitions() -> None:
    ragged = batch_of_lengths([[1, 1, 2], [6, 6, 6]], 6)
    few = ragged.subsample(1000, at_least=15)
    assert sorted(kept_places(few, 0)) == [(0, 0), (1, 0), (2, 0), (2, 1)]
    assert len(kept_places(few, 1)) == 15
    assert ragged.subsample(1000, at_least=18) is ragged
    assert ragged.subsample(1, at_least=1) is ragged


def test_subsample_of_a_task_does_not_depend_on_the_others() -> None:
    lengths = [[3] * 40, [6] * 40, [1, 6] * 20]
    together = batch_of_lengths(lengths, 6).subsample(7, at_least=10)
    turned = batch_of_lengths(lengths[::-1], 6).subsample(7, at_least=10)
    for task in range(3):
        alone = batch_of_lengths([lengths[task]], 6).subsample(7, at_least=10)
        assert kept_places(together, task) == kept_places(alone, 0) == kept_places(turned, 2 - task)


def test_subsample_of_a_task_without_live_steps_gives_no_nan() -> None:
    observations, actions, ones = torch.ones(1, 4, 3), torch.ones(1, 4, 2), torch.ones(1, 4)
    nothing = Batch(observations, actions, ones, torch.zeros(1, 4), ones, horizon=4)
    assert not nothing.subsample(2, at_least=1).weights.any()


def episodes_with_rewards(rewards: torch.Tensor, lengths: list[int] | None = None) -> Rollout:
    """Return one task's random observations with given rewards ``[K, T]`` and lengths."""
    episodes, steps = rewards.shape
    rollout = tiny.random_rollout(0, tasks=1, episodes=episodes, steps=steps, dtype=torch.float32)
    ends = torch.tensor(lengths or [steps] * episodes).unsqueeze(-1)
    mask = (torch.arange(steps) < ends).unsqueeze(0)
    last = (torch.arange(steps) == ends - 1).unsqueeze(0)
    nothing = torch.zeros_like(mask)
    return replace(
        rollout, rewards=rewards.unsqueeze(0), mask=mask, terminated=last & (ends < steps), truncated=nothing
    )


def scaled(
    rollout: Rollout, discount: float = 0.99, norm: AdvantageNorm = "std", gae_lambda: float = 1.0
) -> torch.Tensor:
    return estimate_advantages(rollout, discount=discount, gae_lambda=gae_lambda, norm=norm)


@pytest.mark.parametrize("norm", ["std", "var"])
@pytest.mark.parametrize("constant", [1e-8, -3e-4, 0.1, -7.0, 1e6, 1e30])
@pytest.mark.parametrize(
    ("steps", "discount"), [(1, 0.99), (8, 0.99), (8, 1.0), (8, 0.0), (500, 0.99), (40, 0.5)]
)
def test_constant_reward_teaches_nothing(
    constant: float, steps: int, discount: float, norm: AdvantageNorm
) -> None:
    rollout = episodes_with_rewards(torch.full((5, steps), constant))
    for gae_lambda in (1.0, 0.9):
        assert scaled(rollout, discount, norm, gae_lambda).abs().max() < 1e-3


@pytest.mark.parametrize("constant", [0.3, -1e4])
def test_constant_return_of_episodes_of_any_length_teaches_nothing(constant: float) -> None:
    lengths = [1, 9, 4, 12, 12, 7]
    ends = torch.arange(12) == torch.tensor(lengths).unsqueeze(-1) - 1
    once = episodes_with_rewards(torch.where(ends, constant, 0.0), lengths)
    assert scaled(once, discount=1.0).abs().max() < 1e-3
    every_step = episodes_with_rewards(torch.full((6, 12), constant), lengths)
    assert scaled(every_step, discount=0.0).abs().max() < 1e-3


def test_lengths_of_episodes_are_a_signal_under_a_constant_reward() -> None:
    lengths = [3, 12, 5, 12, 4, 9]
    found = scaled(episodes_with_rewards(torch.ones(6, 12), lengths))[0]
    assert found.square().sum() / sum(lengths) == pytest.approx(1.0, rel=1e-4)
    first = found[:, 0]
    assert min(first[1], first[3]) > max(first[0], first[4])  # it is good to live long


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-3, 1e6, 1e30])
def test_rewards_of_any_scale_teach_alike(scale: float) -> None:
    rewards = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    one, other = (scaled(episodes_with_rewards(rewards * factor)) for factor in (1.0, scale))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_constant_added_to_all_rewards_changes_nothing() -> None:
    rewards = torch.randn(5, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one, other = (scaled(episodes_with_rewards(rewards + offset)) for offset in (0.0, 1000.0))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_zero_rewards_leave_exactly_no_advantage() -> None:
    assert not scaled(episodes_with_rewards(torch.zeros(5, 8))).any()
    assert not scaled(episodes_with_rewards(torch.zeros(5, 8), [1, 8, 3, 5, 8]), norm="var").any()


def test_numbers_past_the_end_of_an_episode_do_not_matter() -> None:
    lengths = [3, 8, 5]
    rewards = torch.randn(3, 8, generator=torch.Generator().manual_seed(3))
    clean = episodes_with_rewards(rewards, lengths)
    nan = torch.where(clean.mask, clean.rewards, torch.nan)
    spoilt = replace(
        clean, rewards=nan, observations=torch.where(clean.mask.unsqueeze(-1), clean.observations, torch.nan)
    )
    assert torch.equal(scaled(clean), scaled(spoilt))
    assert torch.equal(clean.episode_returns, spoilt.episode_returns)


def test_fewer_transitions_than_features_teach_in_full_size() -> None:
    rewards = torch.tensor([[1.0, 2.0], [4.0, -1.0]])
    rollout = episodes_with_rewards(rewards)
    found = scaled(replace(rollout, observations=8 * rollout.observations))
    assert found.square().mean() == pytest.approx(1.0, rel=1e-4)
