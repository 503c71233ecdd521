"""Reptile: move theta towards each task's adapted parameters, by no derivative of adapting.

Source: Nichol et al. 2018 (arXiv 1803.02999), algorithm 2, the batched version. With k inner steps on a
task's own episodes, each step from fresh ones by the policy that it starts from:

    theta <- theta + outer_lr * mean over tasks of (adapt_k(theta) - theta)

which is a step down half the squared distance to the adapted parameters, these being constants (section 5.2).
k is one more than ``adaptation_steps``: the episodes that other agents judge their adapted policy by are what
Reptile takes its last inner step from. With k = 1 it would be the mean policy gradient of all tasks, which
does not learn to adapt; from k = 2 on, a step also makes a task's inner gradients agree (section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.agents.gradient_based import Chunk, GradientBasedAgent, GradientBasedConfig, spread_metrics
from metarl.errors import require
from metarl.functional.params import join_tasks
from metarl.learning.gradient_descent import (
    DescentConfig,
    LossAndMetrics,
    OuterOptimizer,
    add_metrics,
    descend_objective,
)
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class ReptileConfig(DescentConfig, GradientBasedConfig):
    """Reptile: moves towards adapted parameters without a meta-objective."""

    kind: ClassVar[str] = "reptile"
    source: ClassVar[str] = "Nichol et al. 2018, arXiv 1803.02999"

    first_order: bool = True
    """Always true: adaptation is not differentiated."""
    outer_lr: float = 0.1
    """Step towards the mean of the adapted parameters.
    1 goes all the way; about 0.001 for Adam."""
    outer_optimizer: OuterOptimizer = "sgd"
    """The paper's plain step, or Adam.
    Adam takes the way to the adapted parameters as a gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.first_order, "first_order must be true, Reptile has no other", self.first_order)


class Reptile(GradientBasedAgent[ReptileConfig], built_from=ReptileConfig):
    """Meta-parameters theta, which follow the adapted ones."""

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Step on every rollout; move towards the results."""

        def adapt_chunk(chunk: Chunk) -> tuple[Params, dict[str, float]]:
            moved = self.adapted_constants(self.params, chunk.num_tasks, chunk.batches)
            with torch.no_grad():
                policy = self.policy(moved, chunk.batches[-1].observations)
            return moved, spread_metrics(policy, chunk.share)

        # phi_i = k steps of each task's own gradient, from theta
        adapted = self.shared_chunks(rollouts).map(adapt_chunk).gather()
        phi = join_tasks([moved for moved, _ in adapted])
        # theta <- theta + epsilon * mean over i of (phi_i - theta)
        # the gradient of half the squared distance is theta - phi, so the plain step is Reptile's
        step = descend_objective(
            self.params,
            self.outer_state,
            [lambda theta: LossAndMetrics(distance(theta, phi), {})],
            self.config,
        )
        self.params, self.outer_state = self.policy.within_bounds(step.params), step.memory
        return step.metrics | add_metrics([spread for _, spread in adapted])


def distance(theta: Params, adapted: Params) -> torch.Tensor:
    """Return half the mean squared distance of theta to stacked parameters.

    Its gradient is ``theta - mean(adapted)``, so that a step down it is Reptile's.
    """
    squares = [(value - adapted[name]).square().sum() / len(adapted[name]) for name, value in theta.items()]
    return 0.5 * torch.stack(squares).sum()
