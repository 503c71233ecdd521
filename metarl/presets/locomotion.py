"""Presets of locomotion and of changed dynamics.

As MAML (Finn et al. 2017) and ProMP (Rothfuss et al. 2019) were run: 40 tasks, 20 episodes of each before
and after one inner step, horizon 100 (ProMP) or 200 (MAML). The papers took 800 to 1,000 iterations; the
iterations here are what a machine with few cores does in hours. The half cheetah's presets are for such a
machine: a quarter of the tasks, and larger steps, which reach a gain within 12 million environment steps
where the papers' settings had shown none after 5 million (docs/settings_tried.md says what was tried).
"""

from __future__ import annotations

from metarl.config import CheckpointConfig, EvaluationConfig, ExperimentConfig, construct
from metarl.plugins.registry import suite
from metarl.presets.agent_settings import agent_config_for, equal_steps, meta_batch
from metarl.presets.manipulation import MAML_TRPO


def half_cheetah_dir(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Half cheetah, forward or backward (ProMP's horizon of 100); 40,000 environment steps an iteration."""
    return _half_cheetah("half-cheetah-dir", agent)


def half_cheetah_vel(agent: str = MAML_TRPO) -> ExperimentConfig:
    """Half cheetah at a hidden velocity (ProMP's horizon of 100); 40,000 environment steps an iteration."""
    return _half_cheetah("half-cheetah-vel", agent)


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


def _half_cheetah(name: str, agent: str) -> ExperimentConfig:
    return _preset(name, agent, horizon=100, iterations=300, meta_batch_size=10)


def _as_published(name: str, agent: str) -> ExperimentConfig:
    return _preset(name, agent, horizon=200, iterations=500, meta_batch_size=40)


def _preset(
    name: str, agent: str, *, horizon: int, iterations: int, meta_batch_size: int
) -> ExperimentConfig:
    config = agent_config_for(name, agent)
    return ExperimentConfig(
        suite=construct(suite(name), {"horizon": horizon}),
        agent=config,
        iterations=equal_steps(iterations, config),
        sampling=meta_batch(config, tasks=meta_batch_size, episodes=20),
        evaluation=EvaluationConfig(
            every=25, tasks=10, adaptation_steps=1, episodes=20, adaptation_episodes=20
        ),
        checkpoint=CheckpointConfig(every=5),
    )
