"""Tasks of a meta-iteration, drawn from the suite or from a list that the run keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import MetaLearner, Plan, plan_of
from metarl.tasks import TaskDistribution, sample_evenly, sample_training
from metarl.types import Task


class TrainingTasks:
    """Draws an iteration's tasks from a fixed list, or from the suite if ``count`` is 0."""

    def __init__(self, suite: TaskDistribution, count: int, seed: int) -> None:
        self._suite = suite
        self.fixed = fixed_tasks(suite, count, make_rng(seed, Purpose.TRAINING_TASKS)) if count else ()
        """The list, empty where there is none."""

    def check(self, agent: MetaLearner, iterations: int) -> None:
        """Raise ``MetarlError`` if the agent needs a list that does not exist."""
        if not self.fixed and any(plan_of(agent, n).collects == "all tasks" for n in range(iterations)):
            raise MetarlError(
                "Expected a fixed list of training tasks, as the agent collects on all of them, got none; "
                "set --sampling.training-tasks."
            )

    def draw(self, plan: Plan, meta_batch_size: int, rng: np.random.Generator) -> Sequence[Task]:
        """Return the tasks that an iteration collects on."""
        if plan.collects == "nothing":
            return ()
        if plan.collects == "all tasks":
            return self.fixed
        if self.fixed:
            return sample_evenly(self.fixed, meta_batch_size, rng)
        return sample_training(self._suite, meta_batch_size, rng)


def fixed_tasks(suite: TaskDistribution, count: int, rng: np.random.Generator) -> tuple[Task, ...]:
    """Draw a list of different training tasks.

    A suite with a finite list of its own gives that list, or an evenly drawn part of it.
    """
    listed = suite.tasks("train")
    drawn = sample_training(suite, count, rng)
    if {task.id for task in drawn} <= {task.id for task in listed}:  # a finite suite lists all that it draws
        drawn = list(listed) if count >= len(listed) else sample_evenly(listed, count, rng)
    return tuple(dict.fromkeys(drawn))
