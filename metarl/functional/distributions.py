"""Diagonal Gaussian and categorical distributions of actions.

Components of a Gaussian are independent, so densities add their logs. A categorical draws one-hot vectors, so
that the values of either have a last axis A. Each function serves both, as the type of its argument says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import torch


class Gaussian(NamedTuple):
    """Diagonal Gaussians with broadcastable mean and deviation."""

    mean: torch.Tensor  # [..., A]
    log_std: torch.Tensor  # [..., A]


class Categorical(NamedTuple):
    """Choices of one of A, as one-hot vectors."""

    logits: torch.Tensor  # [..., A], log probabilities but for a constant


Distribution: TypeAlias = Gaussian | Categorical


def sample(distribution: Distribution, generator: torch.Generator) -> torch.Tensor:
    """Draw values ``[..., A]`` without gradients; NaN if the distribution is not finite."""
    if isinstance(distribution, Categorical):
        probabilities = distribution.logits.detach().softmax(dim=-1)
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        # multinomial refuses NaN with an error of its own; a Gaussian passes it on, and so does this
        drawn = torch.multinomial(flat.nan_to_num(nan=1.0), 1, generator=generator)
        chosen = torch.zeros_like(flat).scatter_(-1, drawn, 1.0).reshape(probabilities.shape)
        return chosen.masked_fill(probabilities.isnan(), math.nan)
    return gaussian_sample(distribution.mean.detach(), distribution.log_std.detach().exp(), generator)


def gaussian_sample(mean: torch.Tensor, std: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw values ``[..., A]`` around a mean."""
    noise = torch.empty_like(mean).normal_(generator=generator)
    return torch.addcmul(mean, std, noise)


def mode(distribution: Distribution) -> torch.Tensor:
    """Return the most likely values ``[..., A]``; NaN if the distribution is not finite."""
    if isinstance(distribution, Categorical):
        logits = distribution.logits
        chosen = torch.zeros_like(logits).scatter_(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
        return chosen.masked_fill(logits.softmax(dim=-1).isnan(), math.nan)
    return distribution.mean


def log_prob(distribution: Distribution, values: torch.Tensor) -> torch.Tensor:
    """Return log densities ``[...]`` of ``values`` ``[..., A]``, of one-hot ones log probabilities."""
    if isinstance(distribution, Categorical):
        # log p = sum_i x_i (l_i - log sum_j exp l_j)
        return (values * distribution.logits.log_softmax(dim=-1)).sum(dim=-1)
    log_std = distribution.log_std
    return gaussian_log_prob(values, distribution.mean, torch.exp(-log_std), gaussian_normalizer(log_std))


def gaussian_log_prob(
    values: torch.Tensor, mean: torch.Tensor, inverse_std: torch.Tensor, normalizer: torch.Tensor
) -> torch.Tensor:
    """Return log densities ``[...]``, with the :func:`gaussian_normalizer` of the deviation."""
    # log p = -1/2 ((x - mu) / sigma)^2 - log sigma - 1/2 log 2 pi
    standardized = (values - mean) * inverse_std
    return -0.5 * standardized.square().sum(dim=-1) - normalizer


def gaussian_normalizer(log_std: torch.Tensor) -> torch.Tensor:
    """Return what a Gaussian's log density lacks of ``-1/2 ((x - mu) / sigma)^2``, ``[...]``."""
    return log_std.sum(dim=-1) + 0.5 * log_std.shape[-1] * math.log(2 * math.pi)


def kl_divergence(first: Distribution, second: Distribution) -> torch.Tensor:
    """Return KL(first || second), summed over components, ``[...]``."""
    if isinstance(first, Categorical):
        assert isinstance(second, Categorical)
        # KL = sum_i p_i (log p_i - log q_i)
        logs, others = first.logits.log_softmax(dim=-1), second.logits.log_softmax(dim=-1)
        return (logs.exp() * (logs - others)).sum(dim=-1)
    assert isinstance(second, Gaussian)
    # KL = log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2
    log_ratio = second.log_std - first.log_std
    moved = (first.mean - second.mean) * torch.exp(-second.log_std)
    divergence = log_ratio + 0.5 * (torch.exp(-2 * log_ratio) + moved.square()) - 0.5
    return divergence.sum(dim=-1)


def entropy(distribution: Distribution) -> torch.Tensor:
    """Return entropy in nats, ``[...]``, of a Gaussian the differential one."""
    if isinstance(distribution, Categorical):
        logs = distribution.logits.log_softmax(dim=-1)
        return -(logs.exp() * logs).sum(dim=-1)
    size = distribution.log_std.shape[-1]
    return distribution.log_std.sum(dim=-1) + 0.5 * size * (1 + math.log(2 * math.pi))


def fisher_product(distribution: Distribution, change: Distribution) -> Distribution:
    """Multiply a change of the distribution's tensors by their Fisher information.

    Of a Gaussian it is diagonal: ``1 / sigma^2`` for the mean and 2 for the log of the deviation. Of a
    categorical with probabilities p it is ``diag(p) - p p'``. It is also the Hessian of
    :func:`kl_divergence` in its second argument where both are equal.
    """
    if isinstance(distribution, Categorical):
        assert isinstance(change, Categorical)
        probabilities = distribution.logits.softmax(dim=-1)
        mean = (probabilities * change.logits).sum(dim=-1, keepdim=True)
        return Categorical(probabilities * (change.logits - mean))
    assert isinstance(change, Gaussian)
    return Gaussian(change.mean * torch.exp(-2 * distribution.log_std), 2 * change.log_std)


def bounded_log_std(log_std: torch.Tensor, min_std: float, max_std: float) -> torch.Tensor:
    """Clip log deviations to their bounds, at which the slope is 1.

    The slope of ``clamp`` there is 0 from PyTorch 2.14 on (https://github.com/pytorch/pytorch/pull/191142): a
    deviation that an update clipped to a bound would stay for good.
    """
    held = log_std.detach().clamp(math.log(min_std), math.log(max_std))
    return torch.where(log_std == held, log_std, held) if torch.is_grad_enabled() else held


def rebuilt(distribution: Distribution, parts: Iterable[torch.Tensor]) -> Distribution:
    """Rebuild the distribution with other tensors."""
    return type(distribution)(*parts)
