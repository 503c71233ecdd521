"""The diagonal Gaussian as functions of tensors; components are independent, so densities add their logs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class Gaussian(NamedTuple):
    """Diagonal Gaussians; the two tensors broadcast against each other."""

    mean: torch.Tensor
    """``[..., A]``."""
    log_std: torch.Tensor
    """``[..., A]``."""


def sample(gaussian: Gaussian, generator: torch.Generator) -> torch.Tensor:
    """Draw from each Gaussian, ``[..., A]``; no gradient flows."""
    mean = gaussian.mean.detach()
    noise = torch.empty_like(mean).normal_(generator=generator)
    return torch.addcmul(mean, gaussian.log_std.detach().exp(), noise)


def log_prob(gaussian: Gaussian, values: torch.Tensor) -> torch.Tensor:
    """Return the log density of ``values`` ``[..., A]``, summed over components, ``[...]``."""
    # log p = -1/2 ((x - mu) / sigma)^2 - log sigma - 1/2 log 2 pi
    standardized = (values - gaussian.mean) * torch.exp(-gaussian.log_std)
    size = values.shape[-1]
    normalizer = gaussian.log_std.sum(dim=-1) + 0.5 * size * math.log(2 * math.pi)
    return -0.5 * standardized.square().sum(dim=-1) - normalizer


def kl_divergence(first: Gaussian, second: Gaussian) -> torch.Tensor:
    """Return KL(first || second), summed over components, ``[...]``."""
    # KL = log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2
    log_ratio = second.log_std - first.log_std
    moved = (first.mean - second.mean) * torch.exp(-second.log_std)
    divergence = log_ratio + 0.5 * (torch.exp(-2 * log_ratio) + moved.square()) - 0.5
    return divergence.sum(dim=-1)


def entropy(gaussian: Gaussian) -> torch.Tensor:
    """Return the differential entropy in nats, ``[...]``."""
    size = gaussian.log_std.shape[-1]
    return gaussian.log_std.sum(dim=-1) + 0.5 * size * (1 + math.log(2 * math.pi))


def fisher_product(gaussian: Gaussian, change: Gaussian) -> Gaussian:
    """Multiply a change of (mean, log_std) by the Fisher information at ``gaussian``.

    In these coordinates it is diagonal: ``1 / sigma^2`` for the mean and 2 for the log of the deviation.
    It is also the Hessian of :func:`kl_divergence` in its second argument where both are equal.
    """
    return Gaussian(change.mean * torch.exp(-2 * gaussian.log_std), 2 * change.log_std)
