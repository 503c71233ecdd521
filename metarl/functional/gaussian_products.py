"""Gaussian products as sums of natural parameters.

Source: Rakelly et al. 2019, PEARL (arXiv 1903.08254), section 4.1: ``q(z|c)`` is proportional to the product
over transitions of ``N(f_mu(c_n), f_sigma(c_n))``. A product does not depend on the order of its factors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from metarl.functional.distributions import Gaussian, kl_divergence


class Evidence(NamedTuple):
    """Natural parameters of a product of Gaussians; those of more factors add up."""

    precision: torch.Tensor  # [..., Z], sum of the factors' 1 / sigma^2, zero without factors
    weighted_mean: torch.Tensor  # [..., Z], sum of the factors' mu / sigma^2

    def __add__(self, other: object) -> Evidence:
        if not isinstance(other, Evidence):
            return NotImplemented
        return Evidence(self.precision + other.precision, self.weighted_mean + other.weighted_mean)


def no_evidence(*shape: int, device: torch.device | None = None) -> Evidence:
    """Return the product of no factors."""
    return Evidence(torch.zeros(shape, device=device), torch.zeros(shape, device=device))


def gather_evidence(
    means: torch.Tensor, variances: torch.Tensor, mask: torch.Tensor | None = None
) -> Evidence:
    """Multiply C factors, of means and variances ``[..., C, Z]``, to evidence ``[..., Z]``.

    ``mask``, ``[..., C]`` bool, says which factors count, all by default.
    """
    precisions = variances.reciprocal()
    if mask is not None:
        precisions = precisions.where(mask.unsqueeze(-1), 0.0)
    return Evidence(precisions.sum(dim=-2), (precisions * means).sum(dim=-2))


def posterior(evidence: Evidence) -> Gaussian:
    """Return the product as a Gaussian, the standard normal where there is no evidence.

    1 / sigma^2 = sum_n 1 / sigma_n^2,   mu = sigma^2 sum_n mu_n / sigma_n^2
    """
    known = evidence.precision > 0
    precision = evidence.precision.where(known, 1.0)
    return Gaussian(evidence.weighted_mean / precision, -0.5 * precision.log())


def kl_to_standard_normal(gaussian: Gaussian) -> torch.Tensor:
    """Return KL(gaussian || N(0, 1)) over components, ``[...]``."""
    zeros = torch.zeros_like(gaussian.mean)
    return kl_divergence(gaussian, Gaussian(zeros, zeros))
