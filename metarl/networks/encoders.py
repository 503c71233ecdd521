"""A recurrent encoder of beliefs about the task.

Source: Zintgraf et al. 2020, VariBAD (arXiv 1910.08348), section 3: ``q(m | tau_:t)`` is a Gaussian over an
embedding m of the task, computed by a recurrent network from the transitions so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from metarl.functional.distributions import Gaussian
from metarl.networks.layers import apply_layer, draw_layer
from metarl.networks.recurrent import Cell, make_cell
from metarl.types import Params

LOG_VARIANCE_LIMIT = 10.0
"""Bound of beliefs' log variances, which keeps divergences between them from overflowing."""


class Transition(NamedTuple):
    """Finished step: action, reward and next observation."""

    actions: torch.Tensor  # [..., A]
    rewards: torch.Tensor  # [...]
    observations: torch.Tensor  # [..., O], next observations, or a new episode's first
    episode_starts: torch.Tensor  # [...], whether a new episode began between action and observation


@dataclass(frozen=True, kw_only=True)
class BeliefEncoder:
    """Embedding of transitions, recurrent cell, Gaussian head."""

    observation_size: int
    action_size: int
    latent_size: int  # L
    cell_name: str
    memory_size: int  # H
    observation_embedding: int
    action_embedding: int
    reward_embedding: int

    @property
    def cell(self) -> Cell:
        """The recurrent cell, which reads the three embeddings."""
        embedded = self.observation_embedding + self.action_embedding + self.reward_embedding
        return make_cell(self.cell_name, embedded, self.memory_size)

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw parameters, with first beliefs near N(0, 1)."""
        drawn = {
            "see_action": (self.action_size, self.action_embedding, 1.0),
            "see_reward": (2, self.reward_embedding, 1.0),
            "see_observation": (self.observation_size, self.observation_embedding, 1.0),
            # a small gain keeps first beliefs near the standard normal
            "belief": (self.memory_size, 2 * self.latent_size, 0.1),
        }
        params = self.cell.initial_params(generator, dtype)
        for name, (inputs, units, gain) in drawn.items():
            params |= draw_layer(name, inputs, units, generator, gain=gain, dtype=dtype)
        return params

    def embed(self, params: Params, seen: Transition) -> torch.Tensor:
        """Return transitions as the cell's inputs, ``[..., E]``."""
        paid = torch.stack([seen.rewards, seen.episode_starts.to(seen.rewards.dtype)], dim=-1)
        parts = (("see_action", seen.actions), ("see_reward", paid), ("see_observation", seen.observations))
        return torch.cat([torch.tanh(apply_layer(params, name, part)) for name, part in parts], dim=-1)

    def belief(self, params: Params, memory: torch.Tensor) -> Gaussian:
        """Return the belief of a memory ``[..., H]``, two tensors ``[..., L]``."""
        mean, unbounded = apply_layer(params, "belief", memory).chunk(2, dim=-1)
        log_variance = LOG_VARIANCE_LIMIT * torch.tanh(unbounded / LOG_VARIANCE_LIMIT)
        return Gaussian(mean, 0.5 * log_variance)

    def step(
        self, params: Params, seen: Transition, memory: torch.Tensor, begun: torch.Tensor
    ) -> torch.Tensor:
        """Read B transitions; return the memory ``[B, H]``.

        Where ``begun``, ``[B]``, is false, a trial shows its very first observation: there is no transition
        yet, so memory stays blank and the belief is the prior.
        """
        read = self.cell.step(params, self.embed(params, seen), memory)
        return torch.where(begun.unsqueeze(-1), read, memory)

    def sequence(self, params: Params, seen: Transition, *, chunk_steps: int = 0) -> torch.Tensor:
        """Return whole trials' memories before each step, ``[S, B, H]``; the first is blank.

        ``seen`` are ``[S, B, ...]``, of each step, the first of which is not read. Gradients flow back
        through ``chunk_steps`` steps at most; 0 stands for all.
        """
        embedded = self.embed(params, Transition(*(part[1:] for part in seen)))
        memory = embedded.new_zeros(embedded.shape[1], self.memory_size)
        found = [memory.unsqueeze(0)]
        everything = torch.ones(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
        for chunk in embedded.split(chunk_steps or max(1, len(embedded))):
            if len(chunk):
                found.append(self.cell.sequence(params, chunk, memory, everything[: len(chunk)]))
                # truncated backpropagation: no gradient flows into the chunk before
                memory = found[-1][-1].detach()
        return torch.cat(found)
