"""Factors of variation of the tasks of an evaluation, with their ranges in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from metarl.tasks import DescribesParameters, TaskDistribution
from metarl.types import Json, Task


class Factor(NamedTuple):
    """One factor of some tasks."""

    name: str
    trained: tuple[float, float]  # its range in training
    values: tuple[float, ...]  # of each task; NaN where the task's family does not have it

    def to_json(self) -> dict[str, Json]:
        """Return range and values; null where a family does not have it."""
        return {
            "trained": list[Json](self.trained),
            "values": [None if math.isnan(value) else value for value in self.values],
        }


def factors_of_tasks(suite: TaskDistribution, tasks: Sequence[Task]) -> list[Factor]:
    """Return the factors of a suite's tasks, in order; none of a suite that has none."""
    if not isinstance(suite, DescribesParameters):
        return []
    families = dict.fromkeys(task.family for task in tasks)  # a set would have another order in each process
    described = {family: suite.describe_parameters(family) for family in families}
    names = {family: [each.name for each in parameters] for family, parameters in described.items()}
    every = [each for parameters in described.values() for each in parameters]
    ranges = {each.name: each.trained for each in every if each.trained is not None}
    return [
        Factor(name, trained, tuple(_value(task, names[task.family], name) for task in tasks))
        for name, trained in ranges.items()
    ]


def _value(task: Task, names: Sequence[str], name: str) -> float:
    return task.parameters[names.index(name)] if name in names else math.nan
