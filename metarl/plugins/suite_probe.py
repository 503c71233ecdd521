"""Environments and episodes of a suite that its checks share."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from metarl.plugins.suite_plays import TASKS, Plays, play_plans, siblings, standard_plans
from metarl.rollouts.scripted import draw_actions, play, same
from metarl.tasks import TaskDistribution
from metarl.vector_env import Array, TaskVectorEnv

SLOTS = 4
STEPS = 100  # most steps of an episode in the checks; longer ones are run once, to see that they end


class Probe:
    """Distribution, environment and plays that the checks share."""

    def __init__(self, suite: TaskDistribution) -> None:
        self.suite = suite
        self.env: TaskVectorEnv = suite.make_vector_env(SLOTS)
        self.tasks = suite.sample(SLOTS, np.random.default_rng(5))
        self.length = min(suite.horizon, STEPS)
        self.actions = self.draw(self.length)
        self.whole = play(self.env, self.tasks, self.actions)  # an episode of each task, or its beginning

    @cached_property
    def is_random(self) -> bool:
        """Whether two plays in a row differ, of the same tasks, seeds and actions."""
        again = play(self.env, self.tasks, self.actions)
        # what is left of the tasks before may change the first play of all
        return not same(again, self.whole) and not same(play(self.env, self.tasks, self.actions), again)

    def draw(self, num_steps: int, seed: int = 0) -> Array:
        """Draw actions for all slots."""
        return draw_actions(self.suite.action_space, num_steps, SLOTS, seed)

    @cached_property
    def wide(self) -> TaskVectorEnv:
        """Vector environment with a slot per compared task."""
        return self.suite.make_vector_env(TASKS)

    @cached_property
    def families(self) -> list[str]:
        """All families to train on."""
        return list(dict.fromkeys(task.family for task in self.suite.tasks("train")))

    @cached_property
    def first(self) -> Plays:
        """Plays of the first family."""
        return self.compare(self.families[0])

    def compare(self, family: str) -> Plays:
        """Play a family's tasks alike, as time allows."""
        plans = standard_plans(self.suite.action_space, self.suite.horizon)
        return play_plans(self.wide, siblings(self.suite, family), plans)

    def close(self) -> None:
        """Close all environments."""
        self.env.close()
        if "wide" in self.__dict__:
            self.wide.close()
