"""Linear layers and perceptrons by name, with parameters that all tasks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import linear

from metarl.types import Params


def draw_layer(
    name: str,
    inputs: int,
    units: int,
    generator: torch.Generator,
    *,
    gain: float = math.sqrt(2),
    dtype: torch.dtype = torch.float32,
) -> Params:
    """Draw orthogonal weights ``[units, inputs]`` and zero biases.

    Source: Saxe et al. 2014 (arXiv 1312.6120); which gain goes where is from Andrychowicz et al. 2021
    (arXiv 2006.05990).
    """
    weight = torch.empty(units, inputs, dtype=dtype)
    torch.nn.init.orthogonal_(weight, gain, generator=generator)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(units, dtype=dtype)}


def apply_layer(params: Params, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """Return ``inputs W' + b``, ``[..., inputs]`` to ``[..., units]``."""
    return linear(inputs, params[f"{name}.weight"], params[f"{name}.bias"])


def draw_layers(
    name: str,
    sizes: Sequence[int],
    generator: torch.Generator,
    *,
    last_gain: float,
    dtype: torch.dtype = torch.float32,
) -> Params:
    """Draw a perceptron; ``sizes`` are its inputs, and the units of each layer."""
    params: Params = {}
    last = len(sizes) - 2
    for layer in range(last + 1):
        gain = last_gain if layer == last else math.sqrt(2)
        params |= draw_layer(
            f"{name}_{layer}", sizes[layer], sizes[layer + 1], generator, gain=gain, dtype=dtype
        )
    return params


def apply_layers(
    params: Params, name: str, inputs: torch.Tensor, activation: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the outputs of a perceptron with a linear last layer."""
    layer = 0
    hidden = apply_layer(params, f"{name}_0", inputs)
    while f"{name}_{layer + 1}.weight" in params:
        layer += 1
        hidden = apply_layer(params, f"{name}_{layer}", activation(hidden))
    return hidden
