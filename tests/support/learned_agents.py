"""Claims that several agents' tests share: resuming, what stays as it was, and learning on ``point``."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch

from metarl.agents.gradient_based import GradientBasedAgent, GradientBasedConfig
from metarl.config import AgentConfig
from metarl.envs.toy.point import PointConfig
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.training import runs
from metarl.types import Json, Rollout
from support.agent_contract import same_state
from support.programs import point_config


def assert_resumes_bit_for_bit(config: AgentConfig, folder: Path) -> None:
    """Train for three iterations at once, and for two and one more: metrics and state are the same."""
    experiments, suite = [], PointConfig(horizon=10)
    for name, iterations in (("whole", 3), ("broken", 2)):
        run = point_config(agent=config, suite=suite, name=name, iterations=iterations)
        experiments.append(runs.start(run, folder))
        experiments[-1].run()
    experiments[-1] = runs.resume(folder / "broken", lambda _: None, iterations=3)
    experiments[-1].run()
    assert same_state(*(experiment.agent.state() for experiment in experiments))
    whole, broken = (_metrics(experiment.folder) for experiment in experiments)
    assert whole == broken


def _metrics(folder: Path) -> list[dict[str, Json]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if not name.startswith("time/")} for row in rows]


def moved_by_adapting(agent: GradientBasedAgent[GradientBasedConfig], rollout: Rollout) -> Collection[str]:
    """Return which parameters differ, in any bit, after one adaptation of every task."""
    before = agent.initial_actor(len(rollout.mask))
    after = agent.adapt(before, rollout)
    assert isinstance(after, AdaptedPolicy)
    return {name for name, value in before.params.items() if not torch.equal(after.params[name], value)}
