"""Training and held-out tasks, from two lists of parameters or from functions that draw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np

from metarl.envs.task_sampling.parameters import Layout
from metarl.errors import MetarlError, require
from metarl.tasks import Parameter, Split, check_draw, check_split, sample_evenly
from metarl.types import Task

P = TypeVar("P")
# draws one task's parameters; the generator is the only source of randomness
Sampler: TypeAlias = Callable[[np.random.Generator], P]
Numbers: TypeAlias = tuple[float, ...]

LISTED = 40  # tasks in a drawn split's list
_SEEDS: dict[Split, int] = {"train": 1703, "test": 3400}
_DRAWS = 1000  # consecutive rejections that stop the search


@dataclass(frozen=True)
class TaskSplits:
    """Tasks of one family: a list of each split, or fresh training draws.

    No task that is drawn for training is one of the held-out list.
    """

    name: str
    layout: Layout
    train: tuple[Task, ...]
    test: tuple[Task, ...]
    # a fresh training task; None where the list is all there is
    draw: Callable[[np.random.Generator], Numbers] | None

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return the split's list."""
        check_split(split)
        return self.train if split == "train" else self.test

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw fresh training tasks, or from the list where nothing is drawn."""
        check_draw(num_tasks, rng, split)
        if split == "test" or self.draw is None:
            return sample_evenly(self.tasks(split), num_tasks, rng)
        held_out = {task.parameters for task in self.test}
        fresh = islice(_fresh(self.draw, rng, held_out), num_tasks)
        tasks = [drawn_task(self.name, split, self.layout, numbers) for numbers in fresh]
        require(len(tasks) == num_tasks, "sample must draw tasks that are not held out", "none")
        return tasks


@dataclass(frozen=True, kw_only=True)
class SplitTasks:
    """The base of distributions with such splits."""

    splits: TaskSplits
    observed: tuple[str, ...] = ()  # names of parameters that an agent may observe

    @property
    def name(self) -> str:
        """Its name in results."""
        return self.splits.name

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return the split's tasks; a fixed list stands for drawn ones."""
        return self.splits.tasks(split)

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw tasks: fresh ones for training, where a sampler draws them."""
        return self.splits.sample(num_tasks, rng, split)

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Return each parameter's name, and whether an agent may observe it."""
        return self.splits.layout.describe(self.observed)


def make_splits(
    name: str, sample: Sampler[P] | Sequence[P], test_sample: Sampler[P] | Sequence[P] | None
) -> TaskSplits:
    """Return splits of two lists or samplers.

    Without ``test_sample`` the held-out tasks are drawn with ``sample`` from seeds of their own. Other
    parameters than numbers, an empty list, and a task in both splits raise ``MetarlError``.
    """
    if not callable(sample) and test_sample is None:
        raise MetarlError(
            "A list of training tasks needs a list of held-out tasks beside it: test_sample=[…]."
        )
    layout = Layout.of(_first(sample))
    # the held-out tasks come first: training tasks that equal one of them are left out
    if test_sample is not None:
        test = _listed(name, "test", test_sample, layout, set())
        train = _listed(name, "train", sample, layout, {task.parameters for task in test})
    else:
        train = _listed(name, "train", sample, layout, set())
        test = _listed(name, "test", sample, layout, {task.parameters for task in train})
    if len(train) < 1 or len(test) < (2 if test_sample is None else 1):
        raise MetarlError(
            "sample draws the same few tasks over and over, so none is left to be held out; "
            "give test_sample, or a list of tasks for each."
        )
    known = {task.parameters for task in train}
    for task in test:
        if task.parameters in known:
            raise MetarlError(f"The held-out task {list(task.parameters)} is also a training task.")
    return TaskSplits(name, layout, train, test, _draw(sample, layout) if callable(sample) else None)


def drawn_task(name: str, split: Split, layout: Layout, numbers: Numbers) -> Task:
    """Return a task named by its first numbers."""
    return Task(name, numbers, f"{name}/{split}/{layout.label(numbers)}")


def _first(source: Sampler[P] | Sequence[P]) -> P:
    if callable(source):
        return source(np.random.default_rng(_SEEDS["train"]))
    require(len(source) > 0, "A list of tasks must not be empty", "empty")
    return source[0]


def _listed(
    name: str, split: Split, source: Sampler[P] | Sequence[P], layout: Layout, taken: set[Numbers]
) -> tuple[Task, ...]:
    """Return the listed tasks, or drawn ones that are not taken."""
    if callable(source):
        found = _distinct(_draw(source, layout), split, taken)
        return tuple(drawn_task(name, split, layout, numbers) for numbers in found)
    require(len(source) > 0, "A list of tasks must not be empty", "empty")
    numbered = enumerate(layout.flatten(parameters) for parameters in source)
    return tuple(Task(name, numbers, f"{name}/{split}/{index}") for index, numbers in numbered)


def _draw(sample: Sampler[P], layout: Layout) -> Callable[[np.random.Generator], Numbers]:
    return lambda rng: layout.flatten(sample(rng))


def _distinct(
    draw: Callable[[np.random.Generator], Numbers], split: Split, taken: set[Numbers]
) -> list[Numbers]:
    """Return up to :data:`LISTED` different tasks, none of them taken, the same each time."""
    found: dict[Numbers, None] = {}
    for numbers in islice(_fresh(draw, np.random.default_rng(_SEEDS[split]), taken), 2 * LISTED):
        found[numbers] = None
        if len(found) == LISTED:
            break
    return list(found)


def _fresh(
    draw: Callable[[np.random.Generator], Numbers], rng: np.random.Generator, refused: set[Numbers]
) -> Iterator[Numbers]:
    """Yield tasks that are not rejected; stop after too many consecutive rejections."""
    in_vain = 0
    while in_vain < _DRAWS:
        numbers = draw(rng)
        if numbers in refused:
            in_vain += 1
            continue
        in_vain = 0
        yield numbers
