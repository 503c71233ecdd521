"""Supervised few-shot tasks: support and query examples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch

from metarl.errors import MetarlError

Examples: TypeAlias = "tuple[torch.Tensor, torch.Tensor]"
"""Inputs ``[n, ...]`` and their targets ``[n, ...]``."""


class Task(NamedTuple):
    """A task, or M stacked tasks ``[M, n, ...]``."""

    support: Examples  # examples that a model adapts to
    query: Examples  # examples that test the adapted model


def check_examples(examples: object, what: str) -> Examples:
    """Return checked examples, unchanged.

    Raises:
        MetarlError: if they are not a pair of tensors with as many targets as inputs, one or more.
    """
    if not isinstance(examples, tuple | list) or len(examples) != 2:
        raise MetarlError(f"The {what} must be a pair (inputs, targets), but it is {_describe(examples)}.")
    inputs, targets = examples
    if not isinstance(inputs, torch.Tensor) or not isinstance(targets, torch.Tensor):
        raise MetarlError(
            f"The {what} must hold two tensors, but it holds {_describe(inputs)} and {_describe(targets)}."
        )
    if inputs.ndim == 0 or targets.ndim == 0 or not 1 <= len(inputs) == len(targets):
        raise MetarlError(
            f"The {what} must have one target for each of one or more inputs, but the shapes are "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}."
        )
    return inputs, targets


def check_task(task: object) -> Task:
    """Return a task with names for its parts.

    Raises:
        MetarlError: if it is not a pair (support, query) of examples.
    """
    if not isinstance(task, tuple | list) or len(task) != 2:
        raise MetarlError(f"A task must be a pair (support, query), but it is {_describe(task)}.")
    return Task(check_examples(task[0], "support"), check_examples(task[1], "query"))


def meta_batches(
    tasks: Iterable[tuple[Examples, Examples]], size: int, count: int | None
) -> Iterator[list[Task]]:
    """Yield meta-batches of ``size`` tasks, in order.

    Without ``count``, ``tasks`` is read once, and the last meta-batch may be smaller. With it, ``tasks`` is
    read again from the start as often as needed, unless it is an iterator, which cannot be restarted.

    Raises:
        MetarlError: on something that is no task, no task at all, or an iterator that ends too early.
    """
    source = iter(tasks)
    if count is not None and source is not tasks:
        # a list may be read again; an iterator ends
        source = _again_and_again(tasks)
    for number in itertools.count():
        if number == count:
            return
        batch = [check_task(task) for task in itertools.islice(source, size)]
        if not batch and number == 0:
            raise MetarlError("Expected at least one task, got an empty iterable.")
        # with a fixed count, a short batch would weigh its tasks more
        if count is not None and len(batch) < size:
            raise MetarlError(
                f"Expected {count} meta-batches of {size} tasks, but the tasks ended in meta-batch {number}."
            )
        if not batch:
            return
        yield batch


def _again_and_again(tasks: Iterable[tuple[Examples, Examples]]) -> Iterator[tuple[Examples, Examples]]:
    """Yield tasks endlessly; stop if there are none."""
    found = True
    while found:
        found = False
        for task in tasks:
            found = True
            yield task


def stack_tasks(tasks: Sequence[Task]) -> list[tuple[list[int], Task]]:
    """Stack tasks of equal shapes for batched calls, each with its tasks' indices."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for index, task in enumerate(tasks):
        tensors = (*task.support, *task.query)
        kinds.setdefault(tuple((one.shape, one.dtype) for one in tensors), []).append(index)
    return [(indices, _stack([tasks[index] for index in indices])) for indices in kinds.values()]


def _stack(tasks: Sequence[Task]) -> Task:
    def stacked(part: int, side: int) -> torch.Tensor:
        return torch.stack([task[part][side] for task in tasks])

    return Task((stacked(0, 0), stacked(0, 1)), (stacked(1, 0), stacked(1, 1)))


def to_device(task: Task, device: torch.device) -> Task:
    """Return the task with every tensor on ``device``."""
    (a, b), (c, d) = task
    return Task((a.to(device), b.to(device)), (c.to(device), d.to(device)))


def _describe(value: object) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else f"of type {kind}"
