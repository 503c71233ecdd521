"""Training that starts from another run: it has what that run learned, and unfit runs are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.agents.maml_vpg import MAMLVPGConfig
from metarl.agents.rl2 import RL2Config
from metarl.config import AgentConfig, EvaluationConfig, to_json
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import save
from metarl.storage.run_folder import CHECKPOINTS, WEIGHTS
from metarl.training import runs
from metarl.training.experiment import Experiment
from metarl.types import State
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


@pytest.mark.parametrize("checkpoint", ["", "checkpoints/2/"])
def test_run_starts_from_what_another_learned(trained: Path, tmp_path: Path, checkpoint: str) -> None:
    learned = runs.resume(trained, print).agent.state()
    horizon = PointConfig(horizon=7)  # other tasks than it learned on
    started = experiment(tmp_path, "second", init_from=str(trained / checkpoint), suite=horizon, seed=5)
    state = started.agent.state()
    assert started.iteration == 0
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


def stored(first: Experiment, place: Path, agent: State) -> None:
    save(place, Checkpoint(iteration=0, config=to_json(first.config), agent=agent, progress={}), keep=1)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_schedule_of_the_learning_rate_starts_anew(tmp_path: Path, schedule: str) -> None:
    first = experiment(tmp_path, "first", replace(TINY, lr_schedule=schedule, lr_iterations=3))
    state = first.agent.state()
    ended = {name: value + 3 for name, value in state.tensors.items() if name.endswith(".updates")}
    stored(first, first.folder / CHECKPOINTS, state._replace(tensors={**state.tensors, **ended}))
    linear = replace(TINY, lr_schedule="linear", lr_iterations=3)
    second = experiment(tmp_path, "second", linear, init_from=str(first.folder))
    assert second.agent.state().tensors["adam.updates"] == 0


def test_scales_learn_on_from_the_tasks_of_the_new_run(trained: Path, tmp_path: Path) -> None:
    brief = replace(TINY, scale_iterations=2)  # over in the run that it starts from
    second = experiment(tmp_path, "second", brief, init_from=str(trained))
    seen = "scale.observations.seen"
    before = second.agent.state().tensors[seen].clone()
    second.run()
    assert second.agent.state().tensors[seen] > before > 0


def test_scale_of_returns_starts_anew_with_another_power_of_the_reward(trained: Path, tmp_path: Path) -> None:
    def seen(name: str, power: float) -> tuple[float, float]:
        agent = replace(TINY, reward_power=power)
        tensors = experiment(tmp_path, name, agent, init_from=str(trained)).agent.state().tensors
        return float(tensors["scale.returns.seen"]), float(tensors["scale.rewards.seen"])

    (returns, rewards), (anew, kept) = seen("same", 1.0), seen("sixth", 6.0)
    assert (anew, kept) == (0.0, rewards)
    assert returns > 0


def test_weights_of_a_result_serve_with_a_schedule(tmp_path: Path) -> None:
    first = experiment(tmp_path, "first")
    weights = first.agent.weights()  # type: ignore[attr-defined]  # of RL²
    stored(first, tmp_path / "result" / WEIGHTS, weights)
    scheduled = replace(TINY, lr_schedule="linear", lr_iterations=2)
    second = experiment(tmp_path, "second", scheduled, init_from=str(tmp_path / "result"), seed=5)
    state = second.agent.state().tensors
    assert all(torch.equal(state[name], value) for name, value in weights.tensors.items())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (".", "neither a run nor a checkpoint"),
        ("nowhere", "There is no folder .*nowhere"),
        ("first/checkpoints", "Expected a run or a checkpoint, got the folder of all checkpoints"),
        ("first/checkpoints/7", "There is no checkpoint .*7; there are: "),
    ],
)
def test_folder_that_is_no_run_is_refused(trained: Path, tmp_path: Path, place: str, said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        experiment(tmp_path / "runs", "second", init_from=str(trained.parent / place))
