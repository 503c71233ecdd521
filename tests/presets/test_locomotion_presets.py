"""Presets of the locomotion suites: the papers' settings, the command line, and one iteration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.cli.main import main
from metarl.config import ExperimentConfig, SamplingConfig, to_json
from metarl.envs.locomotion.dynamics import DynamicsConfig
from metarl.plugins import registry
from metarl.training.meta_iteration import meta_iteration

NAMES = (
    "ant-dir",
    "ant-goal",
    "ant-vel",
    "dynamics",
    "half-cheetah-dir",
    "half-cheetah-vel",
    "hopper-rand-params",
    "humanoid-dir",
    "walker2d-rand-params",
    "walker2d-vel",
)


@pytest.mark.parametrize("name", NAMES)
def test_preset_has_the_papers_episodes_and_survives_json(name: str) -> None:
    config = registry.preset(name)()
    assert config.suite.kind == name
    half_cheetah = name.startswith("half-cheetah")
    assert config.sampling.meta_batch_size == (10 if half_cheetah else 40)
    assert config.sampling.episodes == 20
    assert config.suite.build().horizon == (100 if half_cheetah else 200)
    assert registry.config_from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", ["half-cheetah-vel", "humanoid-dir", "hopper-rand-params"])
def test_agent_of_a_preset_learns_from_an_iteration(name: str) -> None:
    config = registry.preset(name)()
    suite = config.suite.build()
    agent = config.agent.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    rng = np.random.default_rng(0)
    env = suite.make_vector_env(4, num_workers=1)
    done = meta_iteration(agent, env, suite.sample(2, rng), episodes=2, horizon=200, rng=rng)
    env.close()
    assert all(np.isfinite(value) for value in done.metrics.values())
    assert len(done.rollouts) == 2
    assert not torch.equal(done.rollouts[0].observations, done.rollouts[1].observations)


def test_what_varies_is_told_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[ExperimentConfig] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metarl.training.runs.start", lambda config, root: started.append(config))
    monkeypatch.setattr("metarl.cli.commands.training.train", lambda experiment, new: None)
    vary = ("body_mass:torso:x0.5..2", "opt.gravity:z:-12..-7")
    options = ("--env", "Ant-v5", "--vary", *vary, "--test-range", "out", "--horizon", "50")
    assert main(["train", "dynamics", *options]) == 0
    assert started[0].suite == DynamicsConfig(env="Ant-v5", vary=vary, test_range="out", horizon=50)


def test_wrong_name_on_the_command_line_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "dynamics", "--vary", "body_mass:torzo:x0.5..2"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no body of HalfCheetah-v5 called 'torzo'; did you mean 'torso'?" in said
    assert "Traceback" not in said
