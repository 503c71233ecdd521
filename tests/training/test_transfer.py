"""Trained agents on other suites than their own, and on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from metarl.cli.commands.evaluate_options import parse
from metarl.cli.main import main
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.plugins.suite_files import file_suite
from metarl.training import runs
from metarl.training.transfer import differences, transfer, with_setting
from support.robots import FAMILIES, untrained_run

RAILS = """
import gymnasium
import numpy as np

from metarl.envs import from_gymnasium


class Rails(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-0.5, 0.5, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2), {}

    def step(self, action):
        return np.zeros(2), float(action.sum() - self.slope), False, False, {}


def tilt(env, slope):
    env.slope = slope


rails = from_gymnasium(Rails, sample=lambda rng: rng.uniform(), apply=tilt, horizon=5, name="rails")
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return untrained_run(tmp_path / "run")


def test_every_difference_from_the_training_is_told(tmp_path: Path) -> None:
    (tmp_path / "rails.py").write_text(RAILS)
    suite = file_suite(f"{tmp_path / 'rails.py'}:rails").build()
    told = differences(PointConfig().build(), suite)
    assert [sentence.split(" differ")[0] for sentence in told] == [
        "The suite",
        "The horizon",
        "The bounds of observations",
        "The way of actions",
        "The report of success",
    ]
    assert "-inf to inf in training, -2 to 2 here" in told[2]


def test_the_same_suite_differs_in_nothing() -> None:
    assert not differences(PointConfig().build(), PointConfig().build())


def test_agent_is_that_of_its_training_and_tasks_are_those_of_the_other_suite(run: Path) -> None:
    experiment = runs.open_trained(run, pytest.fail)
    agent = experiment.agent
    told = transfer(experiment, with_setting(PointConfig(terminate_at_goal=True), "horizon", 7))
    assert told == ["The horizon differs: 20 in training, 7 here."]
    assert experiment.agent is agent
    assert experiment.suite.horizon == 7
    assert experiment.config.suite == PointConfig(terminate_at_goal=True, horizon=7)


def test_other_spaces_are_refused(run: Path) -> None:
    with pytest.raises(MetarlError, match="Expected observations of 2 numbers, as point has, got 4"):
        transfer(runs.open_trained(run, pytest.fail), CartPoleConfig())


def test_evaluate_takes_a_file_and_says_what_differs(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    (run.parent / "rails.py").write_text(RAILS)
    brief = ("--tasks", "2", "--episodes", "2", "--adaptation-steps", "1", "--adaptation-episodes", "2")
    assert main(["evaluate", "run", "--suite", "rails.py:rails", "--workers", "1", *brief]) == 0
    assert "The horizon differs: 20 in training, 5 here." in capsys.readouterr().out
    (written,) = (run / "evaluations").glob("*.json")
    assert written.name == "iteration1-seed0-rails-horizon5.json"
    assert "The suite differs: point in training, rails here." in json.loads(written.read_text())["notices"]


def test_evaluate_takes_the_settings_of_the_other_suite(run: Path) -> None:
    brief = ("--tasks", "1", "--episodes", "1", "--adaptation-steps", "0", "--horizon", "7")
    assert main(["evaluate", str(run), "--suite", "point", "--terminate-at-goal", *brief]) == 0
    written = run / "evaluations" / "iteration1-seed0-point-horizon7.json"
    assert json.loads(written.read_text())["config"]["suite"]["terminate_at_goal"] is True


@pytest.mark.parametrize(("words", "stages"), [((), 3), (("--adaptation-steps", "3"), 4)])
def test_agent_with_a_memory_is_measured_over_the_episodes_of_its_run(
    tmp_path: Path, words: tuple[str, ...], stages: int
) -> None:
    run = untrained_run(tmp_path / "run", FAMILIES["rl2"])
    assert main(["evaluate", str(run), "--tasks", "1", "--episodes", "1", *words]) == 0
    written = run / "evaluations" / "iteration1-seed0.json"
    assert np.shape(json.loads(written.read_text())["returns"]) == (1, stages, 1)


@pytest.mark.parametrize(
    ("words", "family", "tasks"),
    [
        ((), "reach-v3", ()),
        (("--task", "push-v3"), "push-v3", ()),
        (("--task", "push-v3/test/03", "push-v3/test/07"), "push-v3", ("push-v3/test/03", "push-v3/test/07")),
    ],
)
def test_task_of_ml1_chooses_the_family(words: tuple[str, ...], family: str, tasks: tuple[str, ...]) -> None:
    options, suite = parse(["run", "--suite", "ml1", *words, "--goal-seed", "7"])
    assert suite == ML1Config(task=family, goal_seed=7)
    assert options.task == tasks


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("push-v4",), "no Meta-World task called 'push-v4'; did you mean 'push-v3'?"),
        (("push-v3", "reach-v3"), "Expected tasks of one family after --task, got push-v3, reach-v3."),
    ],
)
def test_task_of_ml1_is_one_known_family(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(MetarlError, match=re.escape(said)):
        parse(["run", "--suite", "ml1", "--task", *words])


@pytest.mark.parametrize("words", [("--goal-seed", "7"), ("--suite", "point", "--goal-seed", "7")])
def test_setting_that_no_suite_has_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["run", *words])
    assert "Unrecognized options: --goal-seed" in capsys.readouterr().err


def test_horizon_of_a_suite_without_one_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    (run.parent / "rails.py").write_text(RAILS)
    assert main(["evaluate", "run", "--suite", "rails.py:rails", "--horizon", "9"]) == 2
    assert "Expected a suite with a setting horizon" in capsys.readouterr().err
