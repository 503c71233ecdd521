"""Training that starts from another run: it has what that run learned, and unfit runs are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.agents.maml_vpg import MAMLVPGConfig
from metarl.agents.rl2 import RL2Config
from metarl.config import AgentConfig, EvaluationConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.training import runs
from metarl.training.experiment import Experiment
from support.programs import point_config

NEVER = EvaluationConfig(every=0, episodes=2, adaptation_episodes=2, adaptation_steps=1)
TINY = RL2Config(memory_size=8, embedding_size=6, trial_episodes=2)


def experiment(root: Path, name: str, agent: AgentConfig = TINY, **changes: object) -> Experiment:
    config = point_config(agent=agent, evaluation=NEVER, name=name, iterations=2)
    return runs.start(replace(config, **changes), root)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = experiment(tmp_path_factory.mktemp("runs"), "first")
    first.run()
    return first.folder


@pytest.mark.parametrize("checkpoint", ["", "checkpoints/00000002"])
def test_run_starts_from_what_another_learned(trained: Path, tmp_path: Path, checkpoint: str) -> None:
    learned = runs.resume(trained, print).agent.state()
    horizon = PointConfig(horizon=7)  # other tasks than it learned on
    started = experiment(tmp_path, "second", init_from=str(trained / checkpoint), suite=horizon, seed=5)
    state = started.agent.state()
    assert started.iteration == 0
    assert state.values == learned.values
    assert all(torch.equal(state.tensors[name], value) for name, value in learned.tensors.items())
    started.run()
    assert not all(
        torch.equal(started.agent.state().tensors[name], state.tensors[name]) for name in state.tensors
    )


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (MAMLVPGConfig(hidden_sizes=(8,)), "Expected a run of maml-vpg to start from, got .* is of rl2"),
        (replace(TINY, memory_size=9), "first does not fit these settings"),
    ],
)
def test_run_of_another_agent_is_refused(
    trained: Path, tmp_path: Path, agent: AgentConfig, said: str
) -> None:
    with pytest.raises(MetarlError, match=said):
        experiment(tmp_path / "runs", "second", agent, init_from=str(trained))
    assert not (tmp_path / "runs").exists()


def test_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="There is no checkpoint in"):
        experiment(tmp_path / "runs", "second", init_from=str(tmp_path))
