"""Decoders that predict a task's steps from an embedding of the task."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metarl.networks.layers import apply_layer, apply_layers, draw_layer, draw_layers
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class LatentDecoder:
    """Perceptron of pairs of steps and embeddings.

    The first layer is linear in both, so each is multiplied once and pairs are only added.
    """

    name: str  # begins the names of its parameters
    input_size: int  # I, numbers of a step
    latent_size: int  # L, numbers of an embedding
    output_size: int  # D
    hidden_sizes: tuple[int, ...]

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw orthogonal weights, small ones for the outputs."""
        # W [step, embedding] = W_s step + W_e embedding: two layers, added
        first, *others = self.hidden_sizes
        return {
            **draw_layer(f"{self.name}_step", self.input_size, first, generator, dtype=dtype),
            **draw_layer(f"{self.name}_latent", self.latent_size, first, generator, dtype=dtype),
            **draw_layers(
                f"{self.name}_layer",
                (first, *others, self.output_size),
                generator,
                # small first predictions, whatever the embedding
                last_gain=0.1,
                dtype=dtype,
            ),
        }

    def __call__(self, params: Params, steps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Predict B trials' pairs of steps and embeddings.

        Steps are ``[N, B, I]``, embeddings ``[P, B, L]``, predictions ``[P, N, B, D]``.
        """
        of_step = apply_layer(params, f"{self.name}_step", steps)
        of_latent = apply_layer(params, f"{self.name}_latent", latents)
        hidden = torch.relu(of_latent.unsqueeze(1) + of_step)
        return apply_layers(params, f"{self.name}_layer", hidden, torch.relu)
