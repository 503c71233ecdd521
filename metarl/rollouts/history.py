"""Whole trials as sequences, the episodes of a slot one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from metarl.errors import require
from metarl.meta_learner import Inputs
from metarl.rollouts.collect import last_step
from metarl.types import Params, Rollout


@dataclass(frozen=True)
class Trials:
    """K trials of each of M tasks, without gaps between episodes.

    They have S steps at most. Steps past a trial's end have ``inputs.live`` false, and entries of zero.
    """

    inputs: Inputs  # [M, K, S, ...], inputs of the policy
    actions: torch.Tensor  # [M, K, S, A]
    log_probs: torch.Tensor  # [M, K, S]
    rewards: torch.Tensor  # [M, K, S]
    extras: Params  # [M, K, S, ...] by name
    initial_memory: Params  # [M, K, ...] by name, before the first step

    @property
    def live(self) -> torch.Tensor:
        """``[M, K, S]`` bool, true until the trial's end."""
        return self.inputs.live


def time_first(values: torch.Tensor) -> torch.Tensor:
    """Reshape ``[M, K, S, ...]`` to ``[S, M * K, ...]`` for recurrent cells."""
    return values.flatten(0, 1).transpose(0, 1).contiguous()


def next_observations(rollout: Rollout) -> torch.Tensor:
    """Return the observation after each live step, ``[M, K, T, O]``."""
    following = rollout.observations.roll(-1, dims=2)
    last = rollout.mask.sum(dim=2).clamp(min=1) - 1
    place = last[..., None, None].expand(*last.shape, 1, following.shape[-1])
    return following.scatter(2, place, rollout.final_observations.unsqueeze(2))


def join_trials(rollouts: Sequence[Rollout]) -> Trials:
    """Put the episodes of trials one after another; none raise ``MetarlError``.

    ``rollouts`` are of the same trials, each with the next episode of every slot.
    """
    require(len(rollouts) > 0, "A trial needs at least one episode", "none")
    before: list[Rollout | None] = [None, *rollouts[:-1]]
    parts = [_steps(rollout, earlier) for rollout, earlier in zip(rollouts, before, strict=True)]
    mask = torch.cat([rollout.mask for rollout in rollouts], dim=2)
    # a stable sort brings the live steps to the front, in the order in which they were taken
    order = mask.logical_not().byte().argsort(dim=2, stable=True)[:, :, : int(mask.sum(dim=2).max())]

    def packed(name: str) -> torch.Tensor:
        values = torch.cat([part[name] for part in parts], dim=2)
        index = order.view(*order.shape, *[1] * (values.ndim - 3)).expand(*order.shape, *values.shape[3:])
        return values.gather(2, index)

    live = packed("mask")
    sequences = {name: packed(name) for name in parts[0]}
    for value in sequences.values():
        # steps past the end are gathered from elsewhere, so blank them
        value[~live] = 0
    return Trials(
        inputs=Inputs(
            observations=sequences["observations"],
            previous_actions=sequences["previous_actions"],
            previous_rewards=sequences["previous_rewards"],
            episode_starts=sequences["episode_starts"],
            live=live,
        ),
        actions=sequences["actions"],
        log_probs=sequences["log_probs"],
        rewards=sequences["rewards"],
        extras={name: sequences[f"extras.{name}"] for name in rollouts[0].extras},
        initial_memory=rollouts[0].initial_memory,
    )


def _steps(rollout: Rollout, before: Rollout | None) -> Params:
    """Return steps and their inputs by name, ``[M, K, T, ...]``."""
    actions, rewards = torch.zeros_like(rollout.actions), torch.zeros_like(rollout.rewards)
    # step t sees the action and reward of step t - 1
    actions[:, :, 1:], rewards[:, :, 1:] = rollout.actions[:, :, :-1], rollout.rewards[:, :, :-1]
    if before is not None:
        # the first step of an episode sees the last action and reward of the one before
        last = last_step(before)
        actions[:, :, 0], rewards[:, :, 0] = last.actions, last.rewards
    starts = torch.zeros_like(rollout.mask)
    starts[:, :, 0] = True
    return {
        "observations": rollout.observations,
        "actions": rollout.actions,
        "log_probs": rollout.log_probs,
        "rewards": rollout.rewards,
        "mask": rollout.mask,
        "previous_actions": actions,
        "previous_rewards": rewards,
        "episode_starts": starts,
        **{f"extras.{name}": value for name, value in rollout.extras.items()},
    }
