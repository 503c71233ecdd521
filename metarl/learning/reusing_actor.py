"""Experts that play a task's episodes, and what each of them has earned on it.

Source: Fernández and Veloso 2006, "Probabilistic policy reuse in a reinforcement learning agent" (AAMAS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import torch

from metarl.functional.distributions import Distribution, rebuilt
from metarl.learning.recurrent_actor import RecurrentActor
from metarl.meta_learner import Action, Inputs
from metarl.types import Params, Rollout

EXPERT = "expert"  # name of a step's extra that says who played, int64
KeepBy: TypeAlias = Literal["return", "largest-reward"]


def scores_of(rollout: Rollout, keep_by: KeepBy) -> torch.Tensor:
    """Return what experts are kept by, of each episode, ``[M, K]``."""
    return rollout.episode_returns if keep_by == "return" else _largest_rewards(rollout)


def _largest_rewards(rollout: Rollout) -> torch.Tensor:
    return rollout.rewards.where(rollout.mask, -torch.inf).amax(dim=2)


class Earned(NamedTuple):
    """Earnings of E experts in episodes of M tasks."""

    scores: torch.Tensor  # [M, E] float64, returns or largest rewards, summed over the episodes
    largest: torch.Tensor  # [M, E] float32, largest reward of any step, -inf before the first
    episodes: torch.Tensor  # [M, E] int64

    @staticmethod
    def nothing(tasks: int, experts: int, device: torch.device) -> Earned:
        """Return what experts earned before any episode."""
        scores = torch.zeros(tasks, experts, dtype=torch.float64, device=device)
        return Earned(scores, scores.new_full(scores.shape, -torch.inf).float(), scores.long())

    def with_episodes(self, experts: torch.Tensor, rollout: Rollout, keep_by: KeepBy) -> Earned:
        """Add episodes ``[M, K]`` of these experts."""
        return Earned(
            self.scores.scatter_add(1, experts, scores_of(rollout, keep_by).double()),
            self.largest.scatter_reduce(1, experts, _largest_rewards(rollout), "amax"),
            self.episodes.scatter_add(1, experts, torch.ones_like(experts)),
        )

    def best(self) -> torch.Tensor:
        """Return the expert of the highest mean score of each task, ``[M]``."""
        means = self.scores / self.episodes.clamp(min=1)
        return means.masked_fill(self.episodes == 0, -torch.inf).argmax(dim=1)


@dataclass(frozen=True)
class ReusingActor:
    """Experts that play the slots of M tasks."""

    experts: tuple[RecurrentActor, ...]  # each for one task
    earned: Earned
    kept: torch.Tensor  # ``[M]``, the expert of each task; -1 for a task that still tries them in turn
    turns: torch.Tensor  # ``[M, E]``, when each expert's turn comes, from 0 on
    # ``[M]``, reward of a step after which a task's robot holds still; infinite where it never does
    rest_at: torch.Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.kept.device

    def playing(self, episodes: int) -> torch.Tensor:
        """Return each slot's expert, ``[M, K]``."""
        # those with the fewest episodes come first, so that a task tries all of them in turn
        order = (self.earned.episodes * len(self.experts) + self.turns).argsort(dim=1)
        turns = torch.arange(episodes, device=self.device).remainder(len(self.experts))
        kept = self.kept.unsqueeze(1)
        return torch.where(kept < 0, order[:, turns], kept)

    def who_played(self, rollout: Rollout) -> torch.Tensor:
        """Return the expert of each episode, ``[M, K]``; one that does not say is played in order."""
        if EXPERT in rollout.extras:
            # the first step is always live
            return rollout.extras[EXPERT][:, :, 0]
        return self.in_order().playing(rollout.mask.shape[1])

    def in_order(self) -> ReusingActor:
        """Return the experts, the first of which begins every task."""
        turns = torch.arange(len(self.experts), device=self.device).expand_as(self.turns)
        return replace(self, turns=turns)

    def of_episode(self, episode: torch.Tensor, episodes: int) -> ReusingActor:
        """Return the expert that plays one of a task's episodes, ``[M]``, as a policy for K = 1."""
        return replace(self, kept=self.playing(episodes).gather(1, episode.unsqueeze(1)).squeeze(1))

    def initial_memory(self, episodes: int) -> Params:
        """Return blank memory, ``[M, K, ...]``."""
        blank = self.experts[0].initial_memory(episodes)
        return {name: value.repeat(len(self.kept), *[1] * (value.ndim - 1)) for name, value in blank.items()}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Let each slot's expert read its step and draw actions, or the likeliest without a generator."""
        action, remembered = self._chosen(inputs, memory, generator)
        if self.rest_at is None:
            return action, remembered
        still = ~inputs.episode_starts & (inputs.previous_rewards >= self.rest_at.unsqueeze(1))
        return (
            action._replace(
                actions=action.actions.masked_fill(still.unsqueeze(2), 0),
                log_probs=action.log_probs.masked_fill(still, 0),
            ),
            remembered,
        )

    def _chosen(
        self, inputs: Inputs, memory: Params, generator: torch.Generator | None
    ) -> tuple[Action, Params]:
        """Return the action of each slot's expert, and the new memory."""
        playing, parts = self._parts(inputs.live.shape[1])
        if len(parts) == 1:
            action, remembered = parts[0].expert.act(inputs, memory, generator)
            return action._replace(extras={**action.extras, EXPERT: playing}), remembered
        played = [part.expert.act(*part.step(inputs, memory), generator) for part in parts]
        extras = {
            name: self._joined([action.extras[name] for action, _ in played], parts, inputs.live)
            for name in played[0][0].extras
        }
        action = Action(
            self._joined([action.actions for action, _ in played], parts, inputs.live),
            self._joined([action.log_probs for action, _ in played], parts, inputs.live),
            {**extras, EXPERT: playing},
        )
        remembered = {
            name: self._joined([after[name] for _, after in played], parts, inputs.live) for name in memory
        }
        return action, remembered

    @torch.no_grad()
    def distribution(self, inputs: Inputs, memory: Params) -> Distribution:
        """Return the distribution of actions, ``[M, K, A]``."""
        _, parts = self._parts(inputs.live.shape[1])
        own = [part.expert.distribution(*part.step(inputs, memory)) for part in parts]
        columns = zip(*own, strict=True)
        return rebuilt(own[0], (self._joined(list(column), parts, inputs.live) for column in columns))

    def _parts(self, episodes: int) -> tuple[torch.Tensor, list[Part]]:
        """Return each slot's expert and the slots of each that plays, in the order of the experts."""
        found = self._known.get(episodes)
        if found is None:
            playing = self.playing(episodes)
            parts = [
                Part(self.experts[number], (playing.flatten() == number).nonzero().squeeze(1))
                for number in playing.unique().tolist()
            ]
            found = self._known[episodes] = playing, parts
        return found

    @cached_property
    def _known(self) -> dict[int, tuple[torch.Tensor, list[Part]]]:
        return {}

    @staticmethod
    def _joined(values: Sequence[torch.Tensor], parts: Sequence[Part], like: torch.Tensor) -> torch.Tensor:
        """Put ``[1, n, ...]`` of each expert's slots together, ``[M, K, ...]``."""
        joined = values[0].new_empty(like.numel(), *values[0].shape[2:])
        for value, part in zip(values, parts, strict=True):
            joined[part.slots] = value[0]
        return joined.view(*like.shape, *joined.shape[1:])


class Part(NamedTuple):
    """An expert and the slots that it plays."""

    expert: RecurrentActor
    slots: torch.Tensor  # [n], numbers of slots m * K + k

    def step(self, inputs: Inputs, memory: Params) -> tuple[Inputs, Params]:
        """Return the slots' inputs and memory."""
        own = {name: self.of(value) for name, value in memory.items()}
        return Inputs(*(self.of(value) for value in inputs)), own

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Return the slots' values ``[1, n, ...]`` of ``[M, K, ...]``."""
        return values.flatten(0, 1).index_select(0, self.slots).unsqueeze(0)
