"""A trained agent that starts from what it learned on one environment.

Whatever opens a run, such as ``watch``, ``export`` and ``metarl.load``, opens the folder of a session of
``metarl adapt`` too, and gets this agent: its policy before any further experience is the adapted one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metarl.errors import MetarlError
from metarl.meta_learner import Action, Actor, Inputs, MetaLearner, Trial
from metarl.rollouts.collect import LastStep, last_step, repeat_episodes
from metarl.storage.files import write_whole
from metarl.storage.run_folder import ADAPTED
from metarl.storage.tensor_files import decode_tensors, encode_tensors
from metarl.types import Params, Rollout, State, Task

FRESH = "fresh"  # name of the mark in memory ``[M, K]`` of a trial's first step


@dataclass(frozen=True)
class ContinuingActor:
    """A policy with a memory that goes on from an episode."""

    actor: Actor
    after: LastStep  # [M, 1, ...]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.actor.device

    def initial_memory(self, episodes: int) -> Params:
        """Return the memory after the episode."""
        fresh = torch.ones_like(self.after.rewards, dtype=torch.bool)
        return {
            name: repeat_episodes(value, episodes)
            for name, value in {**self.after.memory, FRESH: fresh}.items()
        }

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose actions; the first ones follow the episode's last step."""
        episodes, fresh = inputs.live.shape[1], memory[FRESH]
        actions, rewards = (
            repeat_episodes(value, episodes) for value in (self.after.actions, self.after.rewards)
        )
        seen = inputs._replace(
            previous_actions=torch.where(fresh[..., None], actions, inputs.previous_actions),
            previous_rewards=torch.where(fresh, rewards, inputs.previous_rewards),
        )
        own = {name: value for name, value in memory.items() if name != FRESH}
        action, new = self.actor.act(seen, own, generator)
        return action, {**new, FRESH: torch.zeros_like(fresh)}


def continuing(actor: Actor, trial: Trial, experience: Sequence[Rollout]) -> Actor:
    """Return an adapted policy that goes on from its last episode, if episodes form a trial."""
    if trial != "sequential" or not experience:
        return actor
    return ContinuingActor(
        actor.actor if isinstance(actor, ContinuingActor) else actor, last_step(experience[-1])
    )


class AdaptedAgent:
    """A trained agent and the experience that it has adapted to.

    Args:
        path: ``[1, K, T, ...]`` each, by adaptation step.
    """

    def __init__(self, agent: MetaLearner, path: Sequence[Rollout]) -> None:
        self.agent, self.path = agent, tuple(path)

    @property
    def adaptation_steps(self) -> int:
        """Adaptations in one meta-iteration."""
        return self.agent.adaptation_steps

    @property
    def trial(self) -> Trial:
        """How the episodes of a task relate."""
        return self.agent.trial

    @property
    def device(self) -> torch.device:
        """Where the agent computes."""
        return self.agent.device

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> Actor:
        """Return the adapted policy, for each task."""
        actor = self.agent.initial_actor(num_tasks, rng)
        path = [self._of_tasks(rollout, num_tasks) for rollout in self.path]
        for rollout in path:
            actor = self.agent.adapt(actor, rollout, rng)
        return continuing(actor, self.trial, path)

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        """Return the policy adapted to each task's rollout."""
        if isinstance(actor, ContinuingActor):
            return ContinuingActor(self.agent.adapt(actor.actor, rollout, rng), actor.after)
        return self.agent.adapt(actor, rollout, rng)

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Refuse to learn: meta-training continues the run.

        Raises:
            MetarlError: always.
        """
        raise MetarlError(
            "Expected an agent to train, got one that has adapted; train the run that it comes from."
        )

    def state(self) -> State:
        """Copy the state of the trained agent."""
        return self.agent.state()

    def load_state(self, state: State) -> None:
        """Continue from another state of the agent."""
        self.agent.load_state(state)

    def _of_tasks(self, rollout: Rollout, num_tasks: int) -> Rollout:
        return rollout.map(
            lambda value: value.to(self.device).expand(num_tasks, *value.shape[1:]).contiguous()
        )


def write_path(folder: Path, path: Sequence[Rollout]) -> None:
    """Write the experience that a policy adapted to."""
    named = {
        f"{step}.{name}": value
        for step, rollout in enumerate(path)
        for name, value in rollout.tensors().items()
    }
    write_whole(folder / ADAPTED, encode_tensors(named))


def read_path(folder: Path) -> list[Rollout]:
    """Return what :func:`write_path` wrote.

    Raises:
        MetarlError: if the file is damaged.
    """
    steps: dict[int, Params] = {}
    try:
        for name, value in decode_tensors((folder / ADAPTED).read_bytes()).items():
            step, _, field = name.partition(".")
            steps.setdefault(int(step), {})[field] = value
        return [Rollout.from_tensors(steps[step]) for step in range(len(steps))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetarlError(
            f"The adaptation {folder / ADAPTED} is damaged; metarl adapt --resume writes it."
        ) from error
