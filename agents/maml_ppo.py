"""MAML with a clipped outer step.

Sources: Finn et al. 2017 (arXiv 1703.03400), algorithm 3; Schulman et al. 2017, PPO (arXiv 1707.06347),
equation 7. With ``adapt`` the inner loop and ``pi_old`` the adapted policies that collected the last
episodes, some steps of Adam on

    minimise over theta  -mean over tasks, transitions of  min(r A, clip(r, 1 - c, 1 + c) A),
    r = pi_{adapt(theta)}(a|s) / pi_old(a|s)

Every step adapts anew from the same episodes; with ``first_order`` it is FOMAML.
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
from metarl.functional.distributions import Distribution, kl_divergence, log_prob
from metarl.functional.params import detach, requires_grad
from metarl.learning.gradient_descent import (
    ClippedConfig,
    Judged,
    add_metrics,
    descend_objective,
    start_descent,
    value_of,
)
from metarl.learning.surrogates import clipped_ratio
from metarl.system.threads import parallel_map
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

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MAMLPPO:
        """Return an agent with freshly drawn parameters; see :meth:`fresh`."""
        return MAMLPPO(self, *self.fresh(suite, seed, device))


class MAMLPPO(GradientBasedAgent[MAMLPPOConfig]):
    """The agent: meta-parameters theta, and how they learn."""

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take some steps on the clipped objective of one meta-batch."""
        parts = self._parts(rollouts)
        collected_by = parallel_map(self._collected_by, parts)
        objectives = [
            partial(self.meta_loss, part=part, old=old) for part, old in zip(parts, collected_by, strict=True)
        ]
        step = descend_objective(
            self.params,
            self.memory,
            objectives,
            self.config,
            steps=self.config.outer_steps,
            should_stop=should_stop,
        )
        self.params, self.memory = self.policy.within_bounds(step.params), step.memory
        after = value_of(objectives, self.params)
        spread = [spread_metrics(old, part.share) for part, old in zip(parts, collected_by, strict=True)]
        return {
            **step.metrics,
            **after.metrics,
            "surrogate_after": float(after.loss),
            **add_metrics(spread),
        }

    def meta_loss(self, theta: Params, part: Part, old: Distribution) -> Judged:
        """Return the clipped loss of a chunk's adapted policies, its share of the mean over all tasks."""
        *inner, outer = part.batches
        start = self.per_task(theta, part.num_tasks)
        adapted = self._adapted(theta, start, inner, first_order=self.config.first_order)
        gaussian = self.policy(adapted, outer.observations)
        ratios = (log_prob(gaussian, outer.actions), log_prob(old, outer.actions))
        kl = (outer.weights * kl_divergence(old, frozen(gaussian))).sum(dim=1).mean()
        loss = clipped_ratio(*ratios, outer, clip=self.config.clip).mean()
        return Judged(part.share * loss, {"kl": part.share * float(kl)})

    def _collected_by(self, part: Part) -> Distribution:
        """Return the adapted policies that collected a chunk's last episodes."""
        *inner, outer = part.batches
        start = requires_grad(self.per_task(self.params, part.num_tasks))
        adapted = detach(self._adapted(self.params, start, inner, first_order=True))
        return frozen(self.policy(adapted, outer.observations))

    def start_memory(self) -> Params:
        """Return what Adam remembers before the first update."""
        return start_descent(self.params, self.config)
