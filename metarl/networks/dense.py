"""Perceptrons of rectified linear units, which can be stacked, for off-policy agents.

Layers are named ``NAME.layer_0.weight`` and so on, so that one dict holds several networks.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from metarl.types import Params


@dataclass(frozen=True)
class DenseNetwork:
    """Perceptron, or several stacked, of the same inputs.

    Weights are ``[in, out]`` and biases ``[out]``; of several copies ``[copies, in, out]`` and
    ``[copies, 1, out]``, so that one batched product serves all.
    """

    name: str  # prefix of the parameters' names
    sizes: tuple[int, ...]  # inputs, units of each hidden layer, outputs
    copies: int = 0  # number of stacked networks; 0 for a single one, without an axis for it

    @property
    def layers(self) -> int:
        """Layers of weights."""
        return len(self.sizes) - 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            stacked = (self.copies, fan_in, fan_out) if self.copies else (fan_in, fan_out)
            shapes[f"{self.name}.layer_{layer}.weight"] = stacked
            shapes[f"{self.name}.layer_{layer}.bias"] = (
                (self.copies, 1, fan_out) if self.copies else (fan_out,)
            )
        return shapes

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw all parameters uniformly within 1 / sqrt(fan-in), as :class:`torch.nn.Linear` does."""
        params: Params = {}
        for layer, fan_in in enumerate(self.sizes[:-1]):
            for part in ("weight", "bias"):
                name = f"{self.name}.layer_{layer}.{part}"
                bound = 1 / math.sqrt(fan_in)
                params[name] = torch.empty(self.shapes[name], dtype=dtype)
                params[name].uniform_(-bound, bound, generator=generator)
        return params

    def __call__(self, params: Params, inputs: torch.Tensor) -> torch.Tensor:
        """Return outputs ``[B, out]`` for ``[B, in]``, of several copies ``[copies, B, out]``."""
        hidden = inputs.expand(self.copies, *inputs.shape) if self.copies else inputs
        product = torch.baddbmm if self.copies else torch.addmm
        for layer in range(self.layers):
            bias, weight = (params[f"{self.name}.layer_{layer}.{part}"] for part in ("bias", "weight"))
            hidden = product(bias, hidden, weight)
            hidden = hidden if layer == self.layers - 1 else torch.relu(hidden)
        return hidden
