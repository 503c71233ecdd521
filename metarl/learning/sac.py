"""Soft actor-critic as functions of tensors.

Source: Haarnoja et al. 2018, arXiv 1812.05905.

Twin Q functions with slowly moving targets, no value network, and a temperature that is learned. The states
that the networks read may depend on parameters that learn with the critic, such as an encoder's: whoever
calls :func:`sac_step` says how they come about.

All parameters of an optimiser are one vector, so a step of Adam is a dozen operations, whatever the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias

import torch
from annotated_types import Ge, Gt, Le

from metarl.functional.params import flatten, unflatten
from metarl.functional.squashed_gaussian import squash
from metarl.learning.gradient_descent import DescentConfig, adam_step, start_descent
from metarl.networks.off_policy import SquashedPolicy, TwinCritic
from metarl.settings import Settings
from metarl.types import Params

TEMPERATURE = "log_temperature"
WEIGHTS, ACTOR, CRITIC = "weights", "actor", "critic"
"""Names of a parameter vector in Adam's memory, and of the two optimisers."""


@dataclass(frozen=True, kw_only=True)
class SACConfig(Settings):
    """Settings of soft actor-critic; defaults are stable-baselines3's."""

    discount: Annotated[float, Ge(0), Le(1)] = 0.99
    """Reward discount for each step."""
    learning_rate: Annotated[float, Gt(0), Le(10)] = 3e-4
    """Adam's step size, for actor, critic and temperature."""
    target_rate: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the critic that its target takes over in each step (tau)."""
    initial_temperature: Annotated[float, Ge(1e-6), Le(1e6)] = 1.0
    """Weight of the entropy at the start (alpha)."""
    learns_temperature: bool = True
    """Tune the temperature towards the target entropy."""
    entropy_per_action: Annotated[float, Ge(-100), Le(100)] = -1.0
    """Target entropy per action component, in nats."""


class SACBatch(NamedTuple):
    """Transitions that the critic learns from, without states."""

    actions: torch.Tensor  # [B, A] in -1..1
    rewards: torch.Tensor  # [B]
    terminated: torch.Tensor
    """``[B]`` bool, true where the environment ended the episode, false where it was cut off."""


class States(NamedTuple):
    """States that the networks read, with a penalty."""

    states: torch.Tensor
    """``[B, S]``; the critic's gradient flows on to whatever they depend on, the actor's does not."""
    next_states: torch.Tensor  # [B, S], used without gradient
    penalty: torch.Tensor | float = 0.0  # added to the critic's loss


Look: TypeAlias = Callable[[Params], States]
"""Maps the critic's parameters, and those that learn with them, to states."""


class Noise(NamedTuple):
    """Standard normal numbers that actions are drawn by."""

    now: torch.Tensor  # [B, A], in the states
    following: torch.Tensor  # [B, A], in the next states


class SACState(NamedTuple):
    """All that a step changes."""

    actor: torch.Tensor  # [P]: policy parameters, then the log temperature
    critic: torch.Tensor  # [Q + E]: both Q functions' parameters, then others that learn with them
    target: torch.Tensor  # [Q], the slow copy of both Q functions
    adam: Params  # Adam's memory of both optimisers


class SACMetrics(NamedTuple):
    """Metrics of a step: scalars without a graph."""

    critic_loss: torch.Tensor
    actor_loss: torch.Tensor
    temperature_loss: torch.Tensor
    temperature: torch.Tensor
    entropy: torch.Tensor  # minus the drawn actions' mean log density
    q: torch.Tensor  # mean value of the batch's own actions
    penalty: torch.Tensor


def critic_target(
    batch: SACBatch,
    next_q: torch.Tensor,
    next_log_probs: torch.Tensor,
    temperature: torch.Tensor,
    discount: float,
) -> torch.Tensor:
    """Return the target of both Q functions, ``[B]`` (equations 2 and 3).

    ``next_q``, ``[2, B]``, are both targets' values of the drawn next actions, ``next_log_probs``, ``[B]``,
    their log densities.
    """
    # y = r + gamma (1 - d) (min_i Q_i(s', a') - alpha log pi(a' | s'))
    following = torch.minimum(next_q[0], next_q[1]) - temperature * next_log_probs
    return batch.rewards + discount * following.masked_fill(batch.terminated, 0.0)


