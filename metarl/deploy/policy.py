"""The policy of a session: an actor for one task, and where its trial stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from metarl.functional.distributions import Distribution, kl_divergence, rebuilt
from metarl.meta_learner import Action, Actor, Inputs, MetaLearner, inputs_at_start
from metarl.rollouts.collect import LastStep, last_step, trial_start
from metarl.types import Params, Rollout

Vector = npt.NDArray[np.float32]


@runtime_checkable
class ShowsDistribution(Protocol):
    """An actor that shows its action distributions."""

    def distribution(self, inputs: Inputs, memory: Params) -> Distribution:
        """Return the distribution of actions, ``[M, K, A]``."""


@runtime_checkable
class DiffersByEpisode(Protocol):
    """An actor with another policy for each of a task's episodes, as experts that are tried in turn."""

    def of_episode(self, episode: torch.Tensor, episodes: int) -> Actor:
        """Return the policy of one of a task's ``episodes``, by its number ``[M]``, for K = 1."""


class Slot(NamedTuple):
    """One of the episodes that a step learns from, which a robot plays one after another."""

    number: int = 0
    of: int = 1


FIRST = Slot()


@dataclass(frozen=True)
class Policy:
    """An actor with M = K = 1, and the last step of its trial."""

    actor: Actor
    after: LastStep | None = None
    """Memory, action and reward that an episode starts from; None begins a trial."""

    def adapted(self, agent: MetaLearner, rollout: Rollout, rng: np.random.Generator) -> Policy:
        """Return the policy after learning from episodes, or after remembering one."""
        actor = agent.adapt(self.actor, rollout, rng)
        return Policy(actor, last_step(rollout) if agent.trial == "sequential" else None)

    def start(self, action_size: int, slot: Slot = FIRST) -> LastStep:
        """Return what an episode starts from, such as a latent that is drawn for each."""
        if self.after is not None:
            return self.after
        start, own = trial_start(self.actor, (1, slot.of), action_size), slice(slot.number, slot.number + 1)
        memory = {name: value[:, own].contiguous() for name, value in start.memory.items()}
        return LastStep(memory, start.actions[:, own], start.rewards[:, own])

    def actor_of(self, slot: Slot) -> Actor:
        """Return what acts in an episode."""
        if not isinstance(self.actor, DiffersByEpisode):
            return self.actor
        return self.actor.of_episode(torch.tensor([slot.number], device=self.actor.device), slot.of)


class Acting:
    """A policy that steps along an episode."""

    def __init__(
        self,
        policy: Policy,
        action_size: int,
        generator: torch.Generator,
        *,
        deterministic: bool,
        slot: Slot = FIRST,
    ) -> None:
        self._actor, self._generator = policy.actor_of(slot), None if deterministic else generator
        before = policy.start(action_size, slot)
        self.memory, self._action, self._reward = before.memory, before.actions, before.rewards
        self._is_first = True

    @property
    def device(self) -> torch.device:
        """Where the policy computes."""
        return self._actor.device

    def act(self, observation: Vector) -> Action:
        """Choose an action ``[1, 1, A]`` for an observation ``[O]``."""
        seen = torch.from_numpy(observation).to(self.device).view(1, 1, -1)
        inputs = inputs_at_start(seen, self._action.shape[-1])._replace(
            previous_actions=self._action,
            previous_rewards=self._reward,
            episode_starts=torch.full((1, 1), self._is_first, device=self.device),
        )
        action, self.memory = self._actor.act(inputs, self.memory, self._generator)
        self._is_first = False
        return action

    def take(self, action: Vector, reward: float) -> None:
        """Remember the action ``[A]`` that was taken, and what it earned."""
        self._action = torch.from_numpy(action).to(self.device).view(1, 1, -1)
        self._reward = torch.full((1, 1), reward, dtype=torch.float32, device=self.device)


def divergence(old: Policy, new: Policy, rollout: Rollout) -> float | None:
    """Return ``new``'s mean KL divergence from ``old``.

    It is KL(old || new) of the actions, as trust regions measure it, over the states of the episodes.

    Returns:
        Nats an action, infinity if ``new`` does not act; None where the actors do not show their
        distributions, or have several, one of which ``new`` keeps.
    """
    if isinstance(old.actor, DiffersByEpisode):
        return None
    if not (isinstance(old.actor, ShowsDistribution) and isinstance(new.actor, ShowsDistribution)):
        return None
    states = rollout.observations[rollout.mask].unsqueeze(0)
    inputs = inputs_at_start(states, rollout.actions.shape[-1])
    one, other = (
        actor.distribution(inputs, _memory(policy, states.shape[1]))
        for policy, actor in ((old, old.actor), (new, new.actor))
    )
    kl = float(kl_divergence(_precise(one), _precise(other)).mean())
    return kl if np.isfinite(kl) else np.inf


def _precise(distribution: Distribution) -> Distribution:
    """Return a distribution in float64: policies may be very near each other."""
    return rebuilt(distribution, (part.double() for part in distribution))


def _memory(policy: Policy, states: int) -> Params:
    """Return the memory that an episode starts from, once for each state."""
    if policy.after is None:
        return policy.actor.initial_memory(states)
    return {
        name: value.expand(1, states, *value.shape[2:]).contiguous()
        for name, value in policy.after.memory.items()
    }
