"""Advantages of a rollout, and the batches of transitions that losses read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from metarl.functional.returns import discounted_returns, generalized_advantages
from metarl.networks.linear_baseline import (
    constant_reward_values,
    fit_linear,
    linear_features,
    num_linear_features,
    predict_linear,
)
from metarl.system.threads import parallel_map, task_chunks
from metarl.types import Rollout

AdvantageNorm: TypeAlias = Literal["std", "var", "none"]


STEP_SPREAD, EPISODE_SPREAD = (math.sqrt(5) - 1) / 2, math.sqrt(2) - 1
"""Irrational numbers far from any fraction: their multiples spread evenly over 0..1."""


@dataclass(frozen=True)
class Batch:
    """Transitions of M tasks, episodes end to end."""

    observations: torch.Tensor  # [M, B, O]
    actions: torch.Tensor  # [M, B, A]
    advantages: torch.Tensor  # [M, B]
    weights: torch.Tensor
    """``[M, B]``, one over the task's number of transitions, zero past the end of an episode."""
    log_probs: torch.Tensor  # [M, B], log density under the acting policy
    horizon: int  # T, the length of an episode in B; 0 where some transitions were left out

    def subsample(self, stride: int, *, at_least: int) -> Batch:
        """Keep every stride-th live transition of each task.

        They are spread over time and over episodes alike, whatever the horizon: step t of episode k has the
        key ``frac(t a + k b)`` with irrational a and b, and those with the smallest keys are kept. A task's
        choice depends on its own mask alone.

        Args:
            stride: of n live transitions, n / stride are kept, rounded up.
            at_least: but no fewer than this, or all that a task has.

        Returns:
            The kept transitions, each task's weights adding up to one; tasks with fewer than others are
            padded by weights of zero. All of them, in order, where none is to be left out.
        """
        size = self.weights.shape[1]
        if stride == 1 or size <= at_least:
            return self
        position = torch.arange(size, dtype=torch.float64, device=self.weights.device)
        horizon = self.horizon or size
        # low-discrepancy keys: the smallest ones are spread evenly over steps and episodes
        step, episode = position % horizon, position.div(horizon, rounding_mode="floor")
        keys = (step * STEP_SPREAD + episode * EPISODE_SPREAD) % 1.0
        live = self.weights > 0
        counts = live.sum(dim=1, keepdim=True)
        # each task keeps one of ``stride`` transitions, but at least ``at_least``
        kept = torch.maximum((counts + stride - 1) // stride, counts.clamp(max=at_least))
        # transitions past the end get a key beyond all others
        chosen = torch.where(live, keys, 2.0).argsort(dim=1, stable=True)[:, : int(kept.max())]
        tasks = torch.arange(len(chosen), device=chosen.device).unsqueeze(1)
        within = torch.arange(chosen.shape[1], device=chosen.device) < kept
        weights = torch.where(within, self.weights[tasks, chosen], 0.0)
        return Batch(
            self.observations[tasks, chosen],
            self.actions[tasks, chosen],
            self.advantages[tasks, chosen],
            weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny),
            self.log_probs[tasks, chosen],
            horizon=0,
        )


