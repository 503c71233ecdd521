"""Returns and advantages: by hand, and against stable-baselines3."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.buffers import RolloutBuffer

from metarl.functional.returns import discounted_returns, generalized_advantages
from metarl.vector_env import Array

ALL = torch.ones(3, dtype=torch.bool)


def advantages_of(
    rewards: list[float],
    values: list[float],
    final_value: float,
    *,
    terminal: bool,
    gae_lambda: float = 1.0,
    length: int = 3,
) -> list[float]:
    steps = torch.arange(3)
    result = generalized_advantages(
        torch.tensor(rewards, dtype=torch.float64),
        torch.tensor(values, dtype=torch.float64),
        torch.tensor(final_value, dtype=torch.float64),
        (steps == length - 1) & terminal,
        steps < length,
        discount=0.5,
        gae_lambda=gae_lambda,
    )
    return result.tolist()


def test_discounted_returns_by_hand() -> None:
    returns = discounted_returns(torch.tensor([1.0, 2.0, 4.0]), ALL, 0.5)
    assert returns.tolist() == [3.0, 4.0, 4.0]  # 4; 2 + 4/2; 1 + 4/2


@pytest.mark.parametrize(("discount", "expected"), [(0.0, [1.0, 2.0, 4.0]), (1.0, [7.0, 6.0, 4.0])])
def test_discount_at_its_ends(discount: float, expected: list[float]) -> None:
    assert discounted_returns(torch.tensor([1.0, 2.0, 4.0]), ALL, discount).tolist() == expected


def test_masked_rewards_count_as_nothing() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    returns = discounted_returns(torch.tensor([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]]), mask, 0.5)
    assert returns.tolist() == [[2.0, 2.0, 0.0], [3.0, 0.0, 0.0]]


def test_returns_do_not_change_their_arguments() -> None:
    rewards = torch.tensor([1.0, 2.0, 4.0])
    discounted_returns(rewards, ALL, 0.5)
    assert rewards.tolist() == [1.0, 2.0, 4.0]


def test_returns_keep_leading_axes() -> None:
    rewards = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 3, 4, 5, dtype=torch.bool)
    returns = discounted_returns(rewards, mask, 0.9)
    assert torch.equal(returns[1, 2, 3], discounted_returns(rewards[1, 2, 3], mask[1, 2, 3], 0.9))


def test_terminal_step_cuts_bootstrap() -> None:
    # The returns are 3, 4, 4, whatever the value 100 of what followed.
    assert advantages_of([1, 2, 4], [1, 1, 1], 100.0, terminal=True) == [2.0, 3.0, 3.0]


def test_value_after_a_terminal_step_may_be_nan() -> None:
    assert advantages_of([1, 2, 4], [1, 1, 1], float("nan"), terminal=True) == [2.0, 3.0, 3.0]


@pytest.mark.parametrize("never", [float("nan"), float("inf")])
def test_numbers_under_a_false_mask_do_not_matter(never: float) -> None:
    found = advantages_of([1, 2, never], [0.5, 1, never], 100.0, terminal=False, length=2)
    assert found == [26.5, 51.0, 0.0]
    mask = torch.tensor([True, True, False])
    assert discounted_returns(torch.tensor([1.0, 2.0, never]), mask, 0.5).tolist() == [2.0, 2.0, 0.0]


def test_truncated_episode_is_bootstrapped() -> None:
    # The returns are those above and 100 discounted three times, twice and once: 12.5, 25, 50.
    assert advantages_of([1, 2, 4], [1, 1, 1], 100.0, terminal=False) == [14.5, 28.0, 53.0]


@pytest.mark.parametrize(("terminal", "expected"), [(True, [1.5, 1.0, 0.0]), (False, [26.5, 51.0, 0.0])])
def test_episode_that_ends_early_ends_at_its_last_live_step(terminal: bool, expected: list[float]) -> None:
    # The returns are 2 and 2; if cut off, 100 discounted twice and once more: 25 and 50.
    assert advantages_of([1, 2, 0], [0.5, 1, 0], 100.0, terminal=terminal, length=2) == expected


def test_lambda_zero_gives_one_step_differences() -> None:
    # r + V'/2 - V: 1 + 2/2 - 1, 2 + 3/2 - 2, 4 + 10/2 - 3
    assert advantages_of([1, 2, 4], [1, 2, 3], 10.0, terminal=False, gae_lambda=0.0) == [1.0, 1.5, 6.0]


def test_lambda_between_decays_the_differences() -> None:
    # Differences 1, 1.5, 6 as above, weighted by 1, 1/4, 1/16.
    assert advantages_of([1, 2, 4], [1, 2, 3], 10.0, terminal=False, gae_lambda=0.5) == [1.75, 3.0, 6.0]


def test_values_past_the_end_do_not_matter() -> None:
    one, other = (advantages_of([1, 2, 0], [1, 1, v], 7.0, terminal=False, length=2) for v in (0.0, 50.0))
    assert one == other


@pytest.mark.parametrize("ending", ["terminated", "truncated", "mixed"])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
def test_advantages_are_those_of_stable_baselines3(ending: str, gae_lambda: float) -> None:
    rng = np.random.default_rng(0)
    lengths, steps = [6, 3, 1, 5, 6], 6
    rewards, values = rng.normal(size=(2, len(lengths), steps))
    final = rng.normal(size=len(lengths))
    terminal = {
        "terminated": np.ones(5, bool),
        "truncated": np.zeros(5, bool),
        "mixed": np.arange(5) % 2 == 0,
    }
    ends = terminal[ending]
    mask = np.arange(steps) < np.array(lengths)[:, None]
    last = np.arange(steps) == np.array(lengths)[:, None] - 1
    ours = generalized_advantages(
        torch.tensor(rewards),
        torch.tensor(values),
        torch.tensor(final),
        torch.tensor(last & ends[:, None]),
        torch.tensor(mask),
        discount=0.95,
        gae_lambda=gae_lambda,
    )
    # It knows a single kind of ending: where an episode was cut off, its algorithms add the discounted value
    # of what followed to the last reward.
    bootstrapped = rewards + 0.95 * last * (final * ~ends)[:, None]
    starts = np.cumsum([0, *lengths])[:-1].tolist()
    theirs = stable_baselines3_advantages(
        bootstrapped[mask], values[mask], starts, gae_lambda, last_value=1e9, done=True
    )
    np.testing.assert_allclose(ours.numpy()[mask], theirs, rtol=1e-5, atol=1e-5)
    assert not ours[~torch.tensor(mask)].any()


def test_cut_at_the_horizon_is_that_of_stable_baselines3() -> None:
    # An episode that its buffer merely stopped watching is bootstrapped with `last_values`.
    rewards, values = np.random.default_rng(1).normal(size=(2, 7))
    ours = generalized_advantages(
        torch.tensor(rewards),
        torch.tensor(values),
        torch.tensor(0.7),
        torch.zeros(7, dtype=torch.bool),
        torch.ones(7, dtype=torch.bool),
        discount=0.95,
        gae_lambda=0.9,
    )
    theirs = stable_baselines3_advantages(rewards, values, [0], 0.9, last_value=0.7, done=False)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5)


def stable_baselines3_advantages(
    rewards: Array, values: Array, starts: list[int], gae_lambda: float, *, last_value: float, done: bool
) -> npt.NDArray[np.float32]:
    """Run episodes one after another through its buffer; ``starts`` are their first steps."""
    space = Box(-1.0, 1.0, (1,))
    buffer = RolloutBuffer(len(rewards), space, space, device="cpu", gae_lambda=gae_lambda, gamma=0.95)
    zero = np.zeros((1, 1))
    for step, (reward, value) in enumerate(zip(rewards, values, strict=True)):
        start = np.array([step in starts])
        buffer.add(zero, zero, np.array([reward]), start, torch.tensor([value]), torch.zeros(1))
    buffer.compute_returns_and_advantage(torch.tensor([last_value]), dones=np.array([done]))
    return buffer.advantages[:, 0]


def test_gap_within_a_trial_takes_no_time() -> None:
    mask = torch.tensor([True, False, False, True])
    rewards = torch.tensor([1.0, 7.0, torch.nan, 1.0])
    assert discounted_returns(rewards, mask, 0.5).tolist() == [1.5, 0.0, 0.0, 1.0]


def test_advantages_of_a_trial_are_those_without_its_gaps() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(5, 12, generator=generator) < 0.6
    mask[:, 0] = True
    rewards, values = (torch.randn(5, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    final = torch.randn(5, generator=generator, dtype=torch.float64)
    never = torch.zeros_like(mask)
    how = {"discount": 0.9, "gae_lambda": 0.8}
    found = generalized_advantages(rewards, values, final, never, mask, **how)
    for trial in range(5):
        live = mask[trial]
        without = (rewards[trial][live], values[trial][live], final[trial], never[trial][live], live[live])
        torch.testing.assert_close(found[trial][live], generalized_advantages(*without, **how))
    assert not found[~mask].any()


def test_a_terminal_step_within_a_trial_cuts_it_there() -> None:
    rewards, values = (torch.tensor(row, dtype=torch.float64) for row in ([1.0, 2.0, 4.0], [3.0, 5.0, 7.0]))
    terminated, final = torch.tensor([False, True, False]), torch.tensor(11.0, dtype=torch.float64)
    found = generalized_advantages(rewards, values, final, terminated, ALL, discount=0.5, gae_lambda=0.5)
    # 4 + 11 / 2 - 7; then 2 - 5, and nothing of what follows; 1 + 5 / 2 - 3 - 3 / 4
    assert found.tolist() == [-0.25, -3.0, 2.5]
