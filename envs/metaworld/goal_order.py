"""Goals of a benchmark's slots, in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal, TypeAlias, get_args

import numpy as np

from metarl.envs.metaworld.goals import by_family
from metarl.errors import require, unknown_name
from metarl.types import Task

Select: TypeAlias = Literal["random", "pseudorandom"]


class GoalChoice:
    """Endless sequence of one slot's tasks, one or more, which depends on the seed alone."""

    def __init__(self, tasks: Sequence[Task], select: Select, seed: int | Sequence[int]) -> None:
        if select not in get_args(Select):
            raise unknown_name("way to select tasks", select, get_args(Select))
        require(len(tasks) > 0, "A slot needs at least one task", "given none")
        self._tasks = tuple(tasks)
        self._select = select
        self.seed(seed)

    def seed(self, seed: int | Sequence[int]) -> None:
        """Start the order of this seed."""
        self._rng = np.random.default_rng(seed)
        self._left: list[int] = []

    @property
    def any(self) -> Task:
        """One of the tasks, always the same."""
        return self._tasks[0]

    def next(self) -> Task:
        """Return the next task."""
        if self._select == "random":
            return self._tasks[self._rng.integers(len(self._tasks))]
        self._left = self._left or self._rng.permutation(len(self._tasks)).tolist()
        return self._tasks[self._left.pop()]


def assign_goals(tasks: Sequence[Task], num_slots: int, *, share_goals: bool) -> list[tuple[Task, ...]]:
    """Assign tasks, sorted by family, to ``num_slots`` slots.

    Neighbouring slots run one family, and families have equally many slots, give or take one. With
    ``share_goals`` the slots of a family share out its goals, as far as they go; else each has all.
    """
    families = by_family(tasks)
    # fewer slots than families: each slot has several families in turn
    if num_slots < len(families):
        return [tuple(chain(*families[slot::num_slots])) for slot in range(num_slots)]
    # otherwise families get equally many slots, the first of them one more
    base, extra = divmod(num_slots, len(families))
    assigned: list[tuple[Task, ...]] = []
    for index, goals in enumerate(families):
        slots = base + (index < extra)
        # slots of a family share its goals out, or each has all
        hands = min(slots, len(goals)) if share_goals else 1
        assigned += [tuple(goals[slot % hands :: hands]) for slot in range(slots)]
    return assigned
