"""Work shared out among ranks, joined in the order of one process.

Rank r of R takes items r, r + R, r + 2R, …, so that neighbours, which are often tasks of one family and cost
the same, go to different ranks. Results are gathered in the order of the items, and whatever is summed is
summed in that order on every rank: any number of ranks gives the bits of one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast

import torch

from metarl.system.ranks import Ranks
from metarl.system.threads import parallel_map
from metarl.types import Params
from metarl.vector_env import TaskVectorEnv

ItemT = TypeVar("ItemT")
OwnT = TypeVar("OwnT", covariant=True)
ResultT = TypeVar("ResultT")


class _Sharing(NamedTuple):
    ranks: Ranks
    slots: int


_sharing: ContextVar[_Sharing | None] = ContextVar("sharing", default=None)


@contextmanager
def sharing(ranks: Ranks | None, slots: int) -> Iterator[None]:
    """Share the work inside the block; all ranks enter and leave it together.

    Args:
        ranks: None shares nothing.
        slots: of the vector environment that one process would have.
    """
    if ranks is None:
        yield
        return
    token = _sharing.set(_Sharing(ranks, slots))
    try:
        with ranks.ending_together():
            yield
            ranks.wait_for_all()
            ranks.agreed = True
    finally:
        _sharing.reset(token)


def num_slots(env: TaskVectorEnv) -> int:
    """Return the environment's slots on all ranks together."""
    current = _sharing.get()
    return env.num_envs if current is None else current.slots


def slots_here(ranks: Ranks | None, slots: int, of_task: Sequence[int]) -> int:
    """Return a rank's slots, enough for its tasks of ``of_task`` slots each."""
    if ranks is None:
        return slots
    return max(-(-(slots // each) // ranks.size) * each for each in of_task)


class OwnTasks(NamedTuple):
    """This rank's tasks of a meta-batch."""

    places: slice
    total: int

    def widen(self, values: torch.Tensor) -> torch.Tensor:
        """Return values ``[own, ...]`` in their places of ``[M, ...]``, zero elsewhere."""
        whole = values.new_zeros(self.total, *values.shape[1:])
        whole[self.places] = values
        return whole


def own_tasks(total: int) -> OwnTasks | None:
    """Return this rank's share of tasks; None if all are.

    A rank without one takes the last, which counts where it belongs.
    """
    current = _sharing.get()
    if current is None:
        return None
    return OwnTasks(slice(min(current.ranks.rank, total - 1), total, current.ranks.size), total)


def join_rows(rows: Params, total: int) -> Params:
    """Gather tensors ``[own, ...]`` of all ranks to ``[M, ...]``, by name."""
    current = _sharing.get()
    if current is None:
        return rows
    size = current.ranks.size
    parts = Shared([rows], size).gather()
    joined = {name: value.new_empty(total, *value.shape[1:]) for name, value in rows.items()}
    for rank, part in enumerate(parts[:total]):
        for name, value in part.items():
            joined[name][rank::size] = value
    return joined


@dataclass(frozen=True)
class Shared(Generic[OwnT]):
    """Items shared out among the ranks; in one process just all items."""

    own: Sequence[OwnT]  # this rank's, or the last of all if it has none
    total: int

    def map(self, function: Callable[[OwnT], ResultT]) -> Shared[ResultT]:
        """Map this rank's items by :func:`metarl.system.threads.parallel_map`."""
        return Shared(parallel_map(function, self.own), self.total)

    def each(self, function: Callable[[OwnT], ResultT]) -> Shared[ResultT]:
        """Map this rank's items in this thread."""
        return Shared([function(item) for item in self.own], self.total)

    def gather(self) -> list[OwnT]:
        """Return all ranks' items, in order.

        Items are tensors, numbers, or dicts and tuples of them, of the same names and kinds.
        """
        current = _sharing.get()
        if current is None:
            return list(self.own)
        ranks = current.ranks
        own = self.own[: len(range(ranks.rank, self.total, ranks.size))]
        like = leaves_of(self.own[0])
        messages = ranks.exchange(pack([leaves_of(item) for item in own]))
        items: list[OwnT | None] = [None] * self.total
        for rank, message in enumerate(messages):
            parts = unpack(message, [leaf.dtype for leaf in like])
            items[rank :: ranks.size] = [rebuilt_like(self.own[0], iter(part)) for part in parts]
        return cast("list[OwnT]", items)


def share(items: Sequence[ItemT] | Shared[ItemT]) -> Shared[ItemT]:
    """Share items out among ranks, unless shared."""
    if isinstance(items, Shared):
        return items
    current = _sharing.get()
    if current is None:
        return Shared(list(items), len(items))
    return Shared(list(items[current.ranks.rank :: current.ranks.size] or items[-1:]), len(items))


def leaves_of(item: object) -> list[torch.Tensor]:
    """Return an item's tensors, and its numbers as float64, in order."""
    if isinstance(item, torch.Tensor):
        return [item]
    if isinstance(item, int | float):
        return [torch.tensor(item, dtype=torch.float64)]
    if isinstance(item, dict):
        return [leaf for value in item.values() for leaf in leaves_of(value)]
    if isinstance(item, tuple):
        return [leaf for value in item for leaf in leaves_of(value)]
    raise TypeError(f"Expected a tensor, a float, a dict or a tuple, got {type(item).__name__}.")


def rebuilt_like(item: ItemT, leaves: Iterator[torch.Tensor]) -> ItemT:
    """Return an item of the same kind, on the same devices, with other tensors and numbers."""
    built: object
    if isinstance(item, torch.Tensor):
        built = next(leaves).to(item.device)  # messages go through the host
    elif isinstance(item, int | float):
        built = float(next(leaves))
    elif isinstance(item, dict):
        built = {name: rebuilt_like(value, leaves) for name, value in item.items()}
    else:
        assert isinstance(item, tuple), "leaves_of has refused all else"
        values = [rebuilt_like(value, leaves) for value in item]
        built = item._make(values) if hasattr(item, "_make") else tuple(values)
    return cast("ItemT", built)


def pack(items: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """Pack items' shapes and tensors into bytes."""
    leaves = [leaf for item in items for leaf in item]
    shapes = [number for leaf in leaves for number in (leaf.ndim, *leaf.shape)]
    head = torch.tensor([len(items), len(shapes), *shapes])
    flat = (part.detach().cpu().contiguous().reshape(-1) for part in (head, *leaves))
    return torch.cat([part.view(torch.uint8) for part in flat])


def unpack(message: torch.Tensor, dtypes: Sequence[torch.dtype]) -> list[list[torch.Tensor]]:
    """Undo :func:`pack` for tensors of these kinds."""
    place = 0

    def take(count: int, dtype: torch.dtype) -> torch.Tensor:
        nonlocal place
        start, place = place, place + count * dtype.itemsize
        return message[start:place].clone().view(dtype)  # a copy begins where any kind may begin

    num_items, num_shapes = take(2, torch.int64).tolist()
    shapes = iter(take(num_shapes, torch.int64).tolist())
    items = []
    for _ in range(num_items):
        item = []
        for dtype in dtypes:
            shape = [next(shapes) for _ in range(next(shapes))]
            item.append(take(math.prod(shape), dtype).view(shape))
        items.append(item)
    return items