def estimate_advantages(
    rollout: Rollout,
    *,
    discount: float,
    gae_lambda: float,
    norm: AdvantageNorm,
    bootstrap_truncated: bool = False,
) -> torch.Tensor:
    """Return a rollout's advantages ``[M, K, T]`` over a linear baseline of each task.

    Args:
        rollout: the episodes; the baseline is fitted to their own returns.
        discount: per step, in 0..1.
        gae_lambda: in 0..1.
        norm: ``"std"`` subtracts each task's mean and divides by its standard deviation; ``"var"``
            divides by the variance, as garage and metaworld-algorithms do, so that an inner step size
            of theirs can be used unchanged; ``"none"`` leaves the advantages as they are.
        bootstrap_truncated: add the baseline's value of the last observation of a truncated episode.
            Where the horizon is part of the task, the return ends with it: the baseline knows the time and
            is fitted to returns that end there, so nothing is to be added (Pardo et al. 2018, arXiv
            1712.00378, section 3). It is for tasks without a time limit, with episodes that are merely cut.
    """
    mask = rollout.mask
    steps = torch.arange(mask.shape[-1], device=mask.device)
    features = linear_features(rollout.observations, steps)
    returns = discounted_returns(rollout.rewards.double(), mask, discount)
    # the fit starts from what equal rewards explain exactly, so it only learns the rest
    constant = constant_reward_values(returns, mask, discount)
    explained = constant[:, None, :-1]
    weights = fit_linear(features, returns - explained, mask)
    # value of the observation after the last step: zero unless truncated episodes are bootstrapped
    final_values = (
        _final_values(rollout, weights, constant)
        if bootstrap_truncated
        else torch.zeros_like(returns[..., 0])
    )
    advantages = generalized_advantages(
        rollout.rewards.double(),
        explained + predict_linear(weights, features),
        final_values,
        rollout.terminated,
        mask,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    # advantages of pure rounding noise must not be scaled up to a deviation of one
    share = above_rounding(live_rms(returns - explained, mask), live_rms(returns, mask))
    return (share * normalize(advantages, mask, norm)).to(rollout.rewards.dtype)


def threaded_advantages(rollout: Rollout, *, discount: float, gae_lambda: float) -> torch.Tensor:
    """Return :func:`estimate_advantages` as they are, with tasks in threads."""

    @torch.no_grad()
    def of_tasks(tasks: slice) -> torch.Tensor:
        part = rollout.of_tasks(tasks)
        return estimate_advantages(part, discount=discount, gae_lambda=gae_lambda, norm="none")

    # a fit takes about the square of the features for each step
    work = rollout.mask.numel() * num_linear_features(rollout.observations.shape[-1]) ** 2
    return torch.cat(parallel_map(of_tasks, task_chunks(len(rollout.mask), work)))


def _final_values(rollout: Rollout, weights: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
    steps = rollout.mask.sum(dim=-1)
    return constant.gather(1, steps) + predict_linear(
        weights, linear_features(rollout.final_observations, steps)
    )


def normalize(advantages: torch.Tensor, mask: torch.Tensor, norm: AdvantageNorm) -> torch.Tensor:
    """Center and scale each task's advantages, ``[M, K, T]``, over live steps.

    With ``"var"`` 1e-8 is added to the variance, as in the programs that divide so.
    """
    if norm == "none":
        return advantages
    mean = torch.where(mask, advantages, 0.0).sum(dim=(1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True)
    centered = torch.where(mask, advantages - mean, 0.0)
    deviation = live_rms(centered, mask)
    if norm == "var":
        return centered / (deviation.square() + 1e-8)
    return centered / deviation.clamp(min=torch.finfo(deviation.dtype).tiny)


def live_rms(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return each task's root mean square over live steps, ``[M, 1, 1]``."""
    squares = torch.where(mask, values, 0.0).square().sum(dim=(1, 2), keepdim=True)
    return (squares / mask.sum(dim=(1, 2), keepdim=True)).sqrt()


def above_rounding(deviation: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Return the share of scaled values that is not rounding, 0..1.

    Environments round rewards to float32, which is precise to 6e-8 of a number. Scaling to a deviation of one
    would make full-size noise of what differs by less than a millionth; the share, mostly 1, makes up for it.

    Args:
        deviation: of numbers from one another, or from what is known of them.
        size: of the numbers; zero where all are zero.
    """
    return (deviation / (1e-6 * size).clamp(min=torch.finfo(size.dtype).tiny)).clamp(max=1.0)


def make_batch(rollout: Rollout, advantages: torch.Tensor) -> Batch:
    """Join tasks' episodes, with advantages ``[M, K, T]``."""
    mask = rollout.mask.flatten(1).to(advantages.dtype)
    return Batch(
        observations=rollout.observations.flatten(1, 2),
        actions=rollout.actions.flatten(1, 2),
        advantages=advantages.flatten(1),
        # every live transition of a task counts equally, and the rest not at all
        weights=mask / mask.sum(dim=1, keepdim=True),
        log_probs=rollout.log_probs.flatten(1),
        horizon=rollout.mask.shape[-1],
    )
