"""ProMP: the inner KL penalty, fixed and adaptive."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metarl.agents.promp import INNER_KL_WEIGHT, ProMP, ProMPConfig
from metarl.errors import MetarlError
from metarl.types import Rollout
from support import tiny

TINY = ProMPConfig(inner_lr=0.4, outer_lr=0.01, inner_kl_weight=0.5)


def agent(config: ProMPConfig = TINY) -> ProMP:
    return ProMP(config, tiny.POLICY, tiny.tiny_params())


def rollouts(steps: int = 1) -> list[Rollout]:
    return [tiny.random_rollout(seed) for seed in range(steps + 1)]


def weight_after(target: float) -> torch.Tensor:
    learner = agent(replace(TINY, target_inner_kl=target, adaptation_steps=2))
    learner.update(rollouts(2))
    return learner.outer_state[INNER_KL_WEIGHT]


def divergences() -> list[float]:
    """Return the inner divergences after the same update, one for each inner step."""
    learner = agent(replace(TINY, adaptation_steps=2))
    (part,) = map(learner.anchor, learner.chunks(rollouts(2)))
    learner.update(rollouts(2))
    leaves = {name: value.clone().requires_grad_() for name, value in learner.params.items()}
    return learner.terms(leaves, part).inner_kl.tolist()


def test_paper_settings_are_the_defaults() -> None:
    config = ProMPConfig()
    assert (config.outer_steps, config.outer_lr, config.clip, config.inner_kl_weight) == (5, 1e-3, 0.3, 5e-4)


def test_weight_stays_fixed_without_a_target() -> None:
    assert weight_after(0.0).tolist() == [0.5, 0.5]


def test_weight_doubles_above_the_target_and_halves_below_it() -> None:
    least, greatest = min(divergences()), max(divergences())
    assert least > 0
    assert weight_after(least / 1.6).tolist() == [1.0, 1.0]
    assert weight_after(greatest * 1.6).tolist() == [0.25, 0.25]


def test_weight_stays_within_half_again_of_the_target() -> None:
    first, second = divergences()
    assert weight_after(first * 1.4)[0] == 0.5
    assert weight_after(first / 1.4)[0] == 0.5
    assert weight_after(second * 1.4)[1] == 0.5


def test_each_inner_step_has_a_weight_of_its_own() -> None:
    first, second = divergences()
    assert first < second < 1.5**2 * first
    assert weight_after(first * 1.51).tolist() == [0.25, 0.5]
    assert weight_after(second / 1.51).tolist() == [0.5, 1.0]


def test_penalty_keeps_theta_where_the_inner_gradient_is_known() -> None:
    free, held = (
        agent(replace(TINY, outer_lr=0.1, inner_kl_weight=weight)).update(rollouts())["inner_kl"]
        for weight in (0.0, 100.0)
    )
    assert held < 0.5 * free


def test_adapted_weight_is_saved_and_loaded() -> None:
    saved = agent(replace(TINY, target_inner_kl=1e-9))
    saved.update(rollouts())
    loaded = agent(replace(TINY, target_inner_kl=1e-9))
    loaded.load_state(saved.state())
    assert loaded.outer_state[INNER_KL_WEIGHT].tolist() == [1.0]
    assert loaded.update(rollouts()) == saved.update(rollouts())


def test_metrics_tell_the_weight_that_was_used() -> None:
    learner = agent(replace(TINY, target_inner_kl=1e-9))
    used = [learner.update(rollouts())["inner_kl_weight"] for _ in range(3)]
    assert used == [pytest.approx(0.5), pytest.approx(1.0), pytest.approx(2.0)]


def test_adaptive_weight_comes_back_from_either_end() -> None:
    learner, target = agent(replace(TINY, target_inner_kl=0.01)), 0.01
    for divergence, other in ((0.0, 10 * target), (10 * target, 0.0)):
        weight = learner.outer_state[INNER_KL_WEIGHT]
        for _ in range(200):
            weight = learner.adapted_weights(weight, torch.tensor([divergence]))
        assert 0 < weight < float("inf")
        for _ in range(20):
            weight = learner.adapted_weights(weight, torch.tensor([other]))
        assert weight.tolist() == [0.5]


def test_weight_that_a_checkpoint_holds_at_zero_comes_back() -> None:
    learner = agent(replace(TINY, target_inner_kl=1e-9))
    state = learner.state()
    learner.load_state(state._replace(tensors={**state.tensors, INNER_KL_WEIGHT: torch.zeros(1)}))
    learner.update(rollouts())
    assert learner.outer_state[INNER_KL_WEIGHT] > 0


def test_weight_of_zero_cannot_be_adapted() -> None:
    with pytest.raises(MetarlError, match="inner_kl_weight must be positive with a target_inner_kl"):
        ProMPConfig(inner_kl_weight=0.0, target_inner_kl=0.01)
    assert ProMPConfig(inner_kl_weight=0.0).inner_kl_weight == 0
