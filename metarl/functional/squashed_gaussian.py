"""The tanh of a Gaussian, within -1..1 (Haarnoja et al. 2018, arXiv 1801.01290, appendix C)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from metarl.functional.distributions import Gaussian

EPSILON = 1e-6  # keeps the logarithm finite where tanh has rounded to 1; the authors' own number


class SquashedSample(NamedTuple):
    """Actions and the log density of each."""

    actions: torch.Tensor  # [..., A], between -1 and 1
    log_probs: torch.Tensor  # [...]


def squash(gaussian: Gaussian, noise: torch.Tensor) -> SquashedSample:
    """Turn standard normal noise into squashed actions.

    Zeros give the action of the mean. Gradients flow to mean and deviation through the actions and their
    densities (the reparametrisation).
    """
    actions = torch.tanh(torch.addcmul(gaussian.mean, gaussian.log_std.exp(), noise))
    # log N(u; mu, sigma) = sum_i (-e_i^2 / 2 - log sigma_i - log(2 pi) / 2) with u = mu + sigma e
    before = noise.square().mul(-0.5) - gaussian.log_std - 0.5 * math.log(2 * math.pi)
    # log pi(a) = log N(u) - sum_i log(1 - tanh(u_i)^2)
    return SquashedSample(actions, (before - torch.log(1 - actions.square() + EPSILON)).sum(dim=-1))
