"""Reptile: its outer step against a loop of plain gradient descent, and that no meta-gradient is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.agents.reptile import Reptile, ReptileConfig, distance
from metarl.config import AgentConfig
from metarl.errors import MetarlError
from metarl.functional.params import gradient, requires_grad
from support import agent_contract, tiny
from support.learned_agents import assert_resumes_bit_for_bit
from support.meta_gradients import batches_of, inner_gradient, one_task, rollouts_of

CONFIG = ReptileConfig(inner_lr=0.4, outer_lr=0.3)
SMALL = ReptileConfig(hidden_sizes=(8,))
ADAM = replace(SMALL, outer_optimizer="adam", outer_lr=0.01)


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


def test_distance_and_its_slope_by_hand() -> None:
    theta = requires_grad({"w": torch.tensor([1.0, 2.0])})
    adapted = {"w": torch.tensor([[2.0, 2.0], [4.0, 0.0]])}
    found = distance(theta, adapted)
    assert float(found.detach()) == 0.5 * (1 + (9 + 4)) / 2
    assert gradient(found, theta)["w"].tolist() == [1.0 - 3.0, 2.0 - 1.0]


def test_whole_step_goes_all_the_way() -> None:
    agent, rollouts = tiny_agent(replace(CONFIG, outer_lr=1.0)), rollouts_of(0)
    expected = agent.adapt(agent.initial_actor(3), rollouts[0])
    agent.update(rollouts)
    for name, value in expected.params.items():
        torch.testing.assert_close(agent.params[name], value.mean(dim=0), rtol=1e-12, atol=1e-12)


def test_first_step_of_adam_goes_towards_the_adapted_parameters_by_its_rate_everywhere() -> None:
    plain, adam = tiny_agent(), tiny_agent(replace(CONFIG, outer_optimizer="adam", outer_lr=1e-3))
    theta = tiny.tiny_params()
    for agent in (plain, adam):
        agent.update(rollouts_of())
    for name, value in theta.items():
        direction = (plain.params[name] - value).sign()
        torch.testing.assert_close(adam.params[name] - value, 1e-3 * direction, rtol=1e-3, atol=0)


@pytest.mark.parametrize("setting", [{"outer_lr": 0.0}, {"first_order": False}])
def test_setting_that_makes_no_sense_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(MetarlError, match=next(iter(setting))):
        replace(CONFIG, **setting)


def test_run_that_is_resumed_equals_the_unbroken_one(tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(ADAM, tmp_path)


@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract_with_adam(claim: Callable[[AgentConfig], None]) -> None:
    claim(ADAM)
