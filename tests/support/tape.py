"""A tape of tensor operations, which is replayed as a GPU replays a CUDA graph.

A replay does the same operations on the same memory without any Python of the work between them: numbers in
memory may be others than before, but what Python read or decided when the tape was made is not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

T = TypeVar("T")
HOST = (
    "aten::_local_scalar_dense",  # .item(), bool(), tolist()
    "aten::nonzero",  # and so does indexing by a mask
    "aten::masked_select",
    "aten::lift_fresh",  # torch.tensor(…) of Python's numbers
    "aten::equal",
    "aten::unique",
)
"""Operations that wait for a device, or send it numbers from the host."""


class _Entry(NamedTuple):
    operation: torch._ops.OpOverload
    arguments: Sequence[object]
    options: Mapping[str, object]
    results: object

    @property
    def takes_mask(self) -> bool:
        """Whether it indexes by a mask, for which a device first finds the places."""
        indexed = "index" in str(self.operation.name())
        leaves = tree_leaves(self.arguments[1:2]) if indexed else []
        return any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in leaves)


class Tape(TorchDispatchMode, Generic[T]):
    """The operations of some work, done once while they are recorded."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__()
        self.entries = list[_Entry]()
        with self:
            self.result = work()

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        results = func(*args, **(kwargs or {}))
        self.entries.append(_Entry(func, args, kwargs or {}, results))
        return results

    @property
    def from_host(self) -> list[str]:
        """Names of operations that a CUDA graph cannot hold."""
        names = [
            "aten::nonzero" if entry.takes_mask else str(entry.operation.name()).partition(".")[0]
            for entry in self.entries
        ]
        return [name for name in names if name in HOST]

    def replay(self) -> T:
        """Do the same operations again; return what then is where the work's results were."""
        now = dict[int, torch.Tensor]()

        def current(value: object) -> object:
            return now.get(id(value), value) if isinstance(value, torch.Tensor) else value

        for entry in self.entries:
            results = entry.operation(*tree_map(current, entry.arguments), **tree_map(current, entry.options))
            before, after = (
                [one] if isinstance(one, torch.Tensor) else list(one or ())
                for one in (entry.results, results)
            )
            for old, new in zip(before, after, strict=True):
                now[id(old)] = new
        return tree_map(current, self.result)
