"""RL² against a known optimum: Bernoulli bandits (Duan et al. 2016, section 3.1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.config import MeasurementConfig, SamplingConfig, construct
from metarl.envs.toy.bandit_optimum import BayesOptimal
from metarl.envs.toy.bandits import BanditTasks
from metarl.evaluation.evaluate import evaluate
from metarl.plugins.registry import agent
from metarl.presets.agent_settings import agent_config_for
from metarl.training.experiment import meta_iteration


def test_preset_makes_an_episode_a_whole_trial() -> None:
    config = agent_config_for("bandits", "rl2")
    assert (config.trial, getattr(config, "trial_episodes", None)) == ("sequential", 1)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "linear"])
def test_memory_plays_bandits_nearly_as_well_as_can_be(cell: str) -> None:
    suite, optimum = BanditTasks(arms=2, horizon=6), BayesOptimal(2, 6).value
    settings = {"trial_episodes": 1, "memory_size": 32, "embedding_size": 16, "learning_rate": 3e-3}
    config = construct(agent("rl2"), {**settings, "gae_lambda": 0.3, "cell": cell})
    learner = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    env, rng = suite.make_vector_env(4000), np.random.default_rng(0)
    for _ in range(40):
        meta_iteration(learner, env, suite.sample(500, rng), episodes=1, horizon=6, rng=rng)
    found = evaluate(
        learner,
        env,
        suite.sample(4000, rng),
        MeasurementConfig(episodes=1, deterministic=True),
        adaptation_steps=0,
        horizon=6,
        rng=rng,
    )
    error = found.returns.std() / np.sqrt(4000)  # 0.03
    assert 0.97 * optimum < found.returns.mean() < optimum + 3 * error
