"""Proximal policy optimisation on whole trials (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch.nn.functional import smooth_l1_loss

from metarl.errors import Stopped
from metarl.functional.distributions import Distribution, entropy, kl_divergence, log_prob
from metarl.learning.gradient_descent import LossAndMetrics, loss_and_gradient
from metarl.learning.surrogates import live_ratio
from metarl.settings import Settings
from metarl.types import Params

ValueLoss: TypeAlias = Literal["squared", "huber"]


@dataclass(frozen=True, kw_only=True)
class PPOConfig(Settings):
    """Losses and minibatches."""

    clip: Annotated[float, Gt(0), Le(10)] = 0.2
    """Likelihood ratios are clipped this far from 1."""
    epochs: Annotated[int, Ge(1), Le(1000)] = 5
    """Passes over each meta-batch."""
    minibatches: Annotated[int, Ge(1), Le(10_000)] = 4
    """Parts of a pass, with a step each."""
    max_kl: Annotated[float, Ge(0), Le(1000)] = 0.03
    """Passes end when the policy has moved this far from the one that acted; 0 never ends them."""
    value_weight: Annotated[float, Ge(0), Le(1000)] = 0.5
    """Weight of the value's error."""
    value_loss: ValueLoss = "squared"
    """Error of the value: its square, or "huber", which grows linearly where it is more than 1."""
    value_clip: Annotated[float, Ge(0), Le(1000)] = 0.0
    """A value gains nothing by moving further than this from the one at acting; 0 leaves it free."""
    entropy_weight: Annotated[float, Ge(0), Le(1000)] = 0.0
    """Weight of the entropy, which is raised."""
    max_gradient_norm: Annotated[float, Gt(0), Le(1e9)] = 1.0
    """Longer gradients are shortened to this."""


