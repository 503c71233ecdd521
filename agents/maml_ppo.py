"""MAML with a clipped outer step.

Sources: Finn et al. 2017 (arXiv 1703.03400), algorithm 3; Schulman et al. 2017, PPO (arXiv 1707.06347),
equation 7. With ``adapt`` the inner loop and ``pi_old`` the adapted policies that collected the last
episodes, some steps of Adam on

    minimise over theta  -mean over tasks, transitions of  min(r A, clip(r, 1 - c, 1 + c) A),
    r = pi_{adapt(theta)}(a|s) / pi_old(a|s)

Every step adapts anew from the same episodes; with ``first_order`` it is FOMAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.agents.gradient_based import (
    GradientBasedAgent,
    GradientBasedConfig,
    frozen,
    spread_metrics,
)
from metarl.descent import ClippedConfig, Judged, descend_objective, start_descent
from metarl.distributions import kl_divergence, log_prob
from metarl.params import detach, requires_grad
from metarl.surrogates import clipped_ratio
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class MAMLPPOConfig(ClippedConfig, GradientBasedConfig):
    """MAML with policy gradients inside and clipped likelihood ratios outside."""

    kind: ClassVar[str] = "maml-ppo"
    source: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400; Schulman et al. 2017, arXiv 1707.06347"

    def __post_init__(self) -> None:
        """Check the numbers."""
        ClippedConfig.__post_init__(self)
        GradientBasedConfig.__post_init__(self)

    def build(self, suite: TaskDistribution, *, seed: int, device: torch.device) -> MAMLPPO:
        """Return an agent with freshly drawn parameters; see :meth:`fresh`."""
        return MAMLPPO(self, *self.fresh(suite, seed, device))


class MAMLPPO(GradientBasedAgent[MAMLPPOConfig]):
    """The agent: meta-parameters theta, and how they learn."""

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Take some steps on the clipped objective of one meta-batch."""
        *inner, outer = [self._batch(rollout) for rollout in rollouts]
        num_tasks = outer.observations.shape[0]
        start = requires_grad(self.per_task(self.params, num_tasks))
        collected_by = detach(self._adapted(self.params, start, inner, first_order=True))
        old = frozen(self.policy(collected_by, outer.observations))
        old_log_probs = log_prob(old, outer.actions)

        def objective(theta: Params) -> Judged:
            adapted = self._adapted(
                theta, self.per_task(theta, num_tasks), inner, first_order=self.config.first_order
            )
            gaussian = self.policy(adapted, outer.observations)
            log_probs = log_prob(gaussian, outer.actions)
            kl = (outer.weights * kl_divergence(old, frozen(gaussian))).sum(dim=1).mean()
            loss = clipped_ratio(log_probs, old_log_probs, outer, clip=self.config.clip).mean()
            return Judged(loss, {"kl": float(kl)})

        step = descend_objective(
            self.params, self.memory, objective, self.config, steps=self.config.outer_steps
        )
        self.params, self.memory = self.policy.within_bounds(step.params), step.memory
        after = objective(requires_grad(self.params))
        metrics = {**after.metrics, "surrogate_after": float(after.loss.detach())}
        return step.metrics | metrics | spread_metrics(old)

    def start_memory(self) -> Params:
        """Return what Adam remembers before the first update."""
        return start_descent(self.params, self.config)
