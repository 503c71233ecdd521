"""The page about robots: its commands and its code run, one after another."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import metarl
from metarl.cli.main import main
from metarl.deploy.settings import SafetySettings
from metarl.meta_learner import inputs_at_start
from metarl.training.adapted_agent import AdaptedAgent

BLOCK = re.compile(r"^```python\n# file: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^\$ metarl (.+)$", re.MULTILINE)
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
HAS_FETCH = importlib.util.find_spec("gymnasium_robotics") is not None
FETCH = re.compile(r"fetch|my-arm")
BRIEF = {
    "export": "",
    "train": "--iterations 1 --sampling.meta-batch-size 2 --sampling.episodes 1 "
    "--evaluation.tasks 1 --evaluation.adaptation-steps 1 --evaluation.episodes 1 --sampling.workers 1",
    "evaluate": "--tasks 2 --episodes 2 --adaptation-episodes 2",
}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "robot.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def place(root: Path, page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's files, in which its commands have run."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "results").symlink_to(root / "results")
    for name, text in BLOCK.findall(page):
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in COMMANDS.findall(page):
            command, *rest = shlex.split(words)
            if (command == "export" and not HAS_ONNX) or (FETCH.search(words) and not HAS_FETCH):
                continue
            short = "" if {"--resume", "--adaptation-episodes"} & {*rest} else "--adaptation-episodes 2"
            brief = BRIEF.get(command, f"--episodes 4 {short}" if short else "")
            assert main([command, *rest, *shlex.split(brief)]) == 0, words
    return folder


def test_commands_leave_what_the_page_says(place: Path) -> None:
    session = place / "runs" / "table-make_env"
    assert {path.name for path in session.iterdir()} >= {
        *("config.json", "checkpoints", "adaptation.json", "episodes", "decisions.json"),
        *("adapted.safetensors", "evaluations"),
    }
    assert len(list((session / "episodes").iterdir())) == 24
    assert isinstance(metarl.load(session).agent, AdaptedAgent)
    for name, episodes in (("arm", 4), ("pendulum", 20)):
        assert len(list((place / "runs" / name / "episodes").iterdir())) == episodes


@pytest.mark.parametrize("name", ["adapt_it.py", "rehearsal.py"])
def test_programs_run(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    runpy.run_path(str(place / name))
    assert capsys.readouterr().out


@pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")
def test_exported_policy_runs_without_pytorch(place: Path) -> None:
    """The program prints the returns of PyTorch's policy, in a process that cannot import it."""
    for name, run in (("memory", "memory"), ("adapted", "memory-make_env")):
        blocked = f"sys.argv[:] = ['', '{name}.onnx']; sys.modules.update(torch=None, metarl=None)"
        program = f"import runpy, sys; {blocked}; runpy.run_path('run_onnx.py')"
        printed = subprocess.run(
            (sys.executable, "-c", program), cwd=place, check=True, capture_output=True, text=True
        )
        actor = metarl.load(place / "runs" / run).agent.initial_actor(1, np.random.default_rng(0))
        memory, inputs = actor.initial_memory(1), inputs_at_start(torch.zeros(1, 1, 2), 2)
        env, returns = runpy.run_path(str(place / "my_robot.py"))["make_env"](), []
        for _ in range(2):
            observation, _ = env.reset()
            returns.append(0.0)
            for step in range(20):
                seen = torch.from_numpy(observation).float().view(1, 1, 2)
                starts = torch.tensor([[step == 0]])
                action, memory = actor.act(
                    inputs._replace(observations=seen, episode_starts=starts), memory, None
                )
                observation, reward, *_ = env.step(action.actions.flatten().clamp(-0.1, 0.1).numpy())
                paid = torch.full((1, 1), reward)
                inputs = inputs._replace(previous_actions=action.actions, previous_rewards=paid)
                returns[-1] += reward
        found = [float(line.rpartition(" ")[2]) for line in printed.stdout.splitlines()]
        assert found == pytest.approx(returns, abs=0.006)


@pytest.mark.skipif(not HAS_FETCH, reason="gymnasium-robotics is not installed")
def test_arm_of_gymnasium_robotics_is_adapted_to_and_exported_with_the_sizes_that_the_page_says(
    place: Path, page: str
) -> None:
    session = metarl.load(place / "runs" / "my-arm")
    observations, actions = session.suite.observation_space.shape[0], session.suite.action_space.shape[0]
    assert f"takes\n{observations} numbers and gives {actions}" in page
    assert isinstance(session.agent, AdaptedAgent)
    if HAS_ONNX:
        import onnxruntime  # noqa: PLC0415  # an extra

        policy = onnxruntime.InferenceSession(place / "my-arm.onnx")
        assert policy.get_inputs()[0].shape == [observations]
        assert policy.get_outputs()[0].shape == [actions]


def test_settings_of_the_table_are_those_of_safety(page: str) -> None:
    table = page.split("| `--safety.` |")[1].split("\n\n")[0]
    named = {name.replace("-", "_") for name in re.findall(r"`([a-z-]+)`", table)}
    assert named == set(SafetySettings.__dataclass_fields__)
