"""Reptile: its outer step against a loop of plain gradient descent, and that no meta-gradient is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import agent_contract
import tiny
from learned_agents import assert_resumes_bit_for_bit
from meta_gradients import batches_of, inner_gradient, one_task, rollouts_of
from metarl.agents.reptile import Reptile, ReptileConfig, reptile_step
from metarl.config import AgentConfig
from metarl.errors import MetarlError
from metarl.params import stack

CONFIG = ReptileConfig(inner_lr=0.4, outer_lr=0.3)
SMALL = ReptileConfig(hidden_sizes=(8,))


def tiny_agent(config: ReptileConfig = CONFIG) -> Reptile:
    return Reptile(config, tiny.POLICY, tiny.tiny_params())


@pytest.mark.parametrize("steps", [1, 3])
def test_update_goes_towards_the_mean_of_what_each_task_alone_became(steps: int) -> None:
    agent, rollouts = tiny_agent(), rollouts_of(steps)
    theta = tiny.tiny_params()
    ends = []
    for task in range(3):
        params = theta
        for batch in batches_of(rollouts, CONFIG):  # one step from every rollout, the last one too
            slopes, _ = inner_gradient(params, one_task(batch, task))
            params = {name: value - 0.4 * slopes[name] for name, value in params.items()}
        ends.append(params)
    agent.update(rollouts)
    for name, value in theta.items():
        mean = sum(end[name] for end in ends) / 3
        torch.testing.assert_close(agent.params[name], 0.7 * value + 0.3 * mean, rtol=1e-10, atol=1e-12)


def test_step_by_hand() -> None:
    theta = {"w": torch.tensor([1.0, 2.0])}
    adapted = {"w": torch.tensor([[2.0, 2.0], [4.0, 0.0]])}
    assert reptile_step(theta, adapted, 0.5)["w"].tolist() == [2.0, 1.5]


def test_whole_step_goes_all_the_way() -> None:
    theta, adapted = tiny.tiny_params(), stack(tiny.tiny_params(seed=1), 2)
    moved = reptile_step(theta, adapted, 1.0)
    for name, value in tiny.tiny_params(seed=1).items():
        torch.testing.assert_close(moved[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("setting", [{"outer_lr": 0.0}, {"first_order": False}])
def test_setting_that_makes_no_sense_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(MetarlError, match=next(iter(setting))):
        replace(CONFIG, **setting)


def test_run_that_is_resumed_equals_the_unbroken_one(tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(SMALL, tmp_path)


@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(claim: Callable[[AgentConfig], None]) -> None:
    claim(replace(SMALL, adaptation_steps=2))
