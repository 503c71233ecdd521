"""Meta-LSTM: its outer gradient against a loop over tasks, its memory, and its start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.agents.meta_lstm import MetaLSTM, MetaLSTMConfig
from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import MetarlError
from metarl.functional.params import flatten, unflatten
from metarl.learning.advantages import Batch
from metarl.learning.lstm_optimizer import GATES, LSTMOptimizer, log_scaled
from metarl.types import Params
from support import agent_contract, tiny
from support.agent_contract import meta_batch
from support.learned_agents import assert_resumes_bit_for_bit
from support.meta_gradients import batches_of, error_of_outer_gradient, inner_gradient, one_task, rollouts_of

CONFIG = MetaLSTMConfig(inner_lr=0.4, lstm_size=3, curvature_stride=1)
SMALL = MetaLSTMConfig(hidden_sizes=(8,), lstm_size=4)
NAMES = tuple(tiny.POLICY.shapes)


def tiny_agent(config: MetaLSTMConfig = CONFIG) -> MetaLSTM:
    """Return an agent in float64 whose gates all differ."""
    generator = torch.Generator().manual_seed(2)
    weights = LSTMOptimizer(hidden_size=3).initial_weights(
        generator, forget=0.9, inner_lr=0.4, dtype=torch.float64
    )
    apart = {
        name: value + 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in weights.items()
    }
    return MetaLSTM(config, tiny.POLICY, tiny.tiny_params() | apart)


def steps_by_hand(theta: Params, slopes: Sequence[torch.Tensor], losses: Sequence[torch.Tensor]) -> Params:
    """Take the steps of one task, given its gradients and losses; coordinates one beside the other."""
    value = flatten({name: theta[name] for name in NAMES})
    hidden, cell = (torch.zeros(len(value), 3, dtype=value.dtype) for _ in range(2))
    forget, take = (torch.zeros_like(value) for _ in range(2))
    read = torch.cat([theta["lstm.gradient"], theta["lstm.loss"], theta["lstm.hidden"]])
    for slope, loss in zip(slopes, losses, strict=True):
        told = log_scaled(loss).expand(len(value), 2)
        parts = torch.cat([log_scaled(slope), told, hidden], dim=1) @ read + theta["lstm.bias"]
        cell = parts[:, 3:6].sigmoid() * cell + parts[:, :3].sigmoid() * parts[:, 9:].tanh()
        hidden = parts[:, 6:9].sigmoid() * cell.tanh()
        gates = []
        for index, before in enumerate((forget, take)):
            logit = hidden @ theta["gates.hidden"][:, index] + theta["gates.bias"][index]
            logit = logit + theta["gates.parameter"][index] * value + theta["gates.previous"][index] * before
            gates.append(logit.sigmoid())
        forget, take = gates
        value = forget * value - take * slope
    return unflatten(value, {name: theta[name] for name in NAMES})


def slopes_of(theta: Params, own: Sequence[Batch]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the gradients and losses that a task's inner steps meet on their way."""
    slopes: list[torch.Tensor] = []
    losses: list[torch.Tensor] = []
    for batch in own[:-1]:
        gradients, loss = inner_gradient(steps_by_hand(theta, slopes, losses), batch)
        slopes.append(flatten(gradients))
        losses.append(loss)
    return slopes, losses


@pytest.mark.parametrize("steps", [1, 2])
def test_whole_outer_gradient_is_that_of_central_differences_of_the_loop(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_hand(theta: Params, own: Sequence[Batch]) -> Params:
        return steps_by_hand(theta, *slopes_of(theta, own))

    agent = tiny_agent(replace(CONFIG, first_order=False))
    # the log scaling bends sharply at small gradients: the points lie near each other
    assert error_of_outer_gradient(agent, rollouts_of(steps), by_hand, monkeypatch, h=1e-6) < 1e-6


@pytest.mark.parametrize("steps", [1, 2])
def test_papers_outer_gradient_takes_losses_and_gradients_for_constants(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tiny_agent(replace(CONFIG, first_order=True))
    theta, rollouts = agent.params, rollouts_of(steps)
    batches = batches_of(rollouts, CONFIG)
    tasks = [[one_task(batch, task) for batch in batches] for task in range(3)]
    constants = {float(own[-1].actions.sum()): slopes_of(theta, own) for own in tasks}

    def by_hand(given: Params, own: Sequence[Batch]) -> Params:
        return steps_by_hand(given, *constants[float(own[-1].actions.sum())])

    assert error_of_outer_gradient(agent, rollouts, by_hand, monkeypatch) < 1e-6


def test_adapting_twice_takes_the_steps_of_the_loop() -> None:
    agent, rollouts = tiny_agent(), rollouts_of(2)
    actor = agent.initial_actor(3)
    for rollout in rollouts[:2]:
        actor = agent.adapt(actor, rollout)
    for task in range(3):
        own = [one_task(batch, task) for batch in batches_of(rollouts, CONFIG)]
        expected = steps_by_hand(agent.params, *slopes_of(agent.params, own))
        for name, value in expected.items():
            torch.testing.assert_close(actor.params[name][task], value, rtol=1e-9, atol=1e-11)


def test_memory_is_each_tasks_own_and_blank_at_the_start() -> None:
    agent = tiny_agent()
    actor = agent.initial_actor(3)
    assert not actor.inner_state[GATES].any()
    adapted = agent.adapt(actor, tiny.random_rollout(0))
    assert set(adapted.params) == set(NAMES)
    after = adapted.inner_state[GATES]
    assert (after > 0).all()
    assert not torch.equal(after[0], after[1])
    assert set(agent.state().tensors) == set(agent.params)


def test_gates_start_at_the_settings() -> None:
    agent = MetaLSTMConfig(inner_lr=0.25, forget=0.98).build(
        agent_contract.SUITE, seed=0, device=agent_contract.CPU, sampling=SamplingConfig()
    )
    assert agent.params["gates.bias"].sigmoid().tolist() == pytest.approx([0.98, 0.25], rel=1e-5)


@pytest.mark.parametrize("setting", [{"inner_lr": 1.0}, {"forget": 1.0}, {"forget": 0.0}, {"lstm_size": 0}])
def test_gate_or_size_out_of_range_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(MetarlError, match=next(iter(setting))):
        replace(CONFIG, **setting)


def test_updating_trains_the_lstm_and_its_first_cell_state() -> None:
    agent = SMALL.build(agent_contract.SUITE, seed=0, device=agent_contract.CPU, sampling=SamplingConfig())
    before = agent.params
    assert agent.update(meta_batch(agent))["step_accepted"] == 1.0
    # at the first step nothing is remembered yet, so these two are read from the second step on
    unread = {"lstm.hidden", "gates.previous"}
    assert {name for name in before if torch.equal(agent.params[name], before[name])} == unread


def test_run_that_is_resumed_equals_the_unbroken_one(tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(SMALL, tmp_path)


@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract_with_two_steps(claim: Callable[[AgentConfig], None]) -> None:
    claim(replace(SMALL, adaptation_steps=2))
