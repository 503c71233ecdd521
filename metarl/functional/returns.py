"""Discounted returns and advantages of whole meta-batches.

Two endings are kept apart: after a terminal step nothing follows and its value is zero; after a truncated
one the episode would have gone on, and the value of what followed stands in for the rest.
"""

from __future__ import annotations

import torch


def discounted_returns(rewards: torch.Tensor, mask: torch.Tensor, discount: float) -> torch.Tensor:
    """Return ``G_t = r_t + discount * G_{t+1}``, ``[..., T]``, zero where masked.

    Args:
        rewards: ``[..., T]``.
        mask: ``[..., T]`` bool, false after the end of an episode; masked rewards count as zero, NaN too, and
            masked steps take no time: in a trial of several episodes the next one follows at once.
        discount: per step, in 0..1.
    """
    return _discounted_sum(torch.where(mask, rewards, 0.0), mask, torch.full_like(rewards, discount))


def generalized_advantages(
    rewards: torch.Tensor,
    values: torch.Tensor,
    final_values: torch.Tensor,
    terminated: torch.Tensor,
    mask: torch.Tensor,
    *,
    discount: float,
    gae_lambda: float,
) -> torch.Tensor:
    """Estimate advantages by GAE(lambda), ``[..., T]``, zero where masked.

    Source: Schulman et al. 2016, arXiv 1506.02438, equation 16.

    Args:
        rewards: ``[..., T]``.
        values: ``[..., T]``, of the observation before each step.
        final_values: ``[...]``, of the observation after the last live step; ignored where that step was
            terminal.
        terminated: ``[..., T]`` bool, true at a terminal step. Within a trial of several episodes, true cuts
            the trial there; leave it false to let credit pass from one episode to those before.
        mask: ``[..., T]`` bool, false after the end of an episode; masked steps take no time.
        discount: per step, in 0..1.
        gae_lambda: in 0..1; 1 gives returns minus values, 0 gives one-step differences.
    """
    # delta_t = r_t + discount V(s_{t+1}) - V(s_t), with V = 0 after a terminal step
    followed_by = _next_live(values, mask, final_values)
    deltas = rewards + discount * torch.where(terminated, 0.0, followed_by) - values
    # A_t = delta_t + (discount lambda) A_{t+1}, with A = 0 after a terminal step
    discounts = torch.full_like(deltas, discount * gae_lambda).masked_fill(terminated, 0.0)
    return _discounted_sum(torch.where(mask, deltas, 0.0), mask, discounts)


def trial_advantages(
    rewards: torch.Tensor, values: torch.Tensor, live: torch.Tensor, *, discount: float, gae_lambda: float
) -> torch.Tensor:
    """Return advantages over whole trials, ``[..., T]``.

    Credit passes from one episode to those before, and nothing follows a trial's last step.
    """
    return generalized_advantages(
        rewards,
        values,
        torch.zeros_like(values[..., 0]),  # a trial ends for good
        torch.zeros_like(live),  # no episode's end cuts the trial
        live,
        discount=discount,
        gae_lambda=gae_lambda,
    )


def returns_so_far(rewards: torch.Tensor, mask: torch.Tensor, discount: float) -> torch.Tensor:
    """Return each step's discounted rewards until then.

    Their deviation is that of what a value predicts, as in stable-baselines3's ``VecNormalize``.
    """
    return discounted_returns(rewards.flip(-1), mask.flip(-1), discount).flip(-1)


def _discounted_sum(terms: torch.Tensor, mask: torch.Tensor, discounts: torch.Tensor) -> torch.Tensor:
    total, whole = torch.zeros_like(terms[..., 0]), bool(mask.all())
    sums = []
    for term, live, discount in zip(*map(_from_last, (terms, mask, discounts)), strict=True):
        following = term + discount * total
        total = following if whole else torch.where(live, following, total)
        sums.append(total)
    return torch.where(mask, torch.stack(sums[::-1], dim=-1), 0.0)


def _next_live(values: torch.Tensor, mask: torch.Tensor, final_values: torch.Tensor) -> torch.Tensor:
    """Return the value after each step, at the end the final one, ``[..., T]``."""
    if mask.all():
        return torch.cat([values[..., 1:], final_values.unsqueeze(-1)], dim=-1)
    following, found = final_values, []
    for value, live in zip(_from_last(values), _from_last(mask), strict=True):
        found.append(following)
        following = torch.where(live, value, following)
    return torch.stack(found[::-1], dim=-1)


def _from_last(steps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return ``[...]`` of each step of ``[..., T]``, the last one first, each in one piece of memory."""
    return steps.movedim(-1, 0).contiguous().unbind()[::-1]
