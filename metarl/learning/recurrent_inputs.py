"""Inputs of a policy with a memory, on running scales.

At each step they are the observation, the previous action and reward and whether an episode starts (Duan et
al. 2016, arXiv 1611.02779, section 2.2) and, if asked for, how observation and reward changed since the step
before.

A memory could subtract by itself. But a robot's hand moves by about a hundredth of its range in a step, and
its reward changes by little more, so the direction in which the reward grows is a product of two numbers that
are small on the scales of observations and rewards. On scales of their own, both are about 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from metarl.learning.running_scale import Moments, Scale
from metarl.meta_learner import Inputs
from metarl.types import Params

_LAST_OBSERVATION, _LAST_REWARD, _LAST_START = "last_observation", "last_reward", "last_start"
_LIMIT = 10.0  # deviations that an input may differ from its mean


class Changes(NamedTuple):
    """Changes since the step before; zero where an episode starts."""

    observations: torch.Tensor  # [..., O]
    rewards: torch.Tensor
    """``[...]``, of the previous reward; zero at an episode's second step too, as the first has none."""


class ChangeScales(NamedTuple):
    """Running moments of changes."""

    observations: Moments
    rewards: Moments


class ChangeFeatures(NamedTuple):
    """Scales by which a policy reads changes."""

    observations: Scale
    reward_deviation: torch.Tensor

    def __call__(self, changes: Changes) -> list[torch.Tensor]:
        """Return the parts of the network's input, ``[..., O]`` and ``[..., 1]``."""
        return [self.observations(changes.observations), _scaled(changes.rewards, self.reward_deviation)]


class Features(NamedTuple):
    """Scales by which a policy reads its inputs."""

    observations: Scale
    reward_deviation: torch.Tensor
    changes: ChangeFeatures | None = None

    @classmethod
    def by(cls, observations: Scale, rewards: Moments, changes: ChangeScales | None) -> Features:
        """Return the scales of these moments."""
        change = changes and ChangeFeatures(changes.observations.scale, changes.rewards.deviation)
        return cls(observations, rewards.deviation, change)

    def __call__(self, inputs: Inputs, changes: Changes | None = None) -> torch.Tensor:
        """Return the network's input ``[..., I]``: observation, action, reward, start, and changes if any."""
        parts = [
            self.observations(inputs.observations),
            inputs.previous_actions,
            _scaled(inputs.previous_rewards, self.reward_deviation),
            inputs.episode_starts.unsqueeze(-1).float(),
        ]
        if self.changes is not None and changes is not None:
            parts += self.changes(changes)
        return torch.cat(parts, dim=-1)


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


def _scaled(values: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    return (values / deviation).clamp(-_LIMIT, _LIMIT).unsqueeze(-1)
