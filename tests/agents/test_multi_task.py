"""The multi-task baseline: trained without adapting, fine-tuned by the ordinary inner step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.agents.multi_task import MultiTaskConfig
from metarl.errors import MetarlError
from metarl.learning.advantages import Batch
from metarl.storage.metrics import read_metrics
from metarl.training import runs
from metarl.types import Params
from support import agent_contract, tiny
from support.learned_agents import assert_resumes_bit_for_bit
from support.meta_gradients import error_of_outer_gradient, rollouts_of
from support.programs import HORIZON, point_config

CONFIG = MultiTaskConfig(inner_lr=0.4, curvature_stride=1)
SMALL = MultiTaskConfig(hidden_sizes=(8,))


def tiny_agent() -> MAMLTRPO:
    return MAMLTRPO(CONFIG, tiny.POLICY, tiny.tiny_params())


def test_outer_gradient_is_the_mean_policy_gradient_of_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def unadapted(theta: Params, own: Sequence[Batch]) -> Params:
        assert len(own) == 1
        return theta

    assert error_of_outer_gradient(tiny_agent(), rollouts_of(0), unadapted, monkeypatch) < 1e-6


def test_meta_iteration_has_one_rollout_and_no_adaptation() -> None:
    assert len(agent_contract.meta_batch(agent_contract.build(SMALL))) == 1
    with pytest.raises(MetarlError, match=r"adaptation_steps must lie in 0\.\.0"):
        replace(CONFIG, adaptation_steps=1)


def test_it_is_fine_tuned_by_mamls_step() -> None:
    ours = tiny_agent()
    plain = MAMLTRPO(MAMLTRPOConfig(inner_lr=0.4), tiny.POLICY, tiny.tiny_params())
    one, other = (agent.adapt(agent.initial_actor(3), tiny.random_rollout(0)) for agent in (ours, plain))
    assert all(torch.equal(one.params[name], value) for name, value in other.params.items())


def test_learning_curve_shows_the_return_after_one_step_all_the_same(tmp_path: Path) -> None:
    experiment = runs.start(point_config(agent=SMALL), tmp_path)
    experiment.run()
    rows = read_metrics(experiment.folder)
    assert all("test/return/step_1" in rows[index] for index in (0, 2))
    assert [row["env_steps"] for row in rows] == [n * 4 * 2 * HORIZON for n in range(4)]


def test_run_that_is_resumed_equals_the_unbroken_one(tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(SMALL, tmp_path)