@dataclass(frozen=True, kw_only=True)
class TrialPPOConfig(PPOConfig):
    """Trials of several episodes, and their advantages."""

    trial_episodes: Annotated[int, Ge(1), Le(101)] = 2
    """Episodes of a trial, which share a memory."""
    discount: Annotated[float, Ge(0), Le(1)] = 0.99
    """Reward discount per step, also across episodes."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.95
    """Weight of longer returns in the advantages."""
    scale_iterations: Annotated[int, Ge(0)] = 50
    """Iterations in which the scales of observations, rewards and returns learn; afterwards they stay."""

    @property
    def adaptation_steps(self) -> int:
        """Episodes after the first."""
        return self.trial_episodes - 1


class Experience(NamedTuple):
    """Steps that a policy took, ``[S, B]``; only the actions have more axes."""

    actions: torch.Tensor  # [S, B, A]
    log_probs: torch.Tensor  # under the policy that acted
    advantages: torch.Tensor  # scaled as the loss takes them
    values: torch.Tensor  # values of the network that acted, or zeros if it has none
    targets: torch.Tensor  # targets of the values
    live: torch.Tensor  # bool; other steps do not count

    def of_trials(self, chosen: torch.Tensor) -> Experience:
        """Return some of the trials, by their numbers."""
        return Experience(*(part.index_select(1, chosen) for part in self))


def ppo_loss(
    policy: Distribution,
    values: torch.Tensor | None,
    acted: Distribution | None,
    experience: Experience,
    config: PPOConfig,
    *,
    live_steps: torch.Tensor | None = None,
) -> LossAndMetrics:
    """Return PPO's loss on trials, and mean metrics.

    Args:
        policy: of each step, ``[S, B, ...]``.
        values: of each step, ``[S, B]``; None leaves the value's part out.
        acted: the distribution that the actions were drawn from, for the divergence; None leaves the metrics
            out.
        experience: of the same steps.
        config: weights and the clipping range.
        live_steps: divisor of sums; by default the live steps of these trials. With those of a whole
            minibatch, losses and metrics of its parts add up.
    """
    total = experience.live.sum() if live_steps is None else live_steps
    weights = experience.live / total.clamp(min=1)
    new_log_probs = log_prob(policy, experience.actions)
    # equation 7: min(r A, clip(r, 1 - epsilon, 1 + epsilon) A), with r the likelihood ratio
    ratio = live_ratio(new_log_probs, experience.log_probs, experience.live)
    held = ratio.clamp(1 - config.clip, 1 + config.clip)
    gain = torch.minimum(ratio * experience.advantages, held * experience.advantages)
    policy_loss = -(weights * gain).sum()
    # equation 9: the value's error and the entropy beside it
    spread = (weights * entropy(policy).expand_as(weights)).sum()
    loss = policy_loss - config.entropy_weight * spread
    found = {"policy_loss": policy_loss, "entropy": spread}
    if values is not None:
        found["value_loss"] = (weights * value_error(values, experience, config)).sum()
        loss = loss + config.value_weight * found["value_loss"]
    if acted is None:
        return LossAndMetrics(loss, {})
    metrics = {name: value.item() for name, value in found.items()}
    with torch.no_grad():
        metrics["kl"] = float((weights * kl_divergence(acted, policy)).sum())
        metrics["clipped"] = float((weights * ((ratio - 1).abs() > config.clip)).sum())
    return LossAndMetrics(loss, metrics)


def value_error(values: torch.Tensor, experience: Experience, config: PPOConfig) -> torch.Tensor:
    """Return each value's error ``[S, B]``, squared where it is small.

    With ``value_clip`` it is the larger of the errors of the value and of the clipped value, as in OpenAI's
    baselines (https://github.com/openai/baselines, ppo2).
    """
    error = _error(values, experience.targets, config)
    if not config.value_clip:
        return error
    held = experience.values + (values - experience.values).clamp(-config.value_clip, config.value_clip)
    return torch.maximum(error, _error(held, experience.targets, config))


def _error(values: torch.Tensor, targets: torch.Tensor, config: PPOConfig) -> torch.Tensor:
    if config.value_loss == "huber":
        return 2 * smooth_l1_loss(values, targets, reduction="none")  # half a square where it is below 1
    return (values - targets).square()


def scaled_advantages(advantages: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
    """Scale advantages to mean 0 and deviation 1 over live steps."""
    seen = advantages[live]
    deviation, mean = torch.std_mean(seen, correction=0)
    return torch.where(live, (advantages - mean) / (deviation + 1e-8), 0.0)


def clip_gradient(gradient: Params, max_norm: float) -> tuple[Params, float]:
    """Return the clipped gradient and its norm. Source: Pascanu et al. 2013, arXiv 1211.5063."""
    norm = torch.stack([value.square().sum() for value in gradient.values()]).sum().sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return {name: factor * value for name, value in gradient.items()}, float(norm)


Step: TypeAlias = Callable[[Params, Params, Params], tuple[Params, Params]]
"""An optimiser's step: parameters, its memory and a gradient to parameters and memory."""


def ppo_steps(
    params: Params,
    memory: Params,
    live: torch.Tensor,
    config: PPOConfig,
    *,
    loss: Callable[[torch.Tensor, torch.Tensor, bool, Params], LossAndMetrics],
    split: Callable[[torch.Tensor], Sequence[torch.Tensor]],
    step: Step,
    rng: np.random.Generator,
    should_stop: Callable[[], bool],
) -> tuple[Params, Params, dict[str, float]]:
    """Take an update's steps (algorithm 1); return parameters, memory and metrics.

    Metrics are those of the last minibatch, and the number of steps.

    Args:
        live: live steps of the sequences, ``[S, B]``.
        loss: the share of some sequences, given their numbers, the live steps of their minibatch, whether
            metrics are asked for, and parameters.
        split: a minibatch's sequences into parts for threads.

    Raises:
        Stopped: if ``should_stop`` says so.
    """
    metrics: dict[str, float] = {}
    steps = 0
    for _ in range(config.epochs):
        # a minibatch is some sequences, whole in time, as a recurrence needs them
        order = torch.from_numpy(rng.permutation(live.shape[1])).to(live.device)
        minibatches = order.chunk(config.minibatches)
        for chosen in minibatches:
            if should_stop():
                raise Stopped
            live_steps = live[:, chosen].sum()
            # losses of the parts add up to that of the minibatch; only a pass's last is measured
            is_last = chosen is minibatches[-1]
            parts = [partial(loss, part, live_steps, is_last) for part in split(chosen)]
            slope = loss_and_gradient(parts, params)
            gradients, norm = clip_gradient(slope.gradient, config.max_gradient_norm)
            params, memory = step(params, memory, gradients)
            metrics = {**slope.metrics, "gradient_norm": norm}
            steps += 1
        # the policy has moved far enough from the one that acted
        if 0 < config.max_kl < metrics["kl"]:
            break
    return params, memory, {**metrics, "steps": float(steps)}
