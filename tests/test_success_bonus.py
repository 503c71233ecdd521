"""A bonus for success is paid in training and in testing, and stands in every name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.cli.main import main
from metarl.envs.locomotion.suite import HalfCheetahVelConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.rollouts.scripted import play
from metarl.success_bonus import BonusTasks, TensorBonusVectorEnv, with_success_bonus
from metarl.tasks import TaskDistribution
from metarl.training.runs import read_config
from metarl.vector_env import Renderable, TaskVectorEnv, TensorVectorEnv
from support import suite_contract, tiny
from support.tensor_climb import TensorClimbEnv

BASE = PointConfig(horizon=12).build()
PAID = with_success_bonus(BASE, 7.0)


@pytest.fixture
def env() -> Iterator[TaskVectorEnv]:
    env = PAID.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


@pytest.mark.parametrize("claim", suite_contract.SUITE_CLAIMS, ids=lambda claim: claim.__name__)
def test_suite_contract(claim: Callable[[TaskDistribution], None]) -> None:
    claim(PAID)


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], env: TaskVectorEnv
) -> None:
    claim(PAID, env)


def test_step_that_solves_the_task_pays_the_bonus_and_no_other_does(env: TaskVectorEnv) -> None:
    tasks = list(BASE.tasks("test"))[: suite_contract.SLOTS]
    actions = suite_contract.draw_actions(BASE, 12) * 0
    for slot, task in enumerate(tasks[:2]):  # two go straight to their goals
        actions[:, slot] = np.clip(np.array(task.parameters) * 10, -1, 1)
    plain = play(BASE.make_vector_env(suite_contract.SLOTS), tasks, actions)
    paid = play(env, tasks, actions)
    solved = np.asarray(plain.success)
    assert solved.any()
    assert not solved.all()
    np.testing.assert_array_equal(paid.rewards, plain.rewards + 7.0 * solved)
    np.testing.assert_array_equal(paid.observations, plain.observations)


def test_tensors_are_paid_as_arrays_are() -> None:
    env = TensorBonusVectorEnv(TensorClimbEnv(2, horizon=4), 5.0)
    assert isinstance(env, TensorVectorEnv)
    env.set_tasks([tiny.climb(0.0, flag=1.0), tiny.climb(0.0)])
    env.reset_tensors(seeds=[0, 0])
    step = env.step_tensors(torch.ones(2, 1))
    assert step.success is not None
    assert step.success.tolist() == [True, False]
    assert step.rewards.tolist() == [step.rewards[1].item() + 5.0, step.rewards[1].item()]


def test_picture_is_that_of_the_environment(env: TaskVectorEnv) -> None:
    assert isinstance(env, Renderable)
    env.set_tasks(list(BASE.tasks("test"))[:1])
    env.reset(seed=0)
    assert env.render_slot(0).shape[2] == 3


def test_bonus_of_nothing_changes_nothing() -> None:
    assert with_success_bonus(BASE, 0.0) is BASE
    assert isinstance(PAID, BonusTasks)
    assert PAID.name == "point+success7"


def test_suite_that_reports_no_success_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"half-cheetah-vel.*success_bonus must be 0, but it is 3"):
        with_success_bonus(HalfCheetahVelConfig().build(), 3.0)


RUN = ["train", "point", "--horizon", "8", "--iterations", "1", "--sampling.meta-batch-size", "2"]
SHORT = ["--evaluation.every", "0", "--evaluation.adaptation-steps", "1", "--checkpoint.every", "1"]


def test_bonus_stands_in_the_runs_name_and_is_not_compared_with_the_plain_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, *SHORT]) == 0
    assert main([*RUN, *SHORT, "--success-bonus", "1000"]) == 0
    plain, paid = Path("runs/point-maml-trpo-seed0"), Path("runs/point+success1000-maml-trpo-seed0")
    assert read_config(paid).success_bonus == 1000.0
    returns = [np.mean(json.loads((run / "evaluation.json").read_text())["returns"]) for run in (plain, paid)]
    assert returns[0] < 0 < returns[1]
    capsys.readouterr()
    assert main(["compare", str(plain), str(paid)]) == 2
    assert "they differ in the success bonus, 0.0 and 1000.0" in "".join(capsys.readouterr())
