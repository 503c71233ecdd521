"""Reptile: move theta towards what it became on each task; nothing is differentiated through the adaptation.

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

from metarl.agents.gradient_based import (
    Chunk,
    GradientBasedAgent,
    GradientBasedConfig,
    spread_metrics,
)
from metarl.errors import require
from metarl.functional.params import join_tasks
from metarl.learning.gradient_descent import (
    DescentConfig,
    LossAndMetrics,
    OuterOptimizer,
    add_metrics,
    descend_objective,
    start_descent,
)
from metarl.system.threads import parallel_map
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class ReptileConfig(DescentConfig, GradientBasedConfig):
    """Moves towards the adapted parameters; first order, without a meta-objective."""

    kind: ClassVar[str] = "reptile"
    source: ClassVar[str] = "Nichol et al. 2018, arXiv 1803.02999"

    first_order: bool = True
    """Nothing is differentiated through the adaptation: always true here."""
    outer_lr: float = 0.1
    """How far theta goes towards the mean of the adapted parameters; 1 goes all the way. Adam's step is
    another matter: about 0.001."""
    outer_optimizer: OuterOptimizer = "sgd"
    """The paper's plain step, or Adam on the way to the adapted parameters as if it were a gradient."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(self.first_order, "first_order must be true, Reptile has no other", self.first_order)


class Reptile(GradientBasedAgent[ReptileConfig], built_from=ReptileConfig):
    """The agent: meta-parameters theta, and how they follow the adapted ones."""

    def initial_outer_state(self) -> Params:
        """Return what the optimiser remembers before the first update."""
        return start_descent(self.params, self.config)

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take an inner step from every rollout, the last one too, and go towards where they lead."""

        def adapt_chunk(chunk: Chunk) -> tuple[Params, dict[str, float]]:
            moved = self.adapted_constants(self.params, chunk.num_tasks, chunk.batches)
            with torch.no_grad():
                policy = self.policy(moved, chunk.batches[-1].observations)
            return moved, spread_metrics(policy, chunk.share)

        # phi_i = k steps of each task's own gradient, from theta
        adapted = parallel_map(adapt_chunk, self.chunks(rollouts))
        phi = join_tasks([moved for moved, _ in adapted])
        # theta <- theta + epsilon * mean over i of (phi_i - theta)
        step = descend_objective(
            self.params,
            self.outer_state,
            [lambda theta: LossAndMetrics(distance(theta, phi), {})],
            self.config,
        )
        self.params, self.outer_state = self.policy.within_bounds(step.params), step.memory
        return step.metrics | add_metrics([spread for _, spread in adapted])


def distance(theta: Params, adapted: Params) -> torch.Tensor:
    """Return half the squared distance from theta to stacked parameters, a mean over tasks.

    Its gradient is ``theta - mean(adapted)``, so that a step down it is Reptile's.
    """
    squares = [(value - adapted[name]).square().sum() / len(adapted[name]) for name, value in theta.items()]
    return 0.5 * torch.stack(squares).sum()
