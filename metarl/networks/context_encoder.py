"""Probabilistic encoder of experience: each transition is a Gaussian factor of the task.

Source: Rakelly et al. 2019, PEARL (arXiv 1903.08254), section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from metarl.functional.gaussian_products import Evidence, gather_evidence
from metarl.networks.dense import DenseNetwork
from metarl.types import Params

ENCODER = "encoder"
MIN_VARIANCE = 1e-7  # least variance of a factor, so that precisions are finite


@dataclass(frozen=True, kw_only=True)
class ContextEncoder:
    """Perceptron from a transition to its Gaussian factor's mean and variance."""

    context_size: int  # size of a transition: observation, action, reward, and maybe the next observation
    latent_size: int  # Z
    hidden_sizes: tuple[int, ...]

    @property
    def network(self) -> DenseNetwork:
        """Perceptron of the means, then of numbers that become the variances."""
        return DenseNetwork(ENCODER, (self.context_size, *self.hidden_sizes, 2 * self.latent_size))

    def __call__(self, params: Params, context: torch.Tensor, mask: torch.Tensor | None = None) -> Evidence:
        """Multiply each task's factors to evidence ``[M, Z]``.

        The order of transitions ``[M, C, context_size]`` does not matter; ``mask``, ``[M, C]`` bool, says
        which there are, all by default.
        """
        raw = self.network(params, context.flatten(0, -2)).view(*context.shape[:-1], 2 * self.latent_size)
        means, variances = raw.chunk(2, dim=-1)
        return gather_evidence(means, softplus(variances).clamp(min=MIN_VARIANCE), mask)
