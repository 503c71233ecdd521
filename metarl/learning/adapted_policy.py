"""The actor of agents that adapt parameters: a policy without memory, with each task's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch

from metarl.errors import MetarlError
from metarl.functional.distributions import Distribution, log_prob, mode, sample
from metarl.learning.adaptation import Policy
from metarl.meta_learner import Action, Inputs
from metarl.networks.policies import ActingGaussian, GaussianMLPPolicy
from metarl.text import count
from metarl.types import Params


@runtime_checkable
class LayeredPolicy(Policy, Protocol):
    """A policy that shows what its layers do."""

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each layer's output for ``[M, B, O]``, the mean last."""


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy with M tasks' parameters."""

    policy: Policy
    params: Params  # stacked
    inner_state: Params = field(default_factory=dict)
    """State of a learned inner rule between steps, stacked; the policy does not read it."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    def initial_memory(self, episodes: int) -> Params:
        """Return nothing: the policy reads its observations alone."""
        return {}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Draw actions for ``[M, K, O]``, or the likeliest without a generator."""
        self._check_tasks(inputs)
        if self._acting is not None:
            return Action(*self._acting(inputs.observations, generator)), memory
        distribution = self.policy(self.params, inputs.observations)
        actions = mode(distribution) if generator is None else sample(distribution, generator)
        return Action(actions, log_prob(distribution, actions)), memory

    @torch.no_grad()
    def distribution(self, inputs: Inputs, memory: Params) -> Distribution:
        """Return the distribution of actions, ``[M, K, A]``; MetarlError for other tasks than its M."""
        self._check_tasks(inputs)
        return self.policy(self.params, inputs.observations)

    @cached_property
    def _acting(self) -> ActingGaussian | None:
        policy = self.policy
        # a subclass may be another distribution
        return ActingGaussian(policy, self.params) if type(policy) is GaussianMLPPolicy else None

    def _check_tasks(self, inputs: Inputs) -> None:
        own, given = len(next(iter(self.params.values()))), len(inputs.observations)
        if own != given:
            raise MetarlError(f"Expected observations of the actor's {count(own, 'task')}, got {given}.")

    @torch.no_grad()
    def activations(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each layer's output for ``[M, B, O]``, if the policy shows it."""
        policy = self.policy
        return policy.activations(self.params, observations) if isinstance(policy, LayeredPolicy) else {}

    def with_params(self, params: Params) -> AdaptedPolicy:
        """Return the same policy with other parameters for each task."""
        return replace(self, params=params)
