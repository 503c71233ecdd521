"""Scaled inputs of a policy with a memory.

At each step they are the observation, the previous action and reward and whether an episode starts (Duan et
al. 2016, arXiv 1611.02779, section 2.2) and, if asked for, how observation and reward changed since the step
before.

A memory could subtract by itself. But a robot's hand moves by about a hundredth of its range in a step, and
its reward changes by little more, so the direction in which the reward grows is a product of two numbers that
are small on the scales of observations and rewards. On scales of their own, both are about 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from metarl.learning.running_scale import Moments, Scale
from metarl.meta_learner import Inputs
from metarl.types import Params

_LAST_OBSERVATION, _LAST_REWARD, _LAST_START = "last_observation", "last_reward", "last_start"
INPUT_LIMIT = 10.0  # deviations that an input may differ from its mean, where it is scaled


class Changes(NamedTuple):
    """Changes since the last step, zero at starts."""

    observations: torch.Tensor  # [..., O]
    rewards: torch.Tensor
    """``[...]``, of the previous reward; zero at an episode's second step too, as the first has none."""


class ChangeScales(NamedTuple):
    """Running moments of changes."""

    observations: Moments
    rewards: Moments


class Features(NamedTuple):
    """Scales by which a policy reads its inputs: observation, action, reward, start, and changes if any."""

    scale: Scale  # [I]
    lowest: torch.Tensor  # [I], of scaled inputs
    highest: torch.Tensor  # [I]
    observation_size: int
    reads_changes: bool

    @classmethod
    def by(
        cls,
        observations: Scale,
        rewards: Moments,
        changes: ChangeScales | None,
        action_size: int,
        *,
        limit: float = INPUT_LIMIT,
        unread: Sequence[int] = (),
    ) -> Features:
        """Return the scales of these moments, joined as the inputs are.

        Args:
            observations: scale of observations.
            rewards: moments of the rewards.
            changes: moments of the changes, if they are read.
            action_size: number of entries of the previous action.
            limit: deviations that an observation may differ from its mean.
            unread: entries of the observation that are read as 0, and so are their changes.
        """
        device = rewards.mean.device
        parts = [
            (_without(observations, unread), limit),
            (_unscaled(action_size, device), torch.inf),
            (_about_zero(rewards), INPUT_LIMIT),
            (_unscaled(1, device), torch.inf),
        ]
        if changes is not None:
            changed = _without(changes.observations.scale, unread)
            parts += [(changed, INPUT_LIMIT), (_about_zero(changes.rewards), INPUT_LIMIT)]
        scale = Scale(*(torch.cat(column) for column in zip(*(scale for scale, _ in parts), strict=True)))
        highest = torch.cat([torch.full_like(scale.mean, limit) for scale, limit in parts])
        return cls(scale, -highest, highest, len(observations.mean), changes is not None)

    def __call__(self, inputs: Inputs, changes: Changes | None = None) -> torch.Tensor:
        """Return the network's input, ``[..., I]``."""
        parts = [
            inputs.observations,
            inputs.previous_actions,
            inputs.previous_rewards.unsqueeze(-1),
            inputs.episode_starts.unsqueeze(-1),
        ]
        if changes is not None:
            parts += [changes.observations, changes.rewards.unsqueeze(-1)]
        # one pass over all parts costs less at each step than one for each
        joined = torch.cat(parts, dim=-1).sub_(self.scale.mean).div_(self.scale.deviation)
        return joined.clamp_(self.lowest, self.highest)


def blank_last_step(num_tasks: int, episodes: int, observation_size: int, device: torch.device) -> Params:
    """Return the memory ``[M, K, ...]`` of the step before a trial's first."""
    return {
        _LAST_OBSERVATION: torch.zeros(num_tasks, episodes, observation_size, device=device),
        _LAST_REWARD: torch.zeros(num_tasks, episodes, device=device),
        _LAST_START: torch.ones(num_tasks, episodes, dtype=torch.bool, device=device),
    }


def remembered_step(inputs: Inputs) -> Params:
    """Return what the next step has to know of this one, ``[M, K, ...]``."""
    return {
        _LAST_OBSERVATION: inputs.observations,
        _LAST_REWARD: inputs.previous_rewards,
        _LAST_START: inputs.episode_starts,
    }


def changes_since(memory: Params, inputs: Inputs) -> Changes:
    """Return the changes ``[M, K, ...]`` since the step that :func:`remembered_step` remembers."""
    starts = inputs.episode_starts
    observations = inputs.observations - memory[_LAST_OBSERVATION]
    rewards = inputs.previous_rewards - memory[_LAST_REWARD]
    return Changes(
        observations.masked_fill(starts.unsqueeze(-1), 0.0),
        rewards.masked_fill(starts | memory[_LAST_START], 0.0),
    )


def changes_in_trials(inputs: Inputs) -> Changes:
    """Return the changes at every step of whole trials, ``[M, K, S, ...]``."""
    last = {name: _delayed(value) for name, value in remembered_step(inputs).items()}
    last[_LAST_START][:, :, 0] = True
    return changes_since(last, inputs)


def _delayed(values: torch.Tensor) -> torch.Tensor:
    """Return values ``[M, K, S, ...]`` one step later, with zeros first."""
    return torch.cat([torch.zeros_like(values[:, :, :1]), values[:, :, :-1]], dim=2)


def _about_zero(moments: Moments) -> Scale:
    """Return the scale ``[1]`` of a number that is divided only."""
    deviation = moments.deviation.unsqueeze(0)
    return Scale(torch.zeros_like(deviation), deviation)


def _without(scale: Scale, entries: Sequence[int]) -> Scale:
    """Return the scale that makes some entries 0."""
    deviation = scale.deviation.clone()
    deviation[list(entries)] = torch.inf
    return Scale(scale.mean, deviation)


def _unscaled(size: int, device: torch.device) -> Scale:
    return Scale(torch.zeros(size, device=device), torch.ones(size, device=device))
