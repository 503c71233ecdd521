"""Products of Gaussians: by hand, on a grid of densities, and whatever the order."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from metarl.functional.distributions import Gaussian
from metarl.functional.gaussian_products import (
    gather_evidence,
    kl_to_standard_normal,
    no_evidence,
    posterior,
)


def factors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return means and variances of seven factors for each of three tasks, ``[3, 7, 2]`` in float64."""
    generator = torch.Generator().manual_seed(seed)
    means, logs = (torch.randn(3, 7, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return means, logs.exp()


def test_product_of_two_by_hand() -> None:
    means, variances = torch.tensor([[1.0], [4.0]]), torch.tensor([[1.0], [0.5]])
    found = posterior(gather_evidence(means, variances))
    # precisions 1 and 2: variance 1/3, mean (1 x 1 + 2 x 4) / 3
    assert float(found.mean) == pytest.approx(3.0)
    assert float(found.log_std.exp()) == pytest.approx(math.sqrt(1 / 3))


def test_product_is_proportional_to_the_product_of_densities() -> None:
    means, variances = factors()
    found = posterior(gather_evidence(means, variances))
    grid = torch.linspace(-3, 3, 50, dtype=torch.float64)
    for task in range(3):
        for part in range(2):
            each = Normal(means[task, :, part], variances[task, :, part].sqrt())
            logs = each.log_prob(grid.unsqueeze(1)).sum(dim=1)
            whole = Normal(found.mean[task, part], found.log_std[task, part].exp()).log_prob(grid)
            difference = logs - whole
            torch.testing.assert_close(difference, difference[:1].expand(50), rtol=1e-9, atol=1e-9)


def test_order_of_factors_does_not_matter() -> None:
    means, variances = factors()
    order = [3, 1, 6, 0, 5, 2, 4]
    one, other = (
        posterior(gather_evidence(*pair))
        for pair in ((means, variances), (means[:, order], variances[:, order]))
    )
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.log_std, other.log_std, rtol=1e-12, atol=1e-12)


def test_evidence_adds_up() -> None:
    means, variances = factors()
    parts = gather_evidence(means[:, :3], variances[:, :3]) + gather_evidence(means[:, 3:], variances[:, 3:])
    for found, expected in zip(parts, gather_evidence(means, variances), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_masked_factor_does_not_count() -> None:
    means, variances = factors()
    mask = torch.arange(7).expand(3, 7) < 4
    found = gather_evidence(means, variances, mask)
    for part, expected in zip(found, gather_evidence(means[:, :4], variances[:, :4]), strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)


def test_posterior_without_evidence_is_the_standard_normal() -> None:
    means, variances = factors()
    for nothing in (
        no_evidence(3, 2),
        gather_evidence(means, variances, torch.zeros(3, 7, dtype=torch.bool)),
    ):
        found = posterior(nothing)
        assert not found.mean.any()
        assert not found.log_std.any()


def test_divergence_from_the_prior_is_torchs() -> None:
    means, variances = factors()
    found = kl_to_standard_normal(Gaussian(means, 0.5 * variances.log()))
    standard = Normal(torch.zeros_like(means), torch.ones_like(means))
    expected = torch.distributions.kl_divergence(Normal(means, variances.sqrt()), standard).sum(dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_gradient_is_that_of_finite_differences() -> None:
    means, variances = (value.requires_grad_() for value in factors())

    def whole(means: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        found = posterior(gather_evidence(means, variances))
        return torch.cat([found.mean, found.log_std, kl_to_standard_normal(found).unsqueeze(-1)], dim=-1)

    assert torch.autograd.gradcheck(whole, (means, variances))
