"""A world so small that every episode can be listed, and the expected return and its derivatives with them.

Two states, two actions, episodes of T steps that start in state 0. The policy is a softmax over a table of
logits, ``[S, A]``. All in float64; a batch of M "tasks" is M samples of the same world, so that a gradient
with respect to stacked parameters holds every sample's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from metarl.learning.advantages import Batch
from metarl.types import Params

STATES, ACTIONS = 2, 2
TRANSITIONS = torch.tensor([[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]], dtype=torch.float64)
"""``[S, A, S]``: the probability of what follows."""
REWARDS = torch.tensor([[0.5, -1.0], [1.0, 2.0]], dtype=torch.float64)
"""``[S, A]``."""
THETA = torch.tensor([[0.3, -0.2], [-0.4, 0.1]], dtype=torch.float64)
"""Logits at which derivatives are taken."""


class Table(NamedTuple):
    """Softmax distributions over actions."""

    log_probabilities: torch.Tensor
    """``[..., A]``."""


def policy(params: Params, observations: torch.Tensor) -> Table:
    """Look the logits of states ``[M, B, 1]`` up in stacked tables ``[M, S, A]``."""
    logits = torch.log_softmax(params["logits"], dim=-1)
    states = observations.long().expand(*observations.shape[:2], ACTIONS)
    return Table(torch.gather(logits, 1, states))


def log_prob(table: Table, actions: torch.Tensor) -> torch.Tensor:
    return torch.gather(table.log_probabilities, -1, actions.long()).squeeze(-1)


Loss = Callable[[torch.Tensor, Batch], torch.Tensor]


def of_policy(loss: Loss) -> Callable[[object, Params, Batch], torch.Tensor]:
    """Turn a surrogate of log densities into an inner loss of the table."""

    def inner_loss(_: object, params: Params, batch: Batch) -> torch.Tensor:
        return loss(log_prob(policy(params, batch.observations), batch.actions), batch)

    return inner_loss


def policy_gradient(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return MAML's inner loss, as a surrogate of log densities."""
    return -(batch.weights * batch.advantages * log_probs).sum(dim=1)


@dataclass(frozen=True)
class Episodes:
    """Every episode of so many steps."""

    states: torch.Tensor
    """``[N, T]``."""
    actions: torch.Tensor
    """``[N, T]``."""
    world: torch.Tensor
    """``[N]``, the part of an episode's probability that is not the policy's."""

    @property
    def horizon(self) -> int:
        return self.states.shape[1]

    @property
    def rewards(self) -> torch.Tensor:
        return REWARDS[self.states, self.actions]

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return each episode's probability under tables ``[..., S, A]``, ``[..., N]``."""
        table = torch.log_softmax(logits, dim=-1)
        return self.world * table[..., self.states, self.actions].sum(dim=-1).exp()

    def expected_return(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the expected undiscounted return under tables ``[..., S, A]``, ``[...]``."""
        return self.probabilities(logits) @ self.rewards.sum(dim=-1)

    def batch(self, chosen: torch.Tensor, logits: torch.Tensor, weights: torch.Tensor | None = None) -> Batch:
        """Return episodes ``[M, K]`` by number as a batch; advantages are what is earned from a step on.

        Args:
            chosen: numbers of episodes.
            logits: the table ``[S, A]``, or stacked ones ``[M, S, A]``, that drew them.
            weights: of each episode ``[M, K]``, adding up to one; equal ones by default.
        """
        horizon = self.horizon
        states, actions = self.states[chosen].flatten(1), self.actions[chosen].flatten(1)
        togo = self.rewards.flip(-1).cumsum(-1).flip(-1)[chosen].flatten(1)
        share = torch.full(chosen.shape, 1 / chosen.shape[1], dtype=torch.float64)
        share = share if weights is None else weights
        tables = torch.log_softmax(logits, dim=-1).expand(len(chosen), STATES, ACTIONS)
        task = torch.arange(len(chosen)).unsqueeze(-1)
        return Batch(
            observations=states.unsqueeze(-1),
            actions=actions.unsqueeze(-1),
            advantages=togo,
            weights=(share / horizon).repeat_interleave(horizon, dim=1),
            log_probs=tables[task, states, actions].detach(),
            horizon=horizon,
        )

    def all_sets(self, size: int) -> torch.Tensor:
        """Return every sequence of ``size`` episodes, by number, ``[N ** size, size]``."""
        return torch.tensor(list(itertools.product(range(len(self.world)), repeat=size)))

    def draw(self, logits: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Draw ``size`` episodes for each of the tables ``[M, S, A]``, by number, ``[M, size]``."""
        return torch.multinomial(self.probabilities(logits), size, replacement=True, generator=generator)


def episodes(horizon: int) -> Episodes:
    """List every episode of ``horizon`` steps, by walking all of them."""
    walks: list[tuple[list[int], list[int], float]] = [([0], [], 1.0)]
    for step in range(horizon):
        longer = []
        for states, actions, weight in walks:
            for action in range(ACTIONS):
                if step == horizon - 1:
                    longer.append((states, [*actions, action], weight))
                    continue
                for state in range(STATES):
                    likely = float(TRANSITIONS[states[-1], action, state])
                    longer.append(([*states, state], [*actions, action], weight * likely))
        walks = longer
    states, actions, world = zip(*walks, strict=True)
    return Episodes(torch.tensor(states), torch.tensor(actions), torch.tensor(world, dtype=torch.float64))


def action_values(logits: torch.Tensor, horizon: int) -> list[torch.Tensor]:
    """Return what each action is worth with so many steps to go, by backward induction, ``[S, A]`` a step."""
    chances = torch.softmax(logits, dim=-1)
    values = [REWARDS]
    for _ in range(horizon - 1):
        values.insert(0, REWARDS + TRANSITIONS @ (chances * values[0]).sum(dim=-1))
    return values


def visits(logits: torch.Tensor, horizon: int) -> list[torch.Tensor]:
    """Return how likely each state and action are at each step, forwards, ``[S, A]`` a step."""
    chances = torch.softmax(logits, dim=-1)
    at = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = []
    for _ in range(horizon):
        found.append(at.unsqueeze(-1) * chances)
        at = torch.einsum("sa,sat->t", found[-1], TRANSITIONS)
    return found


def central_differences(function: Callable[[torch.Tensor], float], point: torch.Tensor) -> torch.Tensor:
    """Differentiate along every axis: four points, so that the error falls with the fourth power of h."""
    h = 1e-3
    slopes = []
    for axis in torch.eye(point.numel(), dtype=point.dtype).reshape(-1, *point.shape):
        near = function(point + h * axis) - function(point - h * axis)
        far = function(point + 2 * h * axis) - function(point - 2 * h * axis)
        slopes.append((8 * near - far) / (12 * h))
    return torch.tensor(slopes, dtype=point.dtype).reshape(point.shape)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def jacobian(outputs: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    """Return the derivative of each sample's outputs ``[M, P]`` by its own parameters, ``[M, P, P]``."""
    rows: Sequence[torch.Tensor] = [
        torch.autograd.grad(outputs[:, row].sum(), leaf, retain_graph=True)[0].flatten(1)
        for row in range(outputs.shape[1])
    ]
    return torch.stack(list(rows), dim=1)
