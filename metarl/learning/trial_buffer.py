"""The last trials that an agent saw, to learn from them again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from metarl.types import Params


class TrialBuffer(NamedTuple):
    """Room for a number of trials; when it is full, the newest take the place of the oldest."""

    tensors: Params
    """``[capacity, S, ...]`` by name; entries past a trial's end are zero."""
    added: int
    """Trials that were ever added."""

    @property
    def capacity(self) -> int:
        """How many trials it holds."""
        return len(next(iter(self.tensors.values())))

    @property
    def size(self) -> int:
        """How many trials are in it."""
        return min(self.added, self.capacity)

    def with_trials(self, trials: Params) -> TrialBuffer:
        """Return the buffer with trials ``[n, s, ...]`` added, ``s <= S``; this one stays as it is."""
        count = len(next(iter(trials.values())))
        kept = min(count, self.capacity)
        places = torch.arange(self.added + count - kept, self.added + count) % self.capacity
        tensors: Params = {}
        for name, values in self.tensors.items():
            tensors[name] = values.clone()
            rows = values.new_zeros(kept, *values.shape[1:])
            rows[:, : trials[name].shape[1]] = trials[name][count - kept :]
            tensors[name][places.to(values.device)] = rows
        return TrialBuffer(tensors, self.added + count)

    def sample(self, count: int, rng: np.random.Generator) -> Params:
        """Draw trials without replacement, ``[min(count, size), S, ...]`` by name."""
        chosen = torch.from_numpy(rng.choice(self.size, size=min(count, self.size), replace=False))
        return {name: values[chosen.to(values.device)] for name, values in self.tensors.items()}


def empty_buffer(
    capacity: int, steps: int, shapes: dict[str, tuple[int, ...]], device: torch.device
) -> TrialBuffer:
    """Return a buffer for trials of ``steps`` steps, given the shape of each step's numbers by name."""
    tensors = {name: torch.zeros(capacity, steps, *shape, device=device) for name, shape in shapes.items()}
    return TrialBuffer(tensors, 0)
