"""A rank's part of all tasks' policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from metarl.meta_learner import Action, Actor, Inputs
from metarl.system.sharing import OwnTasks
from metarl.types import Params


@dataclass(frozen=True)
class ActorOfTasks:
    """Policy of some of the tasks that an actor is for.

    The actor computes for all tasks, the others' inputs being zero: products of other shapes may differ in
    their last bits, and so would the noise.
    """

    actor: Actor
    own: OwnTasks

    @property
    def device(self) -> torch.device:
        """The actor's."""
        return self.actor.device

    def initial_memory(self, episodes: int) -> Params:
        """Return these tasks' first memory."""
        return self._own(self.actor.initial_memory(episodes))

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose these tasks' actions."""
        widened = Inputs(*(self.own.widen(part) for part in inputs))
        action, remembered = self.actor.act(
            widened, {name: self.own.widen(value) for name, value in memory.items()}, generator
        )
        places = self.own.places
        chosen = Action(action.actions[places], action.log_probs[places], self._own(action.extras))
        return chosen, self._own(remembered)

    def _own(self, values: Mapping[str, torch.Tensor]) -> Params:
        return {name: value[self.own.places] for name, value in values.items()}
