"""Evidence lower bound of beliefs over a trial.

Source: Zintgraf et al. 2020, arXiv 1910.08348.

For a belief at step t of a trial of H steps,

    ELBO_t = E_{m ~ q(m | tau_:t)} [log p(tau_:H | m)] - KL(q(m | tau_:t) || q(m | tau_:t-1)),

where the prior of the first belief is N(0, 1). The likelihood is of the whole trial, past and future: a
belief is worth as much as it says of what is still to come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch

from metarl.functional.distributions import Gaussian, kl_divergence


class Picks(NamedTuple):
    """Weighted steps of each of B trials."""

    steps: torch.Tensor  # [n, B] int64
    weights: torch.Tensor
    """``[n, B]``; the expectation of weighted sums over the picks is the sum over all live steps."""

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Pick entries ``[n, B, ...]`` of ``[S, B, ...]``."""
        index = self.steps.view(*self.steps.shape, *[1] * (values.ndim - 2))
        return values.gather(0, index.expand(*self.steps.shape, *values.shape[2:]))


def all_steps(live: torch.Tensor) -> Picks:
    """Pick every step, with weight 0 where ``live``, ``[S, B]``, is false."""
    steps = torch.arange(len(live), device=live.device).unsqueeze(1).expand(live.shape)
    return Picks(steps, live.float())


def random_steps(live: torch.Tensor, count: int, generator: torch.Generator) -> Picks:
    """Pick ``count`` random steps of every trial, or all for 0.

    There is one from each of as many equal parts of the trial. ``live``, ``[S, B]`` bool, is true up to each
    trial's end; the generator is on the CPU.
    """
    if not 0 < count < len(live):
        return all_steps(live)
    lengths = live.sum(dim=0)
    within = torch.rand(count, live.shape[1], generator=generator, dtype=torch.float64).to(live.device)
    parts = torch.arange(count, device=live.device).unsqueeze(1)
    steps = torch.minimum(((parts + within) / count * lengths).long(), lengths - 1)
    return Picks(steps, (lengths / count).float().expand(steps.shape))


def sample_latents(belief: Gaussian, generator: torch.Generator) -> torch.Tensor:
    """Draw ``m = mean + std * noise`` (Kingma and Welling 2014, arXiv 1312.6114, section 2.4)."""
    noise = torch.randn(belief.mean.shape, generator=generator, dtype=belief.mean.dtype)
    return belief.mean + belief.log_std.exp() * noise.to(belief.mean.device)


def belief_divergences(beliefs: Gaussian) -> torch.Tensor:
    """Return each belief's divergence from its predecessor, ``[S, B]`` in nats.

    ``beliefs`` are ``[S, B, L]``; the first is compared with N(0, 1).
    """
    before = Gaussian(*(torch.cat([torch.zeros_like(part[:1]), part[:-1]]) for part in beliefs))
    return kl_divergence(beliefs, before)


def unit_log_likelihood(predicted: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return ``log N(seen; predicted, 1)``, ``[..., D]`` to ``[...]``."""
    size = seen.shape[-1]
    return -0.5 * (seen - predicted).square().sum(dim=-1) - 0.5 * size * math.log(2 * math.pi)


Decoder: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps steps ``[N, B, I]`` and embeddings ``[P, B, L]`` to predictions ``[P, N, B, D]``."""


class Prediction(NamedTuple):
    """Inputs and targets of one decoder."""

    name: str
    decoder: Decoder
    inputs: torch.Tensor  # [S, B, I]
    targets: torch.Tensor  # [S, B, D], in units of their deviation
    weight: float  # of its log likelihood


class ELBO(NamedTuple):
    """Minus the bound, as a loss, and metrics."""

    loss: torch.Tensor  # a scalar that can be differentiated
    metrics: dict[str, float]
    """``elbo``, ``belief_kl`` (nats of a belief from the one before) and mean squared ``NAME_error``."""


def elbo_loss(
    beliefs: Gaussian,
    predictions: list[Prediction],
    *,
    times: Picks,
    steps: Picks,
    latents: torch.Tensor,
    kl_weight: float,
) -> ELBO:
    """Return minus the mean of ELBO_t over trials and their steps t.

    Args:
        beliefs: ``[S, B, L]``, before each step.
        predictions: each decoder with its inputs and targets.
        times: the t at which the bound is taken, P of each trial.
        steps: those that are decoded, N of each trial, whatever t is.
        latents: ``[P, B, L]``, drawn from the beliefs at ``times``.
        kl_weight: of the divergences; 1 is the bound itself.
    """
    # weights that add up to one over the t of all trials
    of_times = times.weights / times.weights.sum()
    divergence = (of_times * times.of(belief_divergences(beliefs))).sum()
    loss = kl_weight * divergence
    metrics = {"belief_kl": divergence.item()}
    of_pairs = of_times.unsqueeze(1) * steps.weights
    for name, decoder, inputs, targets, weight in predictions:
        # sum over i of log p(step i | m_t), for each t
        predicted, seen = decoder(steps.of(inputs), latents), steps.of(targets)
        likelihood = (of_pairs * unit_log_likelihood(predicted, seen)).sum()
        loss = loss - weight * likelihood
        with torch.no_grad():
            errors = (predicted - seen).square().mean(dim=-1)
            metrics[f"{name}_error"] = float((of_pairs * errors).sum() / of_pairs.sum())
    return ELBO(loss, {"elbo": -loss.item(), **metrics})
