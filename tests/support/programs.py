"""Runs of the command line in processes that may be killed, and how two runs are compared.

A process is forked from a server that has imported everything, so that starting one costs little; and its
figures are empty, which would take half its time.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import pytest
import torch

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.cli.main import main
from metarl.config import EvaluationConfig, ExperimentConfig, SamplingConfig, construct
from metarl.envs.toy.point import PointConfig
from metarl.storage.checkpoints import load
from support import figures, replay_agent

HORIZON = 10
"""Steps of an episode of the runs on ``point``: the fewest for which every kind of success is told."""
POINT = (
    *("train", "point", "--name", "it", "--iterations", "8", "--horizon", str(HORIZON)),
    *("--sampling.meta-batch-size", "4", "--sampling.episodes", "2", "--checkpoint.every", "2"),
    *("--evaluation.every", "4", "--evaluation.tasks", "4", "--evaluation.adaptation-steps", "2"),
    *("--evaluation.episodes", "2", "--evaluation.adaptation-episodes", "2"),
    *("--agent.hidden-sizes", "8", "8"),
)
ML1 = (
    *("train", "ml1", "--name", "it", "--iterations", "3", "--horizon", "10"),
    *("--sampling.meta-batch-size", "2", "--sampling.episodes", "2"),
    *("--evaluation.every", "2", "--evaluation.tasks", "2", "--evaluation.adaptation-steps", "1"),
    *("--evaluation.episodes", "2", "--evaluation.adaptation-episodes", "2"),
)
REPLAY = (
    *("train", "point", "--agent", replay_agent.KIND, "--name", "it", "--iterations", "14"),
    *("--horizon", "20", "--sampling.meta-batch-size", "2", "--sampling.episodes", "1"),
    *("--checkpoint.every", "1", "--agent.hidden-sizes", "8", "--evaluation.every", "7"),
    *("--evaluation.tasks", "2", "--evaluation.adaptation-steps", "1"),
    *("--evaluation.episodes", "1", "--evaluation.adaptation-episodes", "1"),
)
"""Fourteen segments' worth of a replay buffer that holds ten."""
RESUME = ("train", "--resume", "runs/it")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "pytest",
        "metarl.cli.main",
        "metarl.cli.commands.train",
        "metarl.cli.commands.training",
        "metarl.presets.toy",
        "tyro._backends._tyro_backend",
        "typeguard",
        "metarl.presets.manipulation",
        "metarl.envs.metaworld.suite",
    ]
)


class Preparation(Protocol):
    """What a process does before it runs the program."""

    def set(self) -> None:
        """Do it."""


@dataclass(frozen=True)
class OtherVersion:
    """Pretends that a distribution has another version."""

    name: str
    version: str

    def set(self) -> None:
        """Replace what the interpreter tells of it."""
        told = importlib.metadata.version
        importlib.metadata.version = lambda name: self.version if name == self.name else told(name)


@dataclass(frozen=True)
class Trap:
    """Sends the process a signal when a function is called for the n-th time."""

    function: str
    """``"module:Class.method"``."""
    call: int
    number: int = signal.SIGKILL

    def set(self) -> None:
        """Replace the function by one that counts its calls."""
        module, _, path = self.function.partition(":")
        *owners, name = path.split(".")
        owner: object = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        original: Callable[..., object] = getattr(owner, name)
        calls = 0

        def counted(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == self.call:
                Path("trapped").write_text(str(time.process_time()))
                os.kill(os.getpid(), self.number)
            return original(*arguments, **named)

        setattr(owner, name, counted)


def train_point(folder: Path) -> Path:
    """Train for an iteration on ``point`` in a folder, and return the run's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*POINT, "--iterations", "1"]) == 0
    return folder / "runs" / "it"


def point_config(**changes: object) -> ExperimentConfig:
    """Return a tiny run on ``point``, with some settings of its own."""
    settings: dict[str, object] = {
        "suite": PointConfig(horizon=HORIZON),
        "agent": MAMLTRPOConfig(hidden_sizes=(8,)),
        "name": "it",
        "iterations": 3,
        "sampling": SamplingConfig(meta_batch_size=4, episodes=2),
        "evaluation": EvaluationConfig(
            every=2, tasks=3, episodes=2, adaptation_episodes=2, adaptation_steps=2
        ),
    }
    return construct(ExperimentConfig, {**settings, **changes})


def start(
    folder: Path,
    arguments: Sequence[str],
    prepared: Preparation | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> ForkServerProcess:
    """Start ``metarl`` in a folder; what it prints goes to ``output`` and ``errors`` there."""
    process = _context.Process(
        target=_program, args=(folder, arguments, prepared, dict(variables)), daemon=True
    )
    process.start()
    return process


def finish(process: ForkServerProcess) -> int:
    """Wait for a process and return its exit code, minus the signal that ended it."""
    process.join(300)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    assert code is not None, "the process did not end"
    return code


def run(folder: Path, arguments: Sequence[str], trap: Trap | None = None) -> int:
    """Run ``metarl`` in a folder to its end."""
    return finish(start(folder, arguments, trap))


def resume(folder: Path) -> None:
    """Go on with the folder's run to its end."""
    assert run(folder, RESUME) == 0, errors(folder)


def trapped(folder: Path) -> float:
    """Return the processor time, in seconds, that the last program had taken when its trap went off."""
    return float((folder / "trapped").read_text())


def output(folder: Path) -> str:
    """Return what the last program printed."""
    return (folder / "output").read_text()


def errors(folder: Path) -> str:
    """Return what the last program printed to standard error."""
    return (folder / "errors").read_text()


def outcome(folder: Path) -> tuple[list[dict[str, float]], dict[str, object], object]:
    """Return all that must not depend on where a run was killed: metrics, weights, the final evaluation."""
    it = folder / "runs" / "it"
    rows = [json.loads(line) for line in (it / "metrics.jsonl").read_text().splitlines()]
    metrics = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
    newest = max((it / "checkpoints").iterdir())
    state = load(newest).agent
    weights = {name: tensor.numpy().tobytes() for name, tensor in state.tensors.items()}
    evaluation = json.loads((it / "evaluation.json").read_text())
    segments = [segment.sha256 for segment in state.segments]
    return metrics, {"iteration": newest.name, "segments": segments, **weights, **state.values}, evaluation


def reseal(path: Path, part: str, changes: dict[str, object]) -> None:
    """Change a part of a checkpoint's ``state.json`` as a program would that knows the format."""
    state = json.loads(path.read_text())["state"]
    state = {**state, part: {**state[part], **changes}} if part else {**state, **changes}
    body = json.dumps(state)
    path.write_text(f'{{"sha256": "{hashlib.sha256(body.encode()).hexdigest()}", "state": {body}}}\n')


def _program(
    folder: Path, arguments: Sequence[str], prepared: Preparation | None, variables: dict[str, str]
) -> None:
    torch.set_num_threads(1)
    os.chdir(folder)
    os.environ.update(variables)
    ending = variables.get("RANK", "")
    for name, descriptor in (("output", 1), ("errors", 2)):
        file = os.open(name + ending, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    figures.leave_blank(pytest.MonkeyPatch())
    replay_agent.offer()
    if prepared is not None:
        prepared.set()
    code = main(arguments)
    atexit._run_exitfuncs()  # a forked process ends without them
    sys.exit(code)
