"""An agent that starts from what it learned acts as the one that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.rollouts.collect import collect
from metarl.storage.run_folder import ADAPTED
from metarl.training.adapted_agent import AdaptedAgent, read_path, write_path
from metarl.training.experiment import Experiment
from metarl.types import Rollout
from support.programs import point_config
from support.robots import FAMILIES

SUITE = PointConfig(horizon=6).build()


def collected(family: str) -> tuple[AdaptedAgent, Rollout, Rollout]:
    """Return an agent with an episode of experience, the episode, and the one that follows it."""
    agent = Experiment(point_config(agent=FAMILIES[family]), Path("nowhere")).agent
    env, task = SUITE.make_vector_env(3), SUITE.tasks("test")[0]
    start = agent.initial_actor(1, np.random.default_rng(0))
    first = collect(env, [task], start, episodes=1, horizon=6, rng=np.random.default_rng(1))
    actor = agent.adapt(start, first, np.random.default_rng(2))
    after = first if agent.trial == "sequential" else None
    second = collect(env, [task], actor, episodes=1, horizon=6, rng=np.random.default_rng(3), after=after)
    env.close()
    return AdaptedAgent(agent, [first]), first, second


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "pearl"])  # which draws z anew
def test_its_first_episode_is_the_one_that_follows_the_experience(family: str) -> None:
    adapted, _, second = collected(family)
    env, tasks = SUITE.make_vector_env(4), [SUITE.tasks("test")[0]]
    actor = adapted.initial_actor(1, np.random.default_rng(0))
    again = collect(env, tasks, actor, episodes=1, horizon=6, rng=np.random.default_rng(3))
    assert torch.equal(again.actions, second.actions)
    assert torch.equal(again.log_probs, second.log_probs)
    # and for any number of tasks and episodes
    many = adapted.initial_actor(2, np.random.default_rng(0))
    wide = collect(
        env, 2 * tasks, many, episodes=2, horizon=6, rng=np.random.default_rng(3), deterministic=True
    )
    env.close()
    assert wide.actions[1, 1].numpy() == pytest.approx(wide.actions[0, 0].numpy(), abs=1e-6)


def test_an_episode_that_follows_is_not_taken_for_the_first() -> None:
    adapted, _, _ = collected("rl2")
    actor = adapted.initial_actor(1, np.random.default_rng(0))
    memory = actor.initial_memory(1)
    assert memory["fresh"].all()
    env, task = SUITE.make_vector_env(1), SUITE.tasks("test")[0]
    first = collect(env, [task], actor, episodes=1, horizon=6, rng=np.random.default_rng(3))
    env.close()
    assert not first.final_memory["fresh"].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_experience_is_read_as_it_was_written(family: str, tmp_path: Path) -> None:
    _, first, second = collected(family)
    write_path(tmp_path, [first, second])
    for written, read in zip([first, second], read_path(tmp_path), strict=True):
        one, other = written.tensors(), read.tensors()
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_no_experience_is_the_agent_as_it_was_trained(tmp_path: Path) -> None:
    write_path(tmp_path, [])
    assert read_path(tmp_path) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ADAPTED).write_bytes(b"nothing")
    with pytest.raises(MetarlError, match="metarl adapt --resume writes it"):
        read_path(tmp_path)


def test_it_does_not_learn() -> None:
    adapted, first, _ = collected("maml-trpo")
    with pytest.raises(MetarlError, match="train the run that it comes from"):
        adapted.update([first], [], np.random.default_rng(0), lambda: False)
