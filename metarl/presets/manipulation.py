"""Presets of manipulation: whole experiments, ready to run.

Each is a function that returns a config and takes the agent by its registered name (``metarl train point
--agent promp``). :mod:`metarl.presets.agent_settings` holds each agent's own settings. A preset spends the
same number of environment steps on any agent, but where fewer are known to do: RL² on ML1, and policy reuse.
"""

from __future__ import annotations

from metarl.config import AgentConfig, EvaluationConfig, ExperimentConfig, SamplingConfig, construct
from metarl.plugins.registry import suite
from metarl.presets.agent_settings import (
    FEW_TRIALS,
    FEW_TRIALS_A_TASK,
    ONE_TRIAL,
    agent_config_for,
    equal_steps,
    in_small_batches,
    measured_steps,
)

_TRAINING_FAMILIES = {"ml10": 10, "ml25": 24, "ml45": 45}
MAML_TRPO = "maml-trpo"  # the agent of every preset by default


def grasp_shapes(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Objects to pick and place, tested on new shapes, sizes and masses; 6.3M environment steps."""
    config = agent_config_for("grasp-shapes", agent)
    return ExperimentConfig(
        suite=construct(suite("grasp-shapes"), {"horizon": 150}),
        agent=config,
        iterations=equal_steps(100, config),
        sampling=SamplingConfig(meta_batch_size=21),
        evaluation=EvaluationConfig(every=10, tasks=20, adaptation_steps=measured_steps(config, 3)),
    )


def ml1(task: str = "reach-v3", agent: str = MAML_TRPO) -> ExperimentConfig:
    """Meta-World ML1: one manipulation task with new goals; 1.6M environment steps, with rl2 3.0M."""
    config = agent_config_for("ml1", agent)
    remembers = config.kind in FEW_TRIALS_A_TASK
    return ExperimentConfig(
        # with a memory as results/ml1-pick-place-v3-goals500-success10-rl2
        suite=construct(suite("ml1"), {"task": task, "horizon": 150 if remembers else 100}),
        agent=config,
        iterations=200 if remembers else equal_steps(80, config),
        sampling=ONE_TRIAL if remembers else SamplingConfig(episodes=5),
        evaluation=EvaluationConfig(every=10, adaptation_steps=measured_steps(config, 3)),
    )


def ml10(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Meta-World ML10: 10 training families, 5 new ones; the published 20M environment steps."""
    return _many_families("ml10", agent, meta_batch_size=20, iterations=100)


def ml25(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Meta-World ML25: 24 training families (the leak removed), 5 new ones; 50M environment steps."""
    return _many_families("ml25", agent, meta_batch_size=50, iterations=100)


def ml45(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Meta-World ML45: 45 training families, 5 new ones; the published 90M environment steps."""
    return _many_families("ml45", agent, meta_batch_size=20, iterations=450)


def _many_families(name: str, agent: str, *, meta_batch_size: int, iterations: int) -> ExperimentConfig:
    """Follow Meta-World+ (arXiv 2505.11289): 10 episodes of 500 steps, before and after one inner step."""
    config = agent_config_for(name, agent)
    if config.kind == "policy-reuse":
        return _experts(name, config)
    iterations, sampling = in_small_batches(
        config, equal_steps(iterations, config), SamplingConfig(meta_batch_size=meta_batch_size), FEW_TRIALS
    )
    return ExperimentConfig(
        suite=construct(suite(name), {}),
        agent=config,
        iterations=iterations,
        sampling=sampling,
        # measured as there: one inner step from 10 episodes, then 3 episodes
        evaluation=EvaluationConfig(
            every=10, tasks=20, adaptation_steps=measured_steps(config, 1), episodes=3
        ),
    )


def _experts(name: str, config: AgentConfig) -> ExperimentConfig:
    """Give each expert 50 episodes of its family an iteration, and a new task one of each expert."""
    families = _TRAINING_FAMILIES[name]
    return ExperimentConfig(
        suite=construct(suite(name), {"horizon": 150}),
        agent=config,
        iterations=200,
        sampling=SamplingConfig(meta_batch_size=50 * families, episodes=1),
        evaluation=EvaluationConfig(
            every=10, tasks=20, adaptation_steps=1, episodes=3, adaptation_episodes=max(10, families)
        ),
    )
