"""Work on a device that Python starts by one launch instead of by hundreds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Recorded(Generic[T]):
    """Work on tensors, which a GPU replays as a CUDA graph.

    It takes no arguments, changes tensors in place only, and never waits for the device, so that whatever it
    does to memory, a replay does again. What it returns is overwritten by the next replay. The first call for
    a key computes as ever, which loads kernels and asks for memory; the second records; from then on it is
    replayed. On the CPU it is just called.
    """

    def __init__(self, work: Callable[[], T], device: torch.device) -> None:
        self._work, self._device = work, device
        self._key: Hashable = object()  # of no call yet
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: T | None = None
        self._records = device.type == "cuda"

    def __call__(self, key: Hashable) -> T:
        """Do the work.

        Args:
            key: what a recording depends on beside the numbers in memory; another one records anew.
        """
        if not self._records:
            return self._work()
        if key != self._key:
            self._key, self._graph = key, None
            return self._work()
        if self._graph is None:
            self._record()
        if self._graph is None:
            return self._work()
        self._graph.replay()
        assert self._result is not None
        return self._result

    def _record(self) -> None:
        """Record the work, which computes nothing; after a failure it is never recorded again."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph):
                self._result = self._work()
            self._graph = graph
        except RuntimeError as error:
            self._records = False
            reason = str(error).partition("\n")[0]
            logger.warning("A step's kernels could not be recorded, and are launched one by one: %s", reason)
