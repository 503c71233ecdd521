"""PPO's loss against stable-baselines3's own training step, and by hand."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import DiagGaussianDistribution

from metarl.errors import MetarlError
from metarl.functional.distributions import Gaussian, log_prob
from metarl.learning.gradient_descent import LossAndMetrics
from metarl.learning.ppo import (
    Experience,
    PPOConfig,
    clip_gradient,
    ppo_loss,
    scaled_advantages,
    value_error,
)
from metarl.sb3.randomness import global_generators_kept

CONFIG = PPOConfig(clip=0.1, entropy_weight=0.01, value_weight=0.7, max_gradient_norm=0.05)
STEPS = 32


@pytest.fixture(scope="module")
def theirs() -> PPO:
    """Return SB3's agent with one rollout in its buffer, and its policy moved since."""
    with global_generators_kept():
        agent = PPO(
            "MlpPolicy",
            gymnasium.make("Pendulum-v1"),
            n_steps=STEPS,
            batch_size=STEPS,
            n_epochs=1,
            clip_range=CONFIG.clip,
            ent_coef=CONFIG.entropy_weight,
            vf_coef=CONFIG.value_weight,
            max_grad_norm=CONFIG.max_gradient_norm,
            seed=0,
            device="cpu",
            policy_kwargs={"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}, "net_arch": [8]},
        )
        agent.learn(STEPS)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for value in agent.policy.parameters():
                value += 0.3 * torch.randn(value.shape, generator=generator)
    return agent


def test_one_update_is_stable_baselines3s(theirs: PPO) -> None:
    with global_generators_kept():
        data = next(iter(theirs.rollout_buffer.get(STEPS)))
    policy, named = theirs.policy, dict(theirs.policy.named_parameters())
    dist = policy.get_distribution(data.observations)
    assert isinstance(dist, DiagGaussianDistribution)
    normal = dist.distribution
    values = policy.predict_values(data.observations).flatten()
    ours = Gaussian(normal.mean.unsqueeze(1), normal.stddev.log().unsqueeze(1))
    live = torch.ones(STEPS, 1, dtype=torch.bool)
    # SB3 divides by the deviation of a sample, one less than the number of steps
    advantages = (data.advantages - data.advantages.mean()) / (data.advantages.std() + 1e-8)
    parts = (data.old_log_prob, advantages, data.old_values, data.returns)
    experience = Experience(data.actions.unsqueeze(1), *(part.unsqueeze(1) for part in parts), live)
    loss = ppo_loss(ours, values.unsqueeze(1), ours, experience, CONFIG).loss
    found = torch.autograd.grad(loss, list(named.values()))
    clipped, norm = clip_gradient(dict(zip(named, found, strict=True)), CONFIG.max_gradient_norm)
    assert norm > CONFIG.max_gradient_norm  # so that clipping is seen
    before = {name: value.detach().clone() for name, value in named.items()}
    with global_generators_kept():
        theirs.learning_rate = theirs.lr_schedule = lambda _: 0.5  # type: ignore[assignment]  # SB3 takes either
        theirs.train()
    for name, value in named.items():
        torch.testing.assert_close(before[name] - value.detach(), 0.5 * clipped[name], rtol=1e-4, atol=1e-7)


def test_loss_by_hand() -> None:
    policy = Gaussian(torch.tensor([[[0.0]], [[1.0]]]), torch.zeros(2, 1, 1))
    acted = Gaussian(torch.tensor([[[0.5]], [[9.0]]]), torch.zeros(2, 1, 1))
    live = torch.tensor([[True], [False]])
    old = -0.5 * 0.5**2 - 0.5 * math.log(2 * math.pi)
    experience = Experience(
        torch.tensor([[[1.0]], [[0.0]]]),
        torch.tensor([[old], [0.0]]),
        torch.tensor([[2.0], [50.0]]),
        torch.tensor([[0.5], [50.0]]),
        torch.tensor([[3.0], [50.0]]),
        live,
    )
    found = ppo_loss(policy, torch.tensor([[1.0], [0.0]]), acted, experience, PPOConfig(clip=0.2))
    ratio = math.exp(-0.5 + 0.125)  # below 0.8, where a positive advantage is not clipped
    assert float(found.loss) == pytest.approx(-2 * ratio + 0.5 * 4, rel=1e-6)
    assert found.metrics["kl"] == pytest.approx(0.125, rel=1e-6)
    assert found.metrics["clipped"] == 1.0


def test_steps_after_a_trials_end_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    policy, values = Gaussian(draw(4, 3, 2), draw(4, 3, 2)), draw(4, 3)
    live = torch.arange(4).unsqueeze(1) < torch.tensor([4, 2, 3])
    experience = Experience(draw(4, 3, 2), *(draw(4, 3) for _ in range(4)), live)
    other = experience._replace(
        **{name: getattr(experience, name).masked_fill(~live, 7.0) for name in ("advantages", "targets")}
    )
    one, two = (ppo_loss(policy, values, policy, each, PPOConfig()) for each in (experience, other))
    assert torch.equal(one.loss, two.loss)
    assert one.metrics["kl"] == 0.0


def test_losses_of_parts_add_up_to_that_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    live = torch.arange(4).unsqueeze(1) < torch.tensor([4, 2, 3, 1, 4])
    experience = Experience(draw(4, 5, 2), *(draw(4, 5) for _ in range(4)), live)
    parts = [draw(4, 5, 2) for _ in range(4)]
    values = draw(4, 5)
    config = PPOConfig(entropy_weight=0.1)

    def loss(chosen: torch.Tensor) -> LossAndMetrics:
        mean, log_std, acted, acted_std = (part[:, chosen] for part in parts)
        return ppo_loss(
            Gaussian(mean, log_std),
            values[:, chosen],
            Gaussian(acted, acted_std),
            experience.of_trials(chosen),
            config,
            live_steps=live.sum(),
        )

    whole, *found = (loss(torch.tensor(numbers)) for numbers in ([0, 1, 2, 3, 4], [0, 3], [1, 2, 4]))
    torch.testing.assert_close(sum(part.loss for part in found), whole.loss)
    for name, value in whole.metrics.items():
        assert sum(part.metrics[name] for part in found) == pytest.approx(value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.25, 9.0, 9.0]),
        ({"value_loss": "huber"}, [0.25, 2 * (3 - 0.5), 2 * (3 - 0.5)]),
        # the value at acting was 1, so that 2.5 counts as 1.2 and 4 as 1.2 where that makes the error larger
        ({"value_clip": 0.2}, [(2 - 1.2) ** 2, 9.0, (7 - 1.2) ** 2]),
        ({"value_clip": 0.2, "value_loss": "huber"}, [(2 - 1.2) ** 2, 2 * (3 - 0.5), 2 * (5.8 - 0.5)]),
    ],
)
def test_error_of_a_value_by_hand(settings: dict[str, object], expected: list[float]) -> None:
    config = PPOConfig(**settings)  # type: ignore[arg-type]  # the table's
    one = torch.ones(3, 1)
    targets = torch.tensor([[2.0], [1.0], [7.0]])
    experience = Experience(one.unsqueeze(-1), one, one, one, targets, one > 0)
    found = value_error(torch.tensor([[2.5], [4.0], [4.0]]), experience, config)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_clipped_value_has_no_slope_where_it_gains_nothing() -> None:
    value = torch.tensor([[1.5]], requires_grad=True)
    one = torch.ones(1, 1)
    experience = Experience(one.unsqueeze(-1), one, one, one, 2 * one, one > 0)
    (slope,) = torch.autograd.grad(
        value_error(value, experience, PPOConfig(value_clip=0.2)).sum(), value, allow_unused=True
    )
    assert float(slope) == 0.0


