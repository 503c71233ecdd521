"""Meta-SGD: its outer gradient, learned step sizes as part of the state, and MAML where all are equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.agents.meta_sgd import PREFIX, MetaSGD, MetaSGDConfig, equal_step_sizes
from metarl.config import AgentConfig, SamplingConfig
from metarl.learning.advantages import Batch
from metarl.types import Params
from support import agent_contract, tiny
from support.agent_contract import meta_batch
from support.learned_agents import assert_resumes_bit_for_bit
from support.meta_gradients import error_of_outer_gradient, inner_gradient, rollouts_of

CONFIG = MetaSGDConfig(inner_lr=0.4, curvature_stride=1)
SMALL = MetaSGDConfig(hidden_sizes=(8,))


def tiny_agent(config: MetaSGDConfig = CONFIG) -> MetaSGD:
    """Return an agent in float64 whose step sizes all differ, some of them negative."""
    theta = tiny.tiny_params()
    drawn = tiny.tiny_params(seed=1)
    return MetaSGD(config, tiny.POLICY, theta | {PREFIX + name: 0.4 + value for name, value in drawn.items()})


def by_hand(theta: Params, own: Sequence[Batch]) -> Params:
    params = {name: theta[name] for name in tiny.POLICY.shapes}
    for batch in own[:-1]:
        slopes, _ = inner_gradient(params, batch)
        params = {name: value - theta[f"inner_lr.{name}"] * slopes[name] for name, value in params.items()}
    return params


@pytest.mark.parametrize("steps", [1, 2])
def test_outer_gradient_is_that_of_central_differences_of_the_loop(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any((value < 0).any() for name, value in tiny_agent().params.items() if PREFIX in name)
    assert error_of_outer_gradient(tiny_agent(), rollouts_of(steps), by_hand, monkeypatch) < 1e-6


@pytest.mark.parametrize("first_order", [False, True])
def test_equal_step_sizes_are_maml(first_order: bool) -> None:
    config = replace(CONFIG, first_order=first_order)
    theta, rollouts = tiny.tiny_params(), rollouts_of()
    ours = MetaSGD(config, tiny.POLICY, theta | equal_step_sizes(theta, 0.4))
    plain = MAMLTRPO(
        MAMLTRPOConfig(inner_lr=0.4, curvature_stride=1, first_order=first_order), tiny.POLICY, theta
    )
    adapted, expected = (agent.adapt(agent.initial_actor(3), rollouts[0]) for agent in (ours, plain))
    assert all(torch.equal(adapted.params[name], expected.params[name]) for name in theta)
    found, wanted = (agent.update(rollouts)["surrogate_before"] for agent in (ours, plain))
    assert found == wanted


def test_agent_starts_as_maml_of_that_seed() -> None:
    ours, plain = (
        config.build(agent_contract.SUITE, seed=3, device=agent_contract.CPU, sampling=SamplingConfig())
        for config in (SMALL, MAMLTRPOConfig(hidden_sizes=(8,)))
    )
    for one, other in zip(meta_batch(ours), meta_batch(plain), strict=True):
        assert torch.equal(one.actions, other.actions)


def test_updating_moves_step_sizes_apart() -> None:
    agent = SMALL.build(agent_contract.SUITE, seed=0, device=agent_contract.CPU, sampling=SamplingConfig())
    metrics = agent.update(meta_batch(agent))
    sizes = [value for name, value in agent.params.items() if name.startswith(PREFIX)]
    assert all(size.std() > 0 for size in sizes)
    assert metrics["inner_lr_std"] == pytest.approx(float(torch.cat([s.flatten() for s in sizes]).std()))


def test_run_that_is_resumed_equals_the_unbroken_one(tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(SMALL, tmp_path)


@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract_with_two_steps(claim: Callable[[AgentConfig], None]) -> None:
    claim(replace(SMALL, adaptation_steps=2))
