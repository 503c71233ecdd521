"""Episodes that slots play one after another, for policies that act in many at once.

A policy for M tasks and K episodes may play each episode ``[m, k]`` differently: by another expert, by
another latent, on a memory of its own. So a slot's k-th episode in time is its column k, the only one of the
slot that is live, and nothing passes from one column to another.
"""

from __future__ import annotations

import numpy as np
import torch

from metarl.envs.metaworld.official_env import Outcome
from metarl.meta_learner import Action, Actor, Inputs
from metarl.rollouts.collect import LastStep, keep_idle


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

    def act(self, actor: Actor, observations: torch.Tensor, generator: torch.Generator | None) -> Action:
        """Return actions and extras ``[N, ...]`` of the running episodes, for observations ``[N, O]``."""
        live = self._live()
        seen = observations.unsqueeze(1).expand(-1, self._most, -1)
        starts = self._starting.unsqueeze(1).expand_as(live)
        inputs = Inputs(seen, self._actions, self._rewards, starts, live)
        action, memory = actor.act(inputs, self.memory, generator)
        self.memory = keep_idle(self.memory, memory, live)
        self._actions = torch.where(live.unsqueeze(-1), action.actions, self._actions)
        # of a slot that has played them all, the last column
        place = self._slots, self._played.clamp(max=self._most - 1)
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

    def _live(self) -> torch.Tensor:
        return self._played.unsqueeze(1) == self._columns