def test_advantages_are_scaled_over_live_steps() -> None:
    live = torch.tensor([[True, True, False, True]])
    scaled = scaled_advantages(torch.tensor([[1.0, 2.0, 1e9, 6.0]]), live)
    expected = (np.array([1.0, 2.0, 6.0]) - 3) / np.array([1.0, 2.0, 6.0]).std()
    np.testing.assert_allclose(scaled[live], expected, rtol=1e-6)
    assert float(scaled[0, 2]) == 0.0


def test_short_gradient_is_left_alone() -> None:
    gradient = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    kept, norm = clip_gradient(gradient, 10.0)
    assert norm == 5.0
    assert torch.equal(kept["a"], gradient["a"])


@pytest.mark.parametrize("setting", ["clip", "epochs", "minibatches", "max_gradient_norm"])
def test_setting_of_zero_is_refused(setting: str) -> None:
    with pytest.raises(MetarlError, match=setting):
        PPOConfig(**{setting: 0})


def test_a_density_too_large_for_float32_past_a_trials_end_changes_nothing() -> None:
    # a step of 40 actions, and one past the end, where the recorded density is zero
    mean, log_std = torch.zeros(2, 1, 40, requires_grad=True), torch.full((2, 1, 40), -4.0)
    policy, live = Gaussian(mean, log_std), torch.tensor([[True], [False]])
    acted = log_prob(policy, torch.zeros(2, 1, 40)).detach() * live
    ones = torch.ones(2, 1) * live
    experience = Experience(torch.zeros(2, 1, 40), acted, ones, 0 * ones, 0 * ones, live)
    loss, metrics = ppo_loss(policy, None, policy, experience, PPOConfig())
    assert loss.item() == -1.0
    assert metrics["clipped"] == 0.0
    assert torch.autograd.grad(loss, mean)[0].isfinite().all()
