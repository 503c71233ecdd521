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

from metarl.agents.gradient_based import (
    Chunk,
    GradientBasedAgent,
    GradientBasedConfig,
    frozen,
    spread_metrics,
)
from metarl.learning.adaptation import policy_gradient_loss
from metarl.learning.gradient_descent import DescentConfig, LossAndMetrics, Objective, descend_objective
from metarl.system.sharing import Shared
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class MAMLVPGConfig(DescentConfig, GradientBasedConfig):
    """MAML with policy gradients inside and outside."""

    kind: ClassVar[str] = "maml-vpg"
    source: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400"


class MAMLVPG(GradientBasedAgent[MAMLVPGConfig], built_from=MAMLVPGConfig):
    """The agent: meta-parameters theta, and how they learn."""

    def meta_loss(self, theta: Params, chunk: Chunk) -> LossAndMetrics:
        """Return a chunk's share of the adapted loss."""
        *inner, outer = chunk.batches
        # theta_i' = theta - alpha grad L_i(theta), on the episodes before each inner step (lines 5 to 7)
        adapted = self.adapted(theta, chunk.num_tasks, inner)
        # L_i(theta_i') on the episodes of the adapted policies (line 8 and equation 4)
        loss = chunk.share * policy_gradient_loss(self.policy, adapted, outer).mean()
        return LossAndMetrics(
            loss, spread_metrics(frozen(self.policy(adapted, outer.observations)), chunk.share)
        )

    def objectives(self, rollouts: Sequence[Rollout]) -> Shared[Objective]:
        """Return each chunk's part of the meta-loss."""
        return self.shared_chunks(rollouts).each(lambda chunk: partial(self.meta_loss, chunk=chunk))

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Step down the gradient of the meta-loss."""
        # theta <- theta - beta grad_theta sum_i L_i(theta_i')   (line 10)
        step = descend_objective(self.params, self.outer_state, self.objectives(rollouts), self.config)
        self.params, self.outer_state = self.policy.within_bounds(step.params), step.memory
        return step.metrics
