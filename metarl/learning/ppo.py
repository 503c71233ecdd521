"""Proximal policy optimisation on batches of whole trials (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from metarl.errors import require
from metarl.functional.distributions import Distribution, entropy, kl_divergence, log_prob
from metarl.settings import Settings
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class PPOConfig(Settings):
    """Losses and minibatches."""

    clip: float = 0.2
    """Likelihood ratios count within one plus or minus this."""
    epochs: int = 5
    """Passes over each meta-batch."""
    minibatches: int = 4
    """Parts of a pass, each with a step of its own."""
    max_kl: float = 0.03
    """Passes end when the policy has moved this far from the one that acted; 0 never ends them."""
    value_weight: float = 0.5
    """Weight of the value's squared error."""
    entropy_weight: float = 0.0
    """Weight of the entropy, which is raised."""
    max_gradient_norm: float = 1.0
    """Longer gradients are shortened to this."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(0 < self.clip <= 10, "clip must be positive and at most 10", self.clip)
        require(1 <= self.epochs <= 1000, "epochs must be between 1 and 1000", self.epochs)
        require(1 <= self.minibatches <= 10_000, "minibatches must be between 1 and 10000", self.minibatches)
        require(0 <= self.max_kl <= 1000, "max_kl must be between 0 and 1000", self.max_kl)
        require(0 <= self.value_weight <= 1000, "value_weight must be between 0 and 1000", self.value_weight)
        require(
            0 <= self.entropy_weight <= 1000, "entropy_weight must be between 0 and 1000", self.entropy_weight
        )
        require(
            0 < self.max_gradient_norm <= 1e9,
            "max_gradient_norm must be positive and at most 1e9",
            self.max_gradient_norm,
        )


class Experience(NamedTuple):
    """Steps that a policy took; all shapes but the actions' are ``[S, B]``."""

    actions: torch.Tensor
    """``[S, B, A]``."""
    log_probs: torch.Tensor
    """Under the policy that acted."""
    advantages: torch.Tensor
    """Scaled as the loss takes them."""
    targets: torch.Tensor
    """What the value should be."""
    live: torch.Tensor
    """Bool; other steps do not count."""

    def of_trials(self, chosen: torch.Tensor) -> Experience:
        """Return some of the trials, by their numbers."""
        return Experience(*(part[:, chosen] for part in self))


class PPOLoss(NamedTuple):
    """The loss of a minibatch and what makes it up."""

    loss: torch.Tensor
    """A scalar that can be differentiated."""
    kl: float
    """Mean divergence from the policy that acted to this one."""
    metrics: dict[str, float]


def ppo_loss(
    policy: Distribution,
    values: torch.Tensor,
    acted: Distribution,
    experience: Experience,
    config: PPOConfig,
) -> PPOLoss:
    """Return the loss of some trials, a mean over their live steps.

    Args:
        policy: of each step, ``[S, B, ...]``.
        values: of each step, ``[S, B]``.
        acted: the distribution that the actions were drawn from, for the divergence.
        experience: of the same steps.
        config: weights and the clipping range.
    """
    weights = experience.live / experience.live.sum().clamp(min=1)
    new_log_probs = log_prob(policy, experience.actions)
    # equation 7: min(r A, clip(r, 1 - epsilon, 1 + epsilon) A), with r the likelihood ratio
    ratio = torch.exp(new_log_probs - experience.log_probs)
    held = ratio.clamp(1 - config.clip, 1 + config.clip)
    gain = torch.minimum(ratio * experience.advantages, held * experience.advantages)
    policy_loss = -(weights * gain).sum()
    # equation 9: the value's squared error and the entropy beside it
    value_loss = (weights * (values - experience.targets).square()).sum()
    spread = (weights * entropy(policy).expand_as(weights)).sum()
    loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * spread
    with torch.no_grad():
        kl = float((weights * kl_divergence(acted, policy)).sum())
        clipped = float((weights * ((ratio - 1).abs() > config.clip)).sum())
    metrics = {
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
        "entropy": spread.item(),
        "kl": kl,
        "clipped": clipped,
    }
    return PPOLoss(loss, kl, metrics)


def scaled_advantages(advantages: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
    """Return advantages of mean 0 and deviation 1 over the live steps of a batch, zero elsewhere."""
    seen = advantages[live]
    deviation, mean = torch.std_mean(seen, correction=0)
    return torch.where(live, (advantages - mean) / (deviation + 1e-8), 0.0)


def clip_gradient(gradient: Params, max_norm: float) -> tuple[Params, float]:
    """Shorten a gradient to a norm (Pascanu et al. 2013, arXiv 1211.5063); return it and its own norm."""
    norm = torch.stack([value.square().sum() for value in gradient.values()]).sum().sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return {name: factor * value for name, value in gradient.items()}, float(norm)
