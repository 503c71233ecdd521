"""Presets of the toy suites, which take minutes."""

from __future__ import annotations

from metarl.config import CheckpointConfig, EvaluationConfig, ExperimentConfig, SamplingConfig, construct
from metarl.plugins.registry import suite
from metarl.presets.agent_settings import (
    agent_config_for,
    equal_steps,
    in_small_batches,
    measured_steps,
    meta_batch,
)
from metarl.presets.manipulation import MAML_TRPO


def bandits(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Bernoulli bandits, where the best strategy is known; 1.5M pulls, about two minutes."""
    config = agent_config_for("bandits", agent)
    return ExperimentConfig(
        suite=construct(suite("bandits"), {}),
        agent=config,
        iterations=equal_steps(75, config),
        sampling=meta_batch(config, tasks=50, episodes=20),
        evaluation=EvaluationConfig(
            every=15, tasks=100, adaptation_steps=measured_steps(config, 1), adaptation_episodes=20
        ),
        checkpoint=CheckpointConfig(every=10),
    )


def cart_pole(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Poles that have not been balanced before, discrete actions; up to 0.4M environment steps."""
    config = agent_config_for("cart-pole", agent)
    large = equal_steps(30, config)
    small = SamplingConfig(meta_batch_size=20, episodes=1)
    iterations, sampling = in_small_batches(config, large, SamplingConfig(meta_batch_size=10), small)
    return ExperimentConfig(
        suite=construct(suite("cart-pole"), {"horizon": 60}),
        agent=config,
        iterations=iterations,
        sampling=sampling,
        evaluation=EvaluationConfig(
            every=5 * iterations // large, tasks=20, adaptation_steps=measured_steps(config, 1)
        ),
    )


def point(agent: str = MAML_TRPO) -> ExperimentConfig:
    """2-D navigation, whose best return is known; 3.2M environment steps, less than a minute."""
    config = agent_config_for("point", agent)
    return ExperimentConfig(
        suite=construct(suite("point"), {}),
        agent=config,
        iterations=equal_steps(80, config),
        sampling=meta_batch(config, tasks=20, episodes=10),
        evaluation=EvaluationConfig(every=10, tasks=40, adaptation_steps=measured_steps(config, 1)),
        checkpoint=CheckpointConfig(every=10),
    )
