"""Powers of rewards."""

from __future__ import annotations

import pytest
import torch

from metarl.errors import MetarlError
from metarl.learning.reward_power import counted_rewards, largest_counted


def test_power_keeps_the_sign_and_one_changes_nothing() -> None:
    rewards = torch.tensor([-2.0, 0.0, 3.0])
    assert counted_rewards(rewards, 2.0).tolist() == [-4.0, 0.0, 9.0]
    assert counted_rewards(rewards, 1.0) is rewards
    assert largest_counted(rewards, 2.0) == 9.0


def test_power_that_leaves_float32_is_refused_by_its_name() -> None:
    assert float(counted_rewards(torch.tensor([-10.0]), 10.0)) == pytest.approx(-1e10)
    said = r"power 10 is at most 1e\+15, got a reward of size 10000; .* lower --agent\.reward-power\.$"
    with pytest.raises(MetarlError, match=said):
        counted_rewards(torch.tensor([1.0, -1e4]), 10.0)
    assert counted_rewards(torch.tensor([0.0, -1e4]), 0.01).tolist() == pytest.approx([0.0, -(10**0.04)])
    assert largest_counted(torch.tensor([-1e4]), 10.0) == 1e40  # beyond float32
