"""Chunks of trials for truncated backpropagation."""

from __future__ import annotations

import torch

from metarl.learning.chunks import Sequences, in_chunks
from metarl.learning.ppo import Experience


def test_chunks_follow_each_other_with_the_memory_between_them_and_zeros_behind_the_last() -> None:
    # step t of trial b is the number 10 b + t + 1, and the memory after it is that number
    steps = 10.0 * torch.arange(2) + torch.arange(5)[:, None] + 1
    trials = Sequences(
        features=steps.unsqueeze(-1),
        memory=torch.tensor([[-1.0], [-2.0]]),
        acted=steps.unsqueeze(-1),
        experience=Experience(*[steps] * 5, live=torch.ones(5, 2, dtype=torch.bool)),
    )
    parts = (torch.tensor([0]), torch.tensor([1]))
    found = in_chunks(trials, 2, lambda part: trials.features[:, part], parts)
    # three chunks of two trials: the first of both, the second of both, the third of both
    expected = [[1, 11, 3, 13, 5, 15], [2, 12, 4, 14, 0, 0]]
    assert found.features.squeeze(-1).tolist() == found.experience.values.tolist() == expected
    assert found.memory.squeeze(-1).tolist() == [-1, -2, 2, 12, 4, 14]
    assert found.experience.live.tolist() == [[True] * 6, [True] * 4 + [False] * 2]
