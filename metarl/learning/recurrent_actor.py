"""The actor of a recurrent policy: what it reads, does, remembers and records of a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from metarl.functional.distributions import Distribution, rebuilt
from metarl.learning.recurrent_inputs import Features, blank_last_step, changes_since, remembered_step
from metarl.meta_learner import Action, Inputs
from metarl.networks.recurrent_acting import ActingPolicy
from metarl.networks.recurrent_policy import MEMORY, RecurrentPolicy
from metarl.types import Params

POLICY, VALUE = "policy", "value"  # names of a step's records besides its action


@dataclass(frozen=True)
class RecurrentActor:
    """One policy for M tasks with separate memories."""

    policy: RecurrentPolicy
    params: Params
    features: Features
    num_tasks: int

    @cached_property
    def acting(self) -> ActingPolicy:
        """The policy with these parameters, for many steps."""
        return ActingPolicy(self.policy, self.params)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    def initial_memory(self, episodes: int) -> Params:
        """Return a blank memory, ``[M, K, H]``, with the last step where its changes are read."""
        blank = torch.zeros(self.num_tasks, episodes, self.policy.memory_size, device=self.device)
        if not self.features.reads_changes:
            return {MEMORY: blank}
        size = self.features.observation_size
        return {MEMORY: blank, **blank_last_step(self.num_tasks, episodes, size, self.device)}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Read a step and draw actions, or the likeliest without a generator."""
        shape = inputs.previous_rewards.shape
        chosen = self.acting(self._read(inputs, memory), memory[MEMORY].flatten(0, 1), generator)
        # an update asks how far the policy has moved from this one: its first tensor differs between steps
        extras = {POLICY: chosen.distribution.view(*shape, -1)}
        if chosen.values is not None:
            extras[VALUE] = chosen.values.view(shape)
        action = Action(chosen.actions.view(*shape, -1), chosen.log_probs.view(shape), extras)
        remembered = {MEMORY: chosen.memory.view(*shape, -1)}
        if self.features.reads_changes:
            remembered |= remembered_step(inputs)
        return action, remembered

    @torch.no_grad()
    def distribution(self, inputs: Inputs, memory: Params) -> Distribution:
        """Return the distribution of actions, ``[M, K, A]``."""
        read = self._read(inputs, memory)
        (policy, _), _ = self.policy.step(self.params, read, memory[MEMORY].flatten(0, 1))
        return rebuilt(policy, (part.view(*inputs.live.shape, -1) for part in policy))

    def _read(self, inputs: Inputs, memory: Params) -> torch.Tensor:
        """Return the network's input, ``[M * K, I]``."""
        changes = changes_since(memory, inputs) if self.features.reads_changes else None
        return self.features(inputs, changes).flatten(0, 1)
