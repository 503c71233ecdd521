"""The guide to agents of one's own: every block of its code is run, as files and as a package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.cli.main import main
from metarl.config import MeasurementConfig
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.record import Evaluation
from metarl.meta_learner import Action, Actor, Inputs, MetaLearner, Trial
from metarl.plugins.suite_check import examine
from metarl.plugins.suite_files import file_suite
from metarl.training import runs
from metarl.training.evaluation_reader import read_evaluation
from metarl.types import Params, Rollout

BLOCK = re.compile(r"^```\w+\n# file: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGE = ("pyproject.toml", "doors.py", "remember.py", "my_doors.py")


@pytest.fixture(scope="module")
def guide(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the guide's files."""
    folder = tmp_path_factory.mktemp("guide")
    for name, text in BLOCK.findall((root / "docs" / "your_own_agent.md").read_text()):
        (folder / name).write_text(text)
    return folder


def test_guide_has_all_files(guide: Path) -> None:
    assert {path.name for path in guide.iterdir()} == {"sign_maml.py", *PACKAGE}


def test_twenty_lines_are_enough(guide: Path) -> None:
    _, _, body = (guide / "sign_maml.py").read_text().partition("\n\n\n")
    lines = [line for line in body.splitlines() if line.strip() and not line.strip().startswith('"""')]
    assert len(lines) <= 20


@pytest.mark.parametrize(
    ("agent", "suite"),
    [
        ("sign_maml.py:SignMAMLConfig", None),
        ("remember.py:RememberConfig", "doors.py:doors"),
        ("remember.py:RememberConfig", None),
    ],
)
def test_agent_of_the_guide_keeps_every_promise(
    guide: Path, agent: str, suite: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--suite", f"{guide / suite}"] if suite else []
    assert main(["check", "--agent", f"{guide / agent}", *options]) == 0
    assert "keeps every promise that was tried.\n" in capsys.readouterr().out


def test_suite_of_the_guide_keeps_every_promise(guide: Path) -> None:
    findings = examine(file_suite(f"{guide / 'doors.py'}:doors").build())
    assert not findings.faults
    assert not findings.doubts


def trained(guide: Path, folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """Train in a folder, and return what was measured on held-out tasks."""
    monkeypatch.chdir(folder)
    words = [str(guide / word) if ".py:" in word else word for word in words]
    assert (
        main(["train", *words, "--name", "run", "--evaluation.every", "0", "--checkpoint.every", "50"]) == 0
    )
    return read_evaluation(folder / "runs" / "run").evaluation


def test_gradient_agent_of_the_guide_learns_to_adapt(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["point", "--agent", "sign_maml.py:SignMAMLConfig", "--horizon", "10", "--iterations", "40"]
    measured = trained(guide, tmp_path, words, monkeypatch)
    before, after = measured.returns.mean(axis=(0, 2))[:2]
    assert after > before + 0.5


class Forgetful:
    """The policy with its memory wiped before each episode."""

    def __init__(self, actor: Actor) -> None:
        self.actor, self.device = actor, actor.device
        self.initial_memory = actor.initial_memory

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        kept = ~inputs.episode_starts
        blank = inputs._replace(
            previous_actions=inputs.previous_actions * kept.unsqueeze(-1),
            previous_rewards=inputs.previous_rewards * kept,
        )
        wiped = {name: value * kept.unsqueeze(-1) for name, value in memory.items()}
        return self.actor.act(blank, wiped, generator)


class ForgetfulAgent:
    """A trained agent without what it remembers."""

    trial: Trial = "sequential"
    adaptation_steps = 1

    def __init__(self, agent: MetaLearner) -> None:
        self.agent, self.device = agent, agent.device

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> Forgetful:
        return Forgetful(self.agent.initial_actor(num_tasks, rng))

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        return actor


def test_recurrent_agent_of_the_guide_remembers_what_it_saw(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ["--iterations", "150", "--evaluation.adaptation-steps", "1", "--evaluation.deterministic"]
    words = ["--suite", "doors.py:doors", "--agent", "remember.py:RememberConfig", *how]
    measured = trained(guide, tmp_path, words, monkeypatch)
    assert measured.successes is not None
    first, second = measured.successes.mean(axis=(0, 2))
    assert first == pytest.approx(0.5, abs=0.15)
    assert second == 1.0
    experiment = runs.open_trained(Path("runs") / "run", print)
    forgets = evaluate(
        ForgetfulAgent(experiment.agent),  # type: ignore[arg-type]  # it is only evaluated
        experiment.make_env(),
        experiment.suite.tasks("test"),
        MeasurementConfig(episodes=10, deterministic=True),
        adaptation_steps=1,
        horizon=experiment.suite.horizon,
        rng=np.random.default_rng(0),
    )
    assert forgets.successes is not None
    assert forgets.successes.mean(axis=(0, 2)).tolist() == pytest.approx([0.5, 0.5], abs=0.15)


COMMANDS = """
import sys
from metarl.cli.main import main
sys.exit(any(main(line.split()) for line in sys.argv[1:]))
"""


def test_package_of_the_guide_is_listed_checked_trained_and_resumed(guide: Path, tmp_path: Path) -> None:
    package, target = tmp_path / "my-doors", tmp_path / "target"
    package.mkdir()
    for name in PACKAGE:
        (package / name).write_text((guide / name).read_text())
    pip = ("install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", *pip, str(package)], check=True, timeout=300)
    short = "--iterations 1 --evaluation.every 0 --evaluation.episodes 1"
    lines = (
        "list",
        "check --agent remember --suite my-doors",
        f"train my-doors {short}",
        "train --resume runs/my-doors-remember-seed0 --iterations 2",
        "knock 2",
    )
    done = subprocess.run(  # one process for all commands: each would import PyTorch anew
        [sys.executable, "-c", COMMANDS, *lines],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A GRU that remembers the episodes of a trial." in done.stdout
    assert "Doors that have to be tried and remembered" in done.stdout
    assert "remember keeps every promise that was tried.\n" in done.stdout
    assert "Training remember on doors: 2 iterations (going on after 1)" in done.stdout
    assert done.stdout.endswith("Knocked at 2.\n")
