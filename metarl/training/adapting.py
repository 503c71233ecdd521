"""Adapt a trained agent to one held-out task, for a policy that can go on acting."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, NamedTuple

from annotated_types import Ge

from metarl.errors import MetarlError, require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Actor
from metarl.rollouts.collect import collect
from metarl.settings import Seed, check_number
from metarl.text import shown
from metarl.training.divergence import check_adapted, naming_agent
from metarl.training.experiment import Experiment
from metarl.types import Rollout, Task


class Adapted(NamedTuple):
    """A policy that has adapted to a task."""

    actor: Actor  # acts on the task, M = 1
    experience: tuple[Rollout, ...]  # rollouts that it adapted from, by step

    @property
    def after(self) -> Rollout | None:
        """Last rollout of the trial, with its memory, for ``collect(after=...)``."""
        return self.experience[-1] if self.experience else None


def adapt_to(experiment: Experiment, task: Task, steps: int, seed: int) -> Adapted:
    """Adapt to a held-out task; equal seeds give equal policies.

    ``steps`` are adaptation steps, or episodes of a trial for an agent with a memory.

    Raises:
        MetarlError: if the task is none of those held out, a number is out of range, or the policy diverges.
    """
    agent, measured = experiment.agent, experiment.config.evaluation
    sequential = agent.trial == "sequential"
    episodes = 1 if sequential else measured.adaptation_episodes
    if not isinstance(task, Task):
        raise MetarlError(f'Expected a task, such as run.suite.tasks("test")[0], got {shown(task)}.')
    held_out = list(experiment.suite.tasks("test"))
    require(task in held_out, f"The task must be a held-out one of {experiment.suite.name}", repr(task.id))
    check_number("the number of adaptation steps", steps, Annotated[int, Ge(0)])
    check_number("seed", seed, Seed)
    # the stream depends on the seed and the task alone, not on how many tasks are adapted to
    rng = make_rng(seed, Purpose.FILM, held_out.index(task))
    experience: list[Rollout] = []
    with closing(experiment.make_env()) as env, naming_agent(experiment.config.agent):
        actor = agent.initial_actor(1, rng)
        for _ in range(steps):
            after = experience[-1] if sequential and experience else None
            horizon = experiment.suite.horizon
            rollout = collect(env, [task], actor, episodes=episodes, horizon=horizon, rng=rng, after=after)
            actor = agent.adapt(actor, rollout, rng)
            check_adapted(actor, experiment.config.agent, rollout)
            experience.append(rollout)
    return Adapted(actor, tuple(experience))
