"""MAML with a plain policy-gradient outer step.

Source: Finn et al. 2017 (arXiv 1703.03400), algorithm 3 with equation 5 followed by a gradient step. With
``adapt`` the inner loop and episodes that were collected before and after it, one step of Adam or of
stochastic descent on

    minimise over theta  -mean over tasks, transitions of  A(s, a) log pi_{adapt(theta)}(a|s)

With ``first_order`` it is FOMAML: the derivative of ``adapt`` is taken to be that of a shift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from metarl.agents.gradient_based import (
    GradientBasedAgent,
    GradientBasedConfig,
    Part,
    frozen,
    spread_metrics,
)
from metarl.config import SamplingConfig
from metarl.learning.adaptation import policy_gradient_loss
from metarl.learning.gradient_descent import (
    DescentConfig,
    Judged,
    Objective,
    descend_objective,
    start_descent,
)
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class MAMLVPGConfig(DescentConfig, GradientBasedConfig):
    """MAML with policy gradients inside and outside."""

    kind: ClassVar[str] = "maml-vpg"
    source: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400"

    def __post_init__(self) -> None:
        """Check the numbers."""
        DescentConfig.__post_init__(self)
        GradientBasedConfig.__post_init__(self)

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MAMLVPG:
        """Return an agent with freshly drawn parameters; see :meth:`fresh`."""
        return MAMLVPG(self, *self.fresh(suite, seed, device))


class MAMLVPG(GradientBasedAgent[MAMLVPGConfig]):
    """The agent: meta-parameters theta, and how they learn."""

    def meta_loss(self, theta: Params, part: Part) -> Judged:
        """Return the loss of a chunk's adapted policies, its share of the mean over tasks and transitions."""
        *inner, outer = part.batches
        start = self.per_task(theta, part.num_tasks)
        adapted = self._adapted(theta, start, inner, first_order=self.config.first_order)
        loss = part.share * policy_gradient_loss(self.policy, adapted, outer).mean()
        return Judged(loss, spread_metrics(frozen(self.policy(adapted, outer.observations)), part.share))

    def objectives(self, rollouts: Sequence[Rollout]) -> list[Objective]:
        """Return each chunk's part of the meta-loss."""
        return [partial(self.meta_loss, part=part) for part in self._parts(rollouts)]

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take one step down the gradient of the meta-loss."""
        step = descend_objective(self.params, self.memory, self.objectives(rollouts), self.config)
        self.params, self.memory = self.policy.within_bounds(step.params), step.memory
        return step.metrics

    def start_memory(self) -> Params:
        """Return what the outer optimiser remembers before the first update."""
        return start_descent(self.params, self.config)
