"""The squashed Gaussian against torch.distributions and finite differences."""

from __future__ import annotations

import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from metarl.functional.distributions import Gaussian
from metarl.functional.squashed_gaussian import squash


def draw(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.7 * torch.randn(20, 3, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_density_is_that_of_a_transformed_normal() -> None:
    mean, log_std, noise = draw(3)
    found = squash(Gaussian(mean, log_std), noise)
    transformed = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    expected = transformed.log_prob((mean + log_std.exp() * noise).tanh()).sum(dim=-1)
    # the epsilon that keeps the logarithm finite weighs where tanh is near 1
    torch.testing.assert_close(found.log_probs, expected, rtol=1e-3, atol=1e-4)


def test_density_of_a_saturated_action_is_finite() -> None:
    found = squash(Gaussian(torch.tensor([50.0]), torch.tensor([0.0])), torch.zeros(1))
    assert float(found.actions) == 1.0
    assert found.log_probs.isfinite()


def test_gradients_are_those_of_finite_differences() -> None:
    mean, log_std, noise = draw(3)

    def both(mean: torch.Tensor, log_std: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(squash(Gaussian(mean, log_std), noise))  # type: ignore[return-value]  # two of them

    assert torch.autograd.gradcheck(both, (mean.requires_grad_(), log_std.requires_grad_()))
