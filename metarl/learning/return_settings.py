"""Settings of returns and advantages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from metarl.learning.advantages import AdvantageNorm, Batch, estimate_advantages, make_batch
from metarl.settings import Settings
from metarl.types import Rollout


@dataclass(frozen=True, kw_only=True)
class ReturnsConfig(Settings):
    """How rewards become advantages."""

    discount: Annotated[float, Ge(0), Le(1)] = 0.99
    """Reward discount for each step."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 1.0
    """Weight of longer returns in the advantages."""
    bootstrap_truncated: bool = False
    """Add the value of the last observation of truncated episodes; for tasks without a time limit."""
    advantage_norm: AdvantageNorm = "std"
    """Divisor of centered advantages.
    garage and metaworld-algorithms use "var"."""

    def batch(self, rollout: Rollout) -> Batch:
        """Return a rollout's transitions with advantages."""
        advantages = estimate_advantages(
            rollout,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
            norm=self.advantage_norm,
            bootstrap_truncated=self.bootstrap_truncated,
        )
        return make_batch(rollout, advantages)
