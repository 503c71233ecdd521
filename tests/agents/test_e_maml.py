"""E-MAML's credit for exploring, by hand; its gradient is in test_gradient_based and test_meta_gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metarl.agents.e_maml import EMAML, EMAMLConfig, exploration_credit, log_density
from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.learning.advantages import AdvantageNorm, make_batch
from metarl.types import Rollout
from support import tiny


def with_returns(*returns: float) -> Rollout:
    """Return one episode a task, of four steps, the whole return in the second one."""
    rollout = tiny.random_rollout(0, tasks=len(returns), episodes=1, steps=4)
    rewards = torch.zeros(len(returns), 1, 4, dtype=torch.float64)
    rewards[:, 0, 1] = torch.tensor(returns, dtype=torch.float64)
    return replace(rollout, rewards=rewards, mask=torch.ones_like(rollout.mask))


def test_credit_is_the_return_per_step_over_that_of_the_other_tasks() -> None:
    credit = exploration_credit(with_returns(4.0, 8.0, 0.0), "none")
    # per step 1, 2 and 0: 1 - (2 + 0) / 2, 2 - (1 + 0) / 2, 0 - (1 + 2) / 2
    assert credit.tolist() == [0.0, 1.5, -1.5]


def test_credit_is_scaled_by_its_spread_as_advantages_are() -> None:
    credit = exploration_credit(with_returns(4.0, 8.0, 0.0), "std")
    torch.testing.assert_close(credit, torch.tensor([0.0, 1.5, -1.5]).double() / 1.5**0.5)


def test_task_alone_is_credited_with_its_own_return() -> None:
    assert exploration_credit(with_returns(4.0), "none").tolist() == [1.0]


@pytest.mark.parametrize("norm", ["std", "var"])
def test_task_alone_has_no_credit_to_scale(norm: AdvantageNorm) -> None:
    assert exploration_credit(with_returns(-4.0), norm).tolist() == [0.0]
    rollouts = [tiny.random_rollout(seed, tasks=1) for seed in range(2)]
    plain = MAMLVPG(MAMLVPGConfig(advantage_norm=norm), tiny.POLICY, tiny.tiny_params())
    agent = EMAML(EMAMLConfig(advantage_norm=norm, credit_weight=1.0), tiny.POLICY, tiny.tiny_params())
    norms = [each.update(rollouts)["gradient_norm"] for each in (plain, agent)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
def test_credit_does_not_depend_on_the_scale_of_returns(scale: float) -> None:
    credit = exploration_credit(with_returns(4.0 * scale, 8.0 * scale, 0.0), "std")
    torch.testing.assert_close(credit, torch.tensor([0.0, 1.5, -1.5]).double() / 1.5**0.5)


@pytest.mark.parametrize("constant", [0.1, -3e7])
def test_returns_that_differ_by_rounding_give_no_credit(constant: float) -> None:
    credit = exploration_credit(with_returns(constant, constant * (1 + 1e-15), constant), "std")
    assert credit.abs().max() < 1e-3


def test_equal_returns_give_no_credit() -> None:
    assert exploration_credit(with_returns(3.0, 3.0, 3.0), "std").tolist() == [0.0, 0.0, 0.0]


def test_log_density_counts_live_steps_once_each() -> None:
    rollout = tiny.random_rollout(0)
    batch = make_batch(rollout, rollout.rewards)
    expected = [rollout.log_probs[task][rollout.mask[task]].sum() for task in range(3)]
    torch.testing.assert_close(log_density(batch.log_probs + 0.0, batch), torch.stack(expected))


def test_without_weight_it_is_maml() -> None:
    rollouts = [tiny.random_rollout(seed) for seed in range(2)]
    plain = MAMLVPG(MAMLVPGConfig(), tiny.POLICY, tiny.tiny_params())
    agent = EMAML(EMAMLConfig(credit_weight=0.0), tiny.POLICY, tiny.tiny_params())
    credited = EMAML(EMAMLConfig(credit_weight=1.0), tiny.POLICY, tiny.tiny_params())
    norms = [each.update(rollouts)["gradient_norm"] for each in (plain, agent, credited)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-12)
    assert norms[2] != pytest.approx(norms[0], rel=0.01)
