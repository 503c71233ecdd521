"""Whole experiments on the locomotion suites and on changed dynamics.

As MAML (Finn et al. 2017) and ProMP (Rothfuss et al. 2019) were run: 40 tasks, 20 episodes of each before
and after one inner step, horizon 100 (ProMP) or 200 (MAML). The papers took 800 to 1,000 iterations; the
iterations here are what a machine with few cores does in hours.
"""

from __future__ import annotations

from metarl.agents.presets import MAML_TRPO
from metarl.agents.settings import equal_steps, suited
from metarl.config import CheckpointConfig, EvaluationConfig, ExperimentConfig, SamplingConfig, construct
from metarl.registry import suite


def half_cheetah_dir(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Half cheetah, forward or backward (ProMP's horizon of 100); 160,000 environment steps an iteration."""
    return _as_published("half-cheetah-dir", agent, horizon=100, iterations=200)


def half_cheetah_vel(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Half cheetah at a hidden velocity (ProMP's horizon of 100); 160,000 environment steps an iteration."""
    return _as_published("half-cheetah-vel", agent, horizon=100, iterations=200)


def ant_dir(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Ant, forward or backward, or at a hidden angle; up to 320,000 environment steps an iteration."""
    return _as_published("ant-dir", agent)


def ant_goal(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Ant that walks to a hidden point; 320,000 environment steps an iteration."""
    return _as_published("ant-goal", agent)


def ant_vel(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Ant at a hidden velocity; up to 320,000 environment steps an iteration."""
    return _as_published("ant-vel", agent)


def humanoid_dir(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Humanoid that walks at a hidden angle; up to 320,000 environment steps an iteration."""
    return _as_published("humanoid-dir", agent)


def walker2d_vel(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Walker at a hidden velocity; up to 320,000 environment steps an iteration."""
    return _as_published("walker2d-vel", agent)


def hopper_rand_params(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Hopper with hidden masses, inertias, damping, friction; up to 320,000 steps an iteration."""
    return _as_published("hopper-rand-params", agent)


def walker2d_rand_params(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Walker with hidden masses, inertias, damping, friction; up to 320,000 steps an iteration."""
    return _as_published("walker2d-rand-params", agent)


def dynamics(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Any MuJoCo environment with any of its model's numbers hidden (--env, --vary)."""
    return _as_published("dynamics", agent)


def _as_published(name: str, agent: str, *, horizon: int = 200, iterations: int = 500) -> ExperimentConfig:
    config = suited(name, agent)
    return ExperimentConfig(
        suite=construct(suite(name), {"horizon": horizon}),
        agent=config,
        iterations=equal_steps(iterations, config),
        sampling=SamplingConfig(meta_batch_size=40, episodes=20),
        evaluation=EvaluationConfig(
            every=25, tasks=10, adaptation_steps=1, episodes=20, adaptation_episodes=20
        ),
        checkpoint=CheckpointConfig(every=5),
    )
