"""Reptile: move theta towards what it became on each task; nothing is differentiated through the adaptation.

Source: Nichol et al. 2018 (arXiv 1803.02999), algorithm 2, the batched version. With k inner steps on a
task's own episodes, each step from fresh ones by the policy that it starts from:

    theta <- theta + outer_lr * mean over tasks of (adapt_k(theta) - theta)

k is one more than ``adaptation_steps``: the episodes that other agents judge their adapted policy by are what
Reptile takes its last inner step from. With k = 1 it would be the mean policy gradient of all tasks, which
does not learn to adapt; from k = 2 on, a step also makes a task's inner gradients agree (section 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.agents.gradient_based import (
    GradientBasedAgent,
    GradientBasedConfig,
    draw_params,
    spread_metrics,
)
from metarl.errors import require
from metarl.params import detach, flatten, requires_grad
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class ReptileConfig(GradientBasedConfig):
    """Moves towards the adapted parameters; first order, without a meta-objective."""

    kind: ClassVar[str] = "reptile"
    source: ClassVar[str] = "Nichol et al. 2018, arXiv 1803.02999"

    first_order: bool = True
    """Nothing is differentiated through the adaptation: always true here."""
    outer_lr: float = 0.1
    """How far theta goes towards the mean of the adapted parameters; 1 goes all the way."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(self.first_order, "first_order must be true, Reptile has no other", self.first_order)
        require(0 < self.outer_lr < math.inf, "outer_lr must be positive", self.outer_lr)

    def build(self, suite: TaskDistribution, *, seed: int, device: torch.device) -> Reptile:
        """Return an agent with freshly drawn parameters.

        Raises:
            MetarlError: if the suite's observations or actions are not vectors of real numbers.
        """
        policy = self.build_policy(suite)
        return Reptile(self, policy, draw_params(policy, seed, device))


class Reptile(GradientBasedAgent[ReptileConfig]):
    """The agent: meta-parameters theta, and how they follow the adapted ones."""

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Take an inner step from every rollout, the last one too, and go towards where they lead."""
        batches = [self._batch(rollout) for rollout in rollouts]
        start = requires_grad(self.per_task(self.params, len(batches[-1].observations)))
        adapted = detach(self._adapted(self.params, start, batches, first_order=True))
        moved = reptile_step(self.params, adapted, self.config.outer_lr)
        length = flatten(moved) - flatten(self.params)
        self.params = moved
        with torch.no_grad():
            gaussian = self.policy(adapted, batches[-1].observations)
        return {"step_norm": float(length.norm()), **spread_metrics(gaussian)}


def reptile_step(theta: Params, adapted: Params, outer_lr: float) -> Params:
    """Return ``theta + outer_lr * mean over tasks of (adapted - theta)``; ``adapted`` is stacked."""
    return {name: value + outer_lr * (adapted[name] - value).mean(dim=0) for name, value in theta.items()}
