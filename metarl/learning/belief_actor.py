"""The actor on a belief: an encoder updates it from each step, and a policy reads it.

Source: Zintgraf et al. 2020 (arXiv 1910.08348), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from metarl.functional.distributions import Distribution, Gaussian, log_prob, mode, rebuilt, sample
from metarl.learning.running_scale import Scale
from metarl.meta_learner import Action, Inputs
from metarl.networks.belief_settings import BeliefNetworks
from metarl.networks.encoders import Transition
from metarl.types import Params

MEMORY = "memory"  # name of the actor's encoder memory, [M, K, H]
BEGUN = "begun"  # name of the flag, [M, K] bool, of trials past their first step


class Features(NamedTuple):
    """Scaled numbers, which the networks read and predict."""

    observations: Scale
    changes: Scale
    rewards: Scale

    def policy_inputs(self, observations: torch.Tensor, belief: Gaussian) -> torch.Tensor:
        """Return scaled observation, mean and log variance, ``[..., O + 2 L]``."""
        return torch.cat([self.observations(observations), belief.mean, 2 * belief.log_std], dim=-1)

    def transition(self, inputs: Inputs) -> Transition:
        """Return what the encoder reads before steps."""
        return Transition(
            inputs.previous_actions,
            self.rewards(inputs.previous_rewards),
            self.observations(inputs.observations),
            inputs.episode_starts,
        )


@dataclass(frozen=True)
class BeliefActor:
    """One policy for M tasks, beliefs in memory."""

    networks: BeliefNetworks
    params: Params
    features: Features
    num_tasks: int

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    def initial_memory(self, episodes: int) -> Params:
        """Return a blank memory: the prior."""
        shape, size = (self.num_tasks, episodes), self.networks.encoder.memory_size
        return {
            MEMORY: torch.zeros(*shape, size, device=self.device),
            BEGUN: torch.zeros(shape, dtype=torch.bool, device=self.device),
        }

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Update the belief and draw actions, or the likeliest without a generator."""
        shape = inputs.previous_rewards.shape
        policy, values, belief, remembered = self._read(inputs, memory)
        actions = mode(policy) if generator is None else sample(policy, generator)
        extras = {
            "value": values.view(shape),
            # the policy reads s_t and the belief's parameters, not a sample of it
            "belief_mean": belief.mean.view(*shape, -1),
            "belief_log_std": belief.log_std.view(*shape, -1),
        }
        action = Action(actions.view(*shape, -1), log_prob(policy, actions).view(shape), extras)
        return action, {MEMORY: remembered.view(*shape, -1), BEGUN: torch.ones_like(memory[BEGUN])}

    @torch.no_grad()
    def distribution(self, inputs: Inputs, memory: Params) -> Distribution:
        """Return the distribution of actions, ``[M, K, A]``."""
        policy, *_ = self._read(inputs, memory)
        return rebuilt(policy, (part.view(*inputs.live.shape, -1) for part in policy))

    def _read(
        self, inputs: Inputs, memory: Params
    ) -> tuple[Distribution, torch.Tensor, Gaussian, torch.Tensor]:
        """Return policy, values, belief and memory after a step, ``[M * K, ...]``."""
        encoder = self.networks.encoder
        # embed the step since the last action
        seen = Transition(*(part.flatten(0, 1) for part in self.features.transition(inputs)))
        remembered = encoder.step(self.params, seen, memory[MEMORY].flatten(0, 1), memory[BEGUN].flatten())
        # m_t: mean and deviation of q(m | tau_{:t})
        belief = encoder.belief(self.params, remembered)
        read = self.features.policy_inputs(inputs.observations.flatten(0, 1), belief)
        policy, values = self.networks.policy(self.params, read)
        return policy, values, belief, remembered
