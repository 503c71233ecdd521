"""Powers of rewards, as learning counts them.

Above 1 the best steps outweigh many fair ones, where a reward pays near misses almost as much as success.
"""

from __future__ import annotations

import torch

from metarl.errors import MetarlError

MOST_COUNTED = 1e15  # largest power of a reward, whose square, in the loss of the value, float32 still holds


def counted_rewards(rewards: torch.Tensor, power: float) -> torch.Tensor:
    """Return ``sign(r) |r| ** power``; raise ``MetarlError`` on sizes beyond :data:`MOST_COUNTED`."""
    if power == 1:
        return rewards
    sizes = rewards.abs()
    if largest_counted(rewards, power) > MOST_COUNTED:
        raise MetarlError(
            f"Expected rewards whose power {power:g} is at most {MOST_COUNTED:g}, got a reward of size "
            f"{float(sizes.max()):g}; divide the rewards, or lower --agent.reward-power."
        )
    return rewards.sign() * sizes**power


def largest_counted(rewards: torch.Tensor, power: float) -> float:
    """Return the largest counted size, also beyond float32."""
    return float(rewards.abs().max().double() ** power)
