"""The probabilistic encoder: order, masks, tasks one by one, and gradients."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from metarl.functional.gaussian_products import posterior
from metarl.networks.context_encoder import ContextEncoder
from metarl.types import Params

ENCODER = ContextEncoder(context_size=4, latent_size=3, hidden_sizes=(6, 5))


def draw(dtype: torch.dtype = torch.float64) -> tuple[Params, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = ENCODER.network.initial_params(generator, dtype)
    return params, torch.randn(3, 8, 4, generator=generator, dtype=dtype)


def test_posterior_is_the_product_over_a_loop() -> None:
    params, context = draw()
    found = posterior(ENCODER(params, context))
    for task in range(3):
        precision = weighted = torch.zeros(3, dtype=torch.float64)
        for transition in context[task]:
            mean, raw = ENCODER.network(params, transition.unsqueeze(0)).squeeze(0).chunk(2)
            variance = softplus(raw)
            precision, weighted = precision + 1 / variance, weighted + mean / variance
        torch.testing.assert_close(found.mean[task], weighted / precision, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.log_std[task].exp(), precision.rsqrt(), rtol=1e-10, atol=1e-10)


def test_order_of_the_context_does_not_matter() -> None:
    params, context = draw()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    for one, other in zip(ENCODER(params, context), ENCODER(params, context[:, order]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_transition_that_is_masked_does_not_count() -> None:
    params, context = draw()
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, 5:] = False
    found = ENCODER(params, context, mask)
    shorter = ENCODER(params, context[1:2, :5])
    torch.testing.assert_close(found.precision[1:2], shorter.precision, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.weighted_mean[1:2], shorter.weighted_mean, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    params, context = draw()
    names = list(params)

    def latents(*values: torch.Tensor) -> torch.Tensor:
        found = posterior(ENCODER(dict(zip(names, values, strict=True)), context))
        return found.mean + found.log_std

    assert torch.autograd.gradcheck(latents, tuple(value.requires_grad_() for value in params.values()))
