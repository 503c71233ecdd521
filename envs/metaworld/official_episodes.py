"""Episodes that slots play one after another, for policies that act in many at once.

A policy for M tasks and K episodes may play each episode ``[m, k]`` differently: by another expert, by
another latent, on a memory of its own. So a slot's k-th episode in time is its column k, the only one of the
slot that is live, and nothing passes from one column to another.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch

from metarl.envs.metaworld.official_env import Outcome
from metarl.meta_learner import Action, Actor, Inputs
from metarl.rollouts.collect import LastStep, keep_idle

_ACTIONS, _REWARDS = "previous actions", "previous rewards"


@runtime_checkable
class PlaysInTurn(Protocol):
    """An :class:`.Actor` whose policies of single episodes act alone, for less than all K together."""

    def of_episode(self, episode: torch.Tensor, episodes: int) -> Actor:
        """Return the policy, for K = 1, of each task's episode ``[M]`` of so many."""


class EpisodesInTurn:
    """Running episodes of N slots.

    Args:
        start: what each slot's K episodes come after, ``[N, K, ...]``. A slot goes on after its K-th, with
            actions that count for nothing.
    """

    def __init__(self, start: LastStep) -> None:
        self.memory, self._actions, self._rewards = start.memory, start.actions, start.rewards
        slots, self._most = self._rewards.shape
        device = self._rewards.device
        self._slots, self._columns = (torch.arange(size, device=device) for size in (slots, self._most))
        self._played = torch.zeros(slots, dtype=torch.long, device=device)
        self._starting = torch.ones(slots, dtype=torch.bool, device=device)
        self._alone: Actor | None = None  # the policy of the running episodes

    def act(self, actor: Actor, observations: torch.Tensor, generator: torch.Generator | None) -> Action:
        """Return actions and extras ``[N, ...]`` of the running episodes, for observations ``[N, O]``."""
        live = self._live()
        # of a slot that has played them all, the last column
        column = self._played.clamp(max=self._most - 1)
        shown, before = live, {**self.memory, _ACTIONS: self._actions, _REWARDS: self._rewards}
        if isinstance(actor, PlaysInTurn):
            self._alone = actor = self._alone or actor.of_episode(column, self._most)
            shown = live.any(dim=1, keepdim=True)
            before = {name: value[self._slots, column].unsqueeze(1) for name, value in before.items()}
        actions, rewards = before.pop(_ACTIONS), before.pop(_REWARDS)
        seen = observations.unsqueeze(1).expand(-1, shown.shape[1], -1)
        starts = self._starting.unsqueeze(1).expand_as(shown)
        action, memory = actor.act(Inputs(seen, actions, rewards, starts, shown), before, generator)
        self.memory = keep_idle(self.memory, memory, live)
        self._actions = torch.where(live.unsqueeze(-1), action.actions, self._actions)
        place = self._slots, column if shown is live else torch.zeros_like(column)
        extras = {name: value[place] for name, value in action.extras.items()}
        return Action(action.actions[place], action.log_probs[place], extras)

    def follow(self, outcome: Outcome) -> None:
        """Take in the actions' rewards; the next episode begins where one is over."""
        rewards, ended = (
            torch.from_numpy(part).to(self._rewards.device)
            for part in (outcome.rewards.astype(np.float32), outcome.ended)
        )
        self._rewards = torch.where(self._live(), rewards.unsqueeze(1), self._rewards)
        self._played += ended
        self._starting = ended
        if outcome.ended.any():
            self._alone = None

    def _live(self) -> torch.Tensor:
        return self._played.unsqueeze(1) == self._columns
