"""Decoders: every pair of a step and an embedding, as one perceptron of both gives it."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from metarl.networks.decoders import LatentDecoder
from metarl.types import Params

DECODER = LatentDecoder(name="d", input_size=3, latent_size=2, output_size=4, hidden_sizes=(6, 5))


def drawn() -> tuple[Params, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = DECODER.initial_params(generator, torch.float64)
    params = {
        name: value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in params.items()
    }
    steps = torch.randn(5, 2, 3, generator=generator, dtype=torch.float64)
    latents = torch.randn(7, 2, 2, generator=generator, dtype=torch.float64)
    return params, steps, latents


def test_pairs_are_those_of_a_loop_over_a_joined_input() -> None:
    params, steps, latents = drawn()
    found = DECODER(params, steps, latents)
    assert found.shape == (7, 5, 2, 4)
    weight = torch.cat([params["d_step.weight"], params["d_latent.weight"]], dim=1)
    bias = params["d_step.bias"] + params["d_latent.bias"]
    for latent in range(7):
        for step in range(5):
            joined = torch.cat([steps[step], latents[latent]], dim=-1)
            hidden = torch.relu(linear(joined, weight, bias))
            hidden = torch.relu(linear(hidden, params["d_layer_0.weight"], params["d_layer_0.bias"]))
            expected = linear(hidden, params["d_layer_1.weight"], params["d_layer_1.bias"])
            torch.testing.assert_close(found[latent, step], expected)


def test_trials_do_not_mix() -> None:
    params, steps, latents = drawn()
    alone = DECODER(params, steps[:, :1], latents[:, :1])
    torch.testing.assert_close(DECODER(params, steps, latents)[:, :, :1], alone)
