"""The claims of ``metarl check --agent``, tried on agents of ours and on the point suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps

import numpy as np
import pytest
import torch

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import AgentConfig
from metarl.envs.toy.point import PointTasks
from metarl.meta_learner import Actor, MetaLearner, never
from metarl.plugins.agent_claims import CLAIMS, Claim
from metarl.plugins.agent_probe import EPISODES as EPISODES
from metarl.plugins.agent_probe import AgentProbe, OpenQuestion
from metarl.plugins.agent_probe import same_state as same_state
from metarl.rollouts.collect import collect
from metarl.types import Rollout, Task

SUITE = PointTasks(horizon=8, terminate_at_goal=True)
TASKS = SUITE.tasks("test")[:3]
CPU = torch.device("cpu")


def of_config(claim: Claim) -> Callable[[AgentConfig], None]:
    """Return a claim about a config on the point suite; a test of what does not apply is skipped."""

    @wraps(claim)
    def tried(config: AgentConfig) -> None:
        try:
            claim(probe_of(config))
        except OpenQuestion as question:
            pytest.skip(str(question))

    return tried


@cache
def probe_of(config: AgentConfig) -> AgentProbe:
    """Return the trial of a config, which collects one meta-batch for all claims, as the check does."""
    return AgentProbe(config, SUITE)


AGENT_CLAIMS: tuple[Callable[[AgentConfig], None], ...] = tuple(map(of_config, CLAIMS))


def named(*names: str) -> list[Callable[[AgentConfig], None]]:
    """Return some of the claims."""
    return [claim for claim in AGENT_CLAIMS if claim.__name__ in names]


def build(config: AgentConfig, seed: int = 0) -> MetaLearner:
    """Return an agent for the point suite."""
    return AgentProbe(config, SUITE).build(seed)


def rng() -> np.random.Generator:
    """Return the random numbers of a test, the same each time."""
    return np.random.default_rng(0)


def update(agent: MetaLearner, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Let an agent learn from a meta-batch of the tasks."""
    return agent.update(rollouts, TASKS, rng(), never)


def gather(
    actor: Actor, rng: np.random.Generator, tasks: Sequence[Task] = TASKS, after: Rollout | None = None
) -> Rollout:
    """Collect episodes of the point suite."""
    env = SUITE.make_vector_env(len(tasks) * EPISODES)
    return collect(env, tasks, actor, episodes=EPISODES, horizon=SUITE.horizon, rng=rng, after=after)


def meta_batch(agent: MetaLearner, seed: int = 0, tasks: Sequence[Task] = TASKS) -> list[Rollout]:
    """Collect the rollouts of one meta-iteration."""
    draws = np.random.default_rng(seed)
    actor = agent.initial_actor(len(tasks), rng())
    rollouts = [gather(actor, draws, tasks)]
    for _ in range(agent.adaptation_steps):
        actor = agent.adapt(actor, rollouts[-1], rng())
        after = rollouts[-1] if agent.trial == "sequential" else None
        rollouts.append(gather(actor, draws, tasks, after))
    return rollouts


def likeliest(actor: Actor) -> torch.Tensor:
    """Return what an actor would do, without noise, in a few states of each task."""
    return AgentProbe(MAMLTRPOConfig(), SUITE).likeliest(actor)[..., :-1]
