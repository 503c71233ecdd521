"""Episodes of every expert of policy reuse on every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarl.agents.policy_reuse import PolicyReuse
from metarl.learning.reusing_actor import scores_of
from metarl.rollouts.collect import collect
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv


class Played(NamedTuple):
    """Episodes of all experts on a family's tasks, ``[M, R, E]`` with R episodes of each."""

    scores: Array  # what a new task keeps an expert by: returns, or largest rewards
    solved: Array


def training_families(suite: TaskDistribution) -> list[str]:
    """Return the families of a suite's training tasks, each once, in their order."""
    return list(dict.fromkeys(task.family for task in suite.tasks("train")))


def play(
    agent: PolicyReuse,
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    episodes: int,
    horizon: int,
    rng: np.random.Generator,
) -> Played:
    """Let every expert play episodes of every task."""
    actor = agent.initial_actor(len(tasks), rng).in_order()
    experts = len(actor.experts)
    rollout = collect(env, tasks, actor, episodes=episodes * experts, horizon=horizon, rng=rng)
    assert rollout.success is not None, "Meta-World says what is solved"
    # slot k is played by expert k modulo E
    shape = len(tasks), episodes, experts
    scores, solved = scores_of(rollout, agent.config.keep_by).double(), rollout.success.double()
    return Played(scores.view(shape).numpy(), solved.view(shape).numpy())
