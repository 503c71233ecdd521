"""The Gaussian multi-layer perceptron: shapes and initial values; the parameters are in the caller's hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from metarl.distributions import Gaussian
from metarl.errors import MetarlError
from metarl.types import Params

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


@dataclass(frozen=True, kw_only=True)
class GaussianMLPPolicy:
    """A perceptron gives the mean; the deviation of each action component is a parameter of its own."""

    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    initial_std: float = 1.0
    min_std: float = 1e-6
    """The deviation never falls below this; there its gradient is zero."""

    def __post_init__(self) -> None:
        """Check the activation's name."""
        if self.activation not in ACTIVATIONS:
            raise MetarlError(
                f"activation must be one of {sorted(ACTIVATIONS)}, but it is {self.activation!r}."
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, without a task axis."""
        sizes = (self.observation_size, *self.hidden_sizes, self.action_size)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            shapes[f"layer_{layer}.weight"] = (fan_in, fan_out)
            shapes[f"layer_{layer}.bias"] = (fan_out,)
        return {**shapes, "log_std": (self.action_size,)}

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw weights by Xavier's uniform rule (Glorot and Bengio 2010, equation 16); biases are zero."""
        params = {name: torch.zeros(shape, dtype=dtype) for name, shape in self.shapes.items()}
        for name, value in params.items():
            if name.endswith("weight"):
                bound = math.sqrt(6 / sum(value.shape))
                value.uniform_(-bound, bound, generator=generator)
        params["log_std"].fill_(math.log(self.initial_std))
        return params

    def __call__(self, params: Params, observations: torch.Tensor) -> Gaussian:
        """Return every task's action distribution.

        Args:
            params: stacked, ``[M, ...]``.
            observations: ``[M, B, O]``.

        Returns:
            Mean ``[M, B, A]`` and log deviation ``[M, 1, A]``.
        """
        mean = self.activations(params, observations)[f"layer_{len(self.hidden_sizes)}"]
        log_std = params["log_std"].clamp(min=math.log(self.min_std))
        return Gaussian(mean, log_std.unsqueeze(1))

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what each layer makes of ``[M, B, O]``: ``[M, B, units]``; the last is the mean."""
        activation = ACTIVATIONS[self.activation]
        last = len(self.hidden_sizes)
        hidden, found = observations, {}
        for layer in range(last + 1):
            bias = params[f"layer_{layer}.bias"].unsqueeze(1)
            hidden = torch.baddbmm(bias, hidden, params[f"layer_{layer}.weight"])
            hidden = activation(hidden) if layer < last else hidden
            found[f"layer_{layer}"] = hidden
        return found
