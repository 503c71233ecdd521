"""The one protocol of every family of agents: gradient-based, recurrent, latent-context, learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from metarl.types import Rollout, State


class Action(NamedTuple):
    """What a policy chose."""

    actions: torch.Tensor
    """``[M, K, A]``."""
    log_probs: torch.Tensor
    """``[M, K]``, log density of the actions."""


class Actor(Protocol):
    """A policy for each of M tasks, ready to act."""

    @property
    def device(self) -> torch.device:
        """Where observations are wanted and actions are returned."""
        ...

    def act(self, observations: torch.Tensor, generator: torch.Generator | None) -> Action:
        """Choose actions.

        Args:
            observations: ``[M, K, O]``.
            generator: where the noise is drawn from, on :attr:`device`; None takes the most likely action.
        """
        ...


class MetaLearner(Protocol):
    """An agent that learns, over many tasks, to adapt to a new one.

    A meta-iteration: ``actor = initial_actor(M)``; then ``adaptation_steps`` times, collect a rollout with
    the actor and ``actor = adapt(actor, rollout)``; collect a last rollout; ``update(rollouts)``.
    Adapting never changes the agent: only ``update`` and ``load_state`` do.
    """

    @property
    def adaptation_steps(self) -> int:
        """Adaptations in one meta-iteration."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the agent computes."""
        ...

    def initial_actor(self, num_tasks: int) -> Actor:
        """Return the policy that acts before it has seen anything of its tasks."""
        ...

    def adapt(self, actor: Actor, rollout: Rollout) -> Actor:
        """Return the policy adapted to each task by what ``actor``, one of its own, collected on it."""
        ...

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Learn from one meta-batch.

        Args:
            rollouts: ``adaptation_steps + 1`` of the same tasks, the last by the fully adapted policy.

        Returns:
            Metrics by name.
        """
        ...

    def state(self) -> State:
        """Return copies of all that later updates depend on."""
        ...

    def load_state(self, state: State) -> None:
        """Go on from ``state``.

        Raises:
            MetarlError: if it belongs to another architecture.
        """
        ...