def critic_loss(q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return half the mean squared error over B of both Q functions ``[2, B]`` (equation 5)."""
    return 0.5 * (q - target).square().mean(dim=1).sum()


def actor_loss(log_probs: torch.Tensor, q: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Return the mean of alpha log pi(a | s) - min_i Q_i(s, a) over B (equation 7)."""
    return (temperature * log_probs - torch.minimum(q[0], q[1])).mean()


def temperature_loss(
    log_temperature: torch.Tensor, log_probs: torch.Tensor, target_entropy: float
) -> torch.Tensor:
    """Return -log alpha (mean of log pi(a | s) + target entropy), as equation 18 on the log."""
    return -log_temperature * (log_probs.detach().mean() + target_entropy)


def polyak(target: torch.Tensor, source: torch.Tensor, rate: float) -> torch.Tensor:
    """Move the target a share towards the source."""
    return torch.lerp(target, source, rate)


@dataclass(frozen=True)
class SAC:
    """Networks, settings and parameters' names."""

    policy: SquashedPolicy
    critic: TwinCritic
    config: SACConfig
    actor_like: Params  # the actor's parameters by name, for their shapes
    critic_like: Params  # parameters of the critic's optimiser by name, the critic's own first

    @staticmethod
    def of(
        policy: SquashedPolicy, critic: TwinCritic, config: SACConfig, params: Params, encoder: Params
    ) -> SAC:
        """Return the learner of ``params``, and of an ``encoder`` with the critic."""
        own, twin = ({name: params[name] for name in net.network.shapes} for net in (policy, critic))
        actor = {**own, TEMPERATURE: params[TEMPERATURE]}
        return SAC(policy, critic, config, actor, {**twin, **encoder})

    @property
    def target_entropy(self) -> float:
        """The entropy that the temperature aims at."""
        return self.config.entropy_per_action * self.policy.action_size

    @property
    def target_like(self) -> Params:
        """The critic's own parameters, for their shapes."""
        return {name: self.critic_like[name] for name in self.critic.network.shapes}

    def start(self) -> SACState:
        """Return the state before the first step."""
        actor, critic = flatten(self.actor_like), flatten(self.critic_like)
        descent = DescentConfig(outer_lr=self.config.learning_rate)
        adam = {
            **start_descent({WEIGHTS: actor}, descent, name=ACTOR),
            **start_descent({WEIGHTS: critic}, descent, name=CRITIC),
        }
        return SACState(actor, critic, flatten(self.target_like), adam)

    def step(self, state: SACState, batch: SACBatch, look: Look, noise: Noise) -> tuple[SACState, SACMetrics]:
        """Take a gradient step of critic, actor and temperature, and move the target.

        ``look`` gives the transitions' states; actions are drawn by ``noise``; ``state`` does not change.
        """
        critic_leaf, actor_leaf = (vector.detach().requires_grad_() for vector in (state.critic, state.actor))
        critic_params = unflatten(critic_leaf, self.critic_like)
        seen = look(critic_params)
        states = seen.states.detach()

        # actions of the policy, in the states with a graph and in the next states without
        actor_params = unflatten(actor_leaf, self.actor_like)
        log_temperature = actor_params[TEMPERATURE].detach()
        temperature = log_temperature.exp()
        acted = squash(self.policy(actor_params, states), noise.now)

        # critic: one step towards the target's value
        target = self._target(state, batch, seen.next_states.detach(), noise.following)
        q = self.critic(critic_params, seen.states, batch.actions)
        q_loss = critic_loss(q, target)
        (slope,) = torch.autograd.grad(q_loss + seen.penalty, critic_leaf)
        critic, adam = self._adam(state.critic, state.adam, slope, CRITIC)

        # actor: one step up the new critic, and the temperature towards the entropy that is aimed at
        drawn_q = self.critic(unflatten(critic, self.critic_like), states, acted.actions)
        policy_loss = actor_loss(acted.log_probs, drawn_q, temperature)
        (slope,) = torch.autograd.grad(policy_loss, actor_leaf)
        entropy = -acted.log_probs.detach().mean()
        # d/d log alpha of the temperature's loss; it is the last number of the actor's vector
        slope[-1] = (entropy - self.target_entropy) if self.config.learns_temperature else 0.0
        actor, adam = self._adam(state.actor, adam, slope, ACTOR)

        # target: a share of the way to the new critic
        moved = polyak(state.target, critic[: len(state.target)], self.config.target_rate)
        metrics = SACMetrics(
            critic_loss=q_loss.detach(),
            actor_loss=policy_loss.detach(),
            temperature_loss=temperature_loss(log_temperature, acted.log_probs, self.target_entropy),
            temperature=temperature,
            entropy=entropy,
            q=q.detach().mean(),
            penalty=torch.as_tensor(seen.penalty, device=entropy.device).detach(),
        )
        return SACState(actor, critic, moved, adam), metrics

    @torch.no_grad()
    def _target(
        self, state: SACState, batch: SACBatch, next_states: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        actor = unflatten(state.actor, self.actor_like)
        following = squash(self.policy(actor, next_states), noise)
        next_q = self.critic(unflatten(state.target, self.target_like), next_states, following.actions)
        temperature = actor[TEMPERATURE].exp()
        return critic_target(batch, next_q, following.log_probs, temperature, self.config.discount)

    def _adam(
        self, vector: torch.Tensor, adam: Params, slope: torch.Tensor, name: str
    ) -> tuple[torch.Tensor, Params]:
        moved, kept = adam_step({WEIGHTS: vector}, adam, {WEIGHTS: slope}, self.config.learning_rate, name)
        return moved[WEIGHTS], {**adam, **kept}
