"""Multi-layer perceptrons that act, as functions of parameters that the caller holds.

The Gaussian one moves in a space of real numbers, the categorical one takes one of several choices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from metarl.errors import MetarlError
from metarl.functional.distributions import Categorical, Gaussian
from metarl.types import Params

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
MAX_STD = 1e4
"""Largest bound of deviations: above what any action needs, below where their squares overflow."""


@dataclass(frozen=True, kw_only=True)
class GaussianMLPPolicy:
    """Perceptron of the mean; each action component has a deviation as a parameter."""

    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    initial_std: float = 1.0
    min_std: float = 1e-6
    """The deviation never acts below this."""
    max_std: float = MAX_STD
    """Nor above this."""

    def __post_init__(self) -> None:
        _check_activation(self.activation)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, without a task axis."""
        layers = layer_shapes((self.observation_size, *self.hidden_sizes, self.action_size))
        return {**layers, "log_std": (self.action_size,)}

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw weights, in float32 for runs; deviations are the initial one."""
        params = draw_layers(self.shapes, generator, dtype)
        params["log_std"].fill_(math.log(self.initial_std))
        return params

    def __call__(self, params: Params, observations: torch.Tensor) -> Gaussian:
        """Return every task's mean ``[M, B, A]`` and log deviation ``[M, 1, A]``.

        Args:
            params: stacked, ``[M, ...]``.
            observations: ``[M, B, O]``.
        """
        mean = self.activations(params, observations)[f"layer_{len(self.hidden_sizes)}"]
        # at a bound the slope is that of log_std; beyond it, where log_std has no effect, there is none
        return Gaussian(mean, self._bounded(params["log_std"]).unsqueeze(1))

    def within_bounds(self, params: Params) -> Params:
        """Clip every deviation to its bounds; the policy acts as before.

        Applied after each outer step, so that a deviation does not drift where it has no effect.
        """
        return {**params, "log_std": self._bounded(params["log_std"])}

    def _bounded(self, log_std: torch.Tensor) -> torch.Tensor:
        return log_std.clamp(math.log(self.min_std), math.log(self.max_std))

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each layer's output ``[M, B, units]`` for ``[M, B, O]``; the last is the mean."""
        return perceptron(params, observations, len(self.hidden_sizes), ACTIVATIONS[self.activation])


@dataclass(frozen=True, kw_only=True)
class CategoricalMLPPolicy:
    """A perceptron gives the logit of each choice."""

    observation_size: int
    action_size: int
    """Choices."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"

    def __post_init__(self) -> None:
        _check_activation(self.activation)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, without a task axis."""
        return layer_shapes((self.observation_size, *self.hidden_sizes, self.action_size))

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw the weights."""
        return draw_layers(self.shapes, generator, dtype)

    def __call__(self, params: Params, observations: torch.Tensor) -> Categorical:
        """Return every task's logits ``[M, B, A]``.

        Args:
            params: stacked, ``[M, ...]``.
            observations: ``[M, B, O]``.
        """
        return Categorical(self.activations(params, observations)[f"layer_{len(self.hidden_sizes)}"])

    def within_bounds(self, params: Params) -> Params:
        """Return the parameters; none of them has bounds."""
        return params

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each layer's output ``[M, B, units]`` for ``[M, B, O]``; the last is the logits."""
        return perceptron(params, observations, len(self.hidden_sizes), ACTIVATIONS[self.activation])


def layer_shapes(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return shapes of a perceptron's weights and biases."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        shapes[f"layer_{layer}.weight"] = (fan_in, fan_out)
        shapes[f"layer_{layer}.bias"] = (fan_out,)
    return shapes


def draw_layers(shapes: dict[str, tuple[int, ...]], generator: torch.Generator, dtype: torch.dtype) -> Params:
    """Draw Xavier-uniform weights (Glorot and Bengio 2010, equation 16), and zeros elsewhere."""
    params = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    for name, value in params.items():
        if name.endswith("weight"):
            bound = math.sqrt(6 / sum(value.shape))
            value.uniform_(-bound, bound, generator=generator)
    return params


def perceptron(
    params: Params,
    observations: torch.Tensor,
    hidden_layers: int,
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Return each layer's output ``[M, B, units]``; every task has its own weights."""
    hidden, found = observations, {}
    for layer in range(hidden_layers + 1):
        bias = params[f"layer_{layer}.bias"].unsqueeze(1)
        hidden = torch.baddbmm(bias, hidden, params[f"layer_{layer}.weight"])
        hidden = activation(hidden) if layer < hidden_layers else hidden
        found[f"layer_{layer}"] = hidden
    return found


def _check_activation(name: str) -> None:
    if name not in ACTIVATIONS:
        raise MetarlError(f"activation must be one of {sorted(ACTIVATIONS)}, but it is {name!r}.")
