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

from metarl.agents.gradient_based import (
    Chunk,
    GradientBasedAgent,
    GradientBasedConfig,
    frozen,
    spread_metrics,
)
from metarl.functional.distributions import Distribution, kl_divergence, log_prob
from metarl.learning.gradient_descent import (
    ClippedConfig,
    LossAndMetrics,
    add_metrics,
    descend_objective,
    value_of,
)
from metarl.learning.surrogates import clipped_ratio
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class MAMLPPOConfig(ClippedConfig, GradientBasedConfig):
    """MAML with policy gradients inside and clipped likelihood ratios outside."""

    kind: ClassVar[str] = "maml-ppo"
    source: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400; Schulman et al. 2017, arXiv 1707.06347"


class MAMLPPO(GradientBasedAgent[MAMLPPOConfig], built_from=MAMLPPOConfig):
    """The agent: meta-parameters theta, and how they learn."""

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take clipped steps on one meta-batch."""
        # pi_old: the adapted policies that collected the last episodes, held fixed from here on
        chunks = self.shared_chunks(rollouts).map(lambda chunk: (chunk, self.collected_by(chunk)))
        objectives = chunks.each(lambda pair: partial(self.meta_loss, chunk=pair[0], old=pair[1]))
        # several steps on the same episodes, each adapting anew from the theta before it
        step = descend_objective(
            self.params,
            self.outer_state,
            objectives,
            self.config,
            steps=self.config.outer_steps,
            should_stop=should_stop,
        )
        self.params, self.outer_state = self.policy.within_bounds(step.params), step.memory
        # how far the adapted policies went from pi_old
        after = value_of(objectives, self.params)
        spread = chunks.each(lambda pair: spread_metrics(pair[1], pair[0].share)).gather()
        return {**step.metrics, **after.metrics, "surrogate_after": float(after.loss), **add_metrics(spread)}

    def meta_loss(self, theta: Params, chunk: Chunk, old: Distribution) -> LossAndMetrics:
        """Return a chunk's share of the adapted policies' clipped loss."""
        *inner, outer = chunk.batches
        # theta_i' = adapt(theta), MAML's inner loop
        adapted = self.adapted(theta, chunk.num_tasks, inner)
        distribution = self.policy(adapted, outer.observations)
        # -mean of min(r A, clip(r, 1 - c, 1 + c) A)   (PPO, equation 7)
        log_probs = log_prob(distribution, outer.actions), log_prob(old, outer.actions)
        kl = (outer.weights * kl_divergence(old, frozen(distribution))).sum(dim=1).mean()
        loss = clipped_ratio(*log_probs, outer, clip=self.config.clip).mean()
        return LossAndMetrics(chunk.share * loss, {"kl": chunk.share * float(kl)})

    def collected_by(self, chunk: Chunk) -> Distribution:
        """Return the adapted policies that collected a chunk's last episodes."""
        *inner, outer = chunk.batches
        adapted = self.adapted_constants(self.params, chunk.num_tasks, inner)
        return frozen(self.policy(adapted, outer.observations))
