"""The buffer of trials against a list that keeps the last ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.learning.trial_buffer import TrialBuffer, empty_buffer

CPU = torch.device("cpu")


def numbered(first: int, count: int, steps: int) -> dict[str, torch.Tensor]:
    values = torch.arange(first, first + count).float().unsqueeze(1).expand(count, steps)
    return {"one": values, "two": values.unsqueeze(-1).repeat(1, 1, 2)}


def buffer_of(capacity: int) -> TrialBuffer:
    return empty_buffer(capacity, 4, {"one": (), "two": (2,)}, CPU)


@pytest.mark.parametrize("counts", [[2], [3, 3], [5, 2, 4], [1, 12, 1], [7, 7, 7]])
def test_newest_trials_are_kept(counts: list[int]) -> None:
    buffer, kept = buffer_of(5), []
    for count in counts:
        first = 1 + sum(1 for _ in kept)
        buffer = buffer.with_trials(numbered(first, count, 4))
        kept += range(first, first + count)
    assert buffer.added == len(kept)
    assert buffer.size == min(5, len(kept))
    found = buffer.sample(100, np.random.default_rng(0))
    assert sorted(found["one"][:, 0].tolist()) == kept[-5:]
    assert torch.equal(found["two"][..., 1], found["one"])


def test_steps_past_a_trials_end_are_zero_though_the_place_was_used_before() -> None:
    buffer = buffer_of(2).with_trials(numbered(1, 2, 4)).with_trials(numbered(8, 2, 3))
    assert buffer.tensors["one"].tolist() == [[8, 8, 8, 0], [9, 9, 9, 0]]


def test_adding_leaves_the_former_buffer_alone() -> None:
    before = buffer_of(3).with_trials(numbered(1, 2, 4))
    copied = before.tensors["one"].clone()
    before.with_trials(numbered(5, 3, 4))
    assert torch.equal(before.tensors["one"], copied)


def test_sample_has_no_trial_twice_and_none_that_is_empty() -> None:
    buffer = buffer_of(10).with_trials(numbered(1, 6, 4))
    for seed in range(20):
        found = buffer.sample(4, np.random.default_rng(seed))["one"][:, 0].tolist()
        assert len(set(found)) == 4
        assert min(found) >= 1
