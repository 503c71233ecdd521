"""Multi-layer perceptrons that act, as functions of parameters that the caller holds.

The Gaussian one moves in a space of real numbers, the categorical one takes one of several choices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch

from metarl.errors import require
from metarl.functional.distributions import (
    Categorical,
    Gaussian,
    bounded_log_std,
    gaussian_log_prob,
    gaussian_normalizer,
    gaussian_sample,
)
from metarl.types import Params

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
MAX_STD = 1e4  # largest bound of deviations: above what any action needs, below where their squares overflow


class ObservationScale(Protocol):
    """Shift and divisor of observations."""

    def __call__(self, observations: torch.Tensor, /) -> torch.Tensor:
        """Return scaled observations ``[M, B, O]``."""


@dataclass(frozen=True, kw_only=True)
class MLP:
    """Perceptron with own weights for each task."""

    observation_size: int
    action_size: int  # units of the last layer
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    scale: ObservationScale | None = None  # of observations, before the first layer

    def __post_init__(self) -> None:
        known = self.activation in ACTIVATIONS
        require(known, f"activation must be one of {sorted(ACTIVATIONS)}", repr(self.activation))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, without a task axis."""
        shapes: dict[str, tuple[int, ...]] = {}
        sizes = (self.observation_size, *self.hidden_sizes, self.action_size)
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            shapes[f"layer_{layer}.weight"] = (fan_in, fan_out)
            shapes[f"layer_{layer}.bias"] = (fan_out,)
        return shapes

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw Xavier-uniform weights (Glorot and Bengio 2010, equation 16), and zeros elsewhere."""
        params = {name: torch.zeros(shape, dtype=dtype) for name, shape in self.shapes.items()}
        for name, value in params.items():
            if name.endswith("weight"):
                bound = math.sqrt(6 / sum(value.shape))
                value.uniform_(-bound, bound, generator=generator)
        return params

    def scaled(self, scale: ObservationScale | None) -> Self:
        """Return the same perceptron for scaled observations, or for observations as they are."""
        return replace(self, scale=scale)

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each layer's output ``[M, B, units]``, the last one linear.

        Args:
            params: stacked, ``[M, ...]``.
            observations: ``[M, B, O]``.
        """
        hidden = observations if self.scale is None else self.scale(observations)
        found: dict[str, torch.Tensor] = {}
        for layer in range(len(self.hidden_sizes) + 1):
            bias = params[f"layer_{layer}.bias"].unsqueeze(1)
            hidden = torch.baddbmm(bias, hidden, params[f"layer_{layer}.weight"])
            hidden = ACTIVATIONS[self.activation](hidden) if layer < len(self.hidden_sizes) else hidden
            found[f"layer_{layer}"] = hidden
        return found

    def outputs(self, params: Params, observations: torch.Tensor) -> torch.Tensor:
        """Return the last layer's output, ``[M, B, A]``."""
        return self.activations(params, observations)[f"layer_{len(self.hidden_sizes)}"]


@dataclass(frozen=True, kw_only=True)
class GaussianMLPPolicy(MLP):
    """Perceptron of the mean, with a free deviation per action component."""

    initial_std: float = 1.0
    min_std: float = 1e-6  # the deviation never acts below this
    max_std: float = MAX_STD  # nor above this

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, without a task axis."""
        return {**super().shapes, "log_std": (self.action_size,)}

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw weights, in float32 for runs; deviations are the initial one."""
        params = super().initial_params(generator, dtype)
        params["log_std"].fill_(math.log(self.initial_std))
        return params

    def __call__(self, params: Params, observations: torch.Tensor) -> Gaussian:
        """Return every task's mean ``[M, B, A]`` and log deviation ``[M, 1, A]``."""
        return Gaussian(self.outputs(params, observations), self.log_std(params))

    def log_std(self, params: Params) -> torch.Tensor:
        """Return every task's log deviation within its bounds, ``[M, 1, A]``."""
        # at a bound the slope is that of log_std; beyond it, where log_std has no effect, there is none
        return self._bounded(params["log_std"]).unsqueeze(1)

    def within_bounds(self, params: Params) -> Params:
        """Clip every deviation to its bounds; the policy acts as before.

        Applied after each outer step, so that a deviation does not drift where it has no effect.
        """
        return {**params, "log_std": self._bounded(params["log_std"])}

    def _bounded(self, log_std: torch.Tensor) -> torch.Tensor:
        return bounded_log_std(log_std, self.min_std, self.max_std)


class ActingGaussian:
    """A Gaussian policy with fixed parameters, which acts; other parameters need another.

    What the parameters alone decide is computed once, where each step would do it again. The bits are those
    of :func:`.distributions.sample` and :func:`.distributions.log_prob`.
    """

    @torch.no_grad()
    def __init__(self, policy: GaussianMLPPolicy, params: Params) -> None:
        self._policy, self._params = policy, params
        log_std = policy.log_std(params)
        self._std, self._inverse_std = log_std.exp(), torch.exp(-log_std)
        self._normalizer = gaussian_normalizer(log_std)

    def __call__(
        self, observations: torch.Tensor, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw actions ``[M, B, A]``, or the likeliest without a generator; return log densities too."""
        mean = self._policy.outputs(self._params, observations)
        actions = mean if generator is None else gaussian_sample(mean, self._std, generator)
        return actions, gaussian_log_prob(actions, mean, self._inverse_std, self._normalizer)


@dataclass(frozen=True, kw_only=True)
class CategoricalMLPPolicy(MLP):
    """Perceptron of the logit of each choice."""

    def __call__(self, params: Params, observations: torch.Tensor) -> Categorical:
        """Return every task's logits, ``[M, B, A]``."""
        return Categorical(self.outputs(params, observations))

    def within_bounds(self, params: Params) -> Params:
        """Return the parameters; none of them has bounds."""
        return params
