"""Soft actor-critic's squashed Gaussian and twin Q functions.

Source: Haarnoja et al. 2018, arXiv 1812.05905. Both read a state, which an agent puts together: the
observation alone, or with what it inferred of the task beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metarl.functional.distributions import Gaussian
from metarl.networks.dense import DenseNetwork
from metarl.types import Params

POLICY, CRITIC = "policy", "critic"
MIN_LOG_STD, MAX_LOG_STD = -20.0, 2.0  # bounds of the policy's log deviations, the authors' own


@dataclass(frozen=True, kw_only=True)
class SquashedPolicy:
    """Perceptron of the mean and log deviation of numbers before the tanh."""

    state_size: int
    action_size: int
    hidden_sizes: tuple[int, ...]

    @property
    def network(self) -> DenseNetwork:
        """Perceptron of means and log deviations."""
        return DenseNetwork(POLICY, (self.state_size, *self.hidden_sizes, 2 * self.action_size))

    def __call__(self, params: Params, states: torch.Tensor) -> Gaussian:
        """Return the Gaussian before the tanh, ``[B, A]``, for states ``[B, S]``."""
        mean, log_std = self.network(params, states).chunk(2, dim=-1)
        return Gaussian(mean, log_std.clamp(MIN_LOG_STD, MAX_LOG_STD))


@dataclass(frozen=True, kw_only=True)
class TwinCritic:
    """Two Q functions, stacked for one product."""

    state_size: int
    action_size: int
    hidden_sizes: tuple[int, ...]

    @property
    def network(self) -> DenseNetwork:
        """Both perceptrons."""
        return DenseNetwork(CRITIC, (self.state_size + self.action_size, *self.hidden_sizes, 1), copies=2)

    def __call__(self, params: Params, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Return values ``[2, B]`` of states ``[B, S]`` and actions ``[B, A]`` in -1..1."""
        return self.network(params, torch.cat([states, actions], dim=-1)).squeeze(-1)
