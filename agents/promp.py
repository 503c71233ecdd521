"""ProMP: proximal meta-policy search.

Source: Rothfuss et al. 2019 (arXiv 1810.06784), section 6 and algorithm 1. With ``pi_o`` the policies that
collected the episodes, before and after adapting, the inner loss is a likelihood ratio, which is the
low-variance-curvature surrogate at theta_o and stays right as theta moves away from it:

    L(theta)       = -mean over transitions of  pi_theta(a|s) / pi_o(a|s) * A(s, a)
    adapt(theta)   = theta - inner_lr * grad L(theta)

and some steps of Adam are taken on

    minimise over theta  -mean of min(r A, clip(r, 1 - c, 1 + c) A)  +  eta * mean of KL(pi_o || pi_theta),
    r = pi_{adapt(theta)}(a|s) / pi_{adapt(theta_o)}(a|s)

where the clipped mean is over the adapted episodes and the KL divergence is on those before, so that theta
keeps to where the inner gradient is known. With several inner steps each has a divergence and an eta of its
own. An adaptive eta doubles where the divergence ends above 1.5 times its target and halves below 1 / 1.5; it
keeps within a factor of a million of where it started, from where it can come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge, Le, Lt

from metarl.agents.gradient_based import (
    Chunk,
    GradientBasedAgent,
    GradientBasedConfig,
    frozen,
    spread_metrics,
)
from metarl.errors import require
from metarl.functional.distributions import Distribution, kl_divergence, log_prob
from metarl.functional.params import add, detach, requires_grad
from metarl.learning.adaptation import Policy
from metarl.learning.advantages import Batch
from metarl.learning.gradient_descent import ClippedConfig, LossAndMetrics, add_metrics, descend_objective
from metarl.learning.surrogates import clipped_ratio, likelihood_ratio
from metarl.types import Params, Rollout

INNER_KL_WEIGHT = "inner_kl_weight"  # name of the etas in memory, [adaptation_steps]
TOLERANCE = 1.5
WEIGHT_RANGE = 2.0**20  # an adaptive weight keeps within this factor of its start, either way: 20 doublings


@dataclass(frozen=True, kw_only=True)
class ProMPConfig(ClippedConfig, GradientBasedConfig):
    """ProMP: a clipped outer step and a low-variance inner one."""

    kind: ClassVar[str] = "promp"
    source: ClassVar[str] = "Rothfuss et al. 2019, arXiv 1810.06784"

    clip: float = 0.3
    """Clipping range of likelihood ratios around one."""
    inner_kl_weight: Annotated[float, Ge(0), Le(1e6)] = 5e-4
    """Weight of the KL divergence before adaptation.
    With a target, the weight at the start."""
    target_inner_kl: Annotated[float, Ge(0), Lt(math.inf)] = 0.0
    """Target divergence in nats; 0 fixes the weight.
    The weight is adapted to it after each update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.target_inner_kl == 0 or self.inner_kl_weight > 0,
            "inner_kl_weight must be positive with a target_inner_kl, doubling starts from it",
            self.inner_kl_weight,
        )


class ProMP(GradientBasedAgent[ProMPConfig], built_from=ProMPConfig):
    """The agent: meta-parameters theta, and how they learn."""

    def initial_outer_state(self) -> Params:
        """Return the initial memory of Adam and the divergences' weights."""
        config = self.config
        weights = torch.full((config.adaptation_steps,), config.inner_kl_weight, device=self.device)
        return {**super().initial_outer_state(), INNER_KL_WEIGHT: weights}

    def inner_loss(self, policy: Policy, params: Params, batch: Batch) -> torch.Tensor:
        """Return each task's loss ``[M]``, by ratios to the acting policy."""
        log_probs = log_prob(policy(params, batch.observations), batch.actions)
        return likelihood_ratio(log_probs, batch.log_probs, batch)

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take clipped and penalised steps on one meta-batch."""
        # theta_o and what it adapts to: the policies that collected the episodes
        chunks = self.shared_chunks(rollouts).map(self.anchor)
        adam = {name: value for name, value in self.outer_state.items() if name != INNER_KL_WEIGHT}
        weights = self.outer_state[INNER_KL_WEIGHT]

        # J(theta) = J_clip(theta) - eta KL(pi_o || pi_theta)
        def objective(theta: Params, chunk: AnchoredChunk) -> LossAndMetrics:
            terms = self.terms(theta, chunk)
            return LossAndMetrics(terms.clipped + (weights * terms.inner_kl).sum(), {})

        # several steps of Adam on the same episodes, each with the inner steps taken anew
        objectives = chunks.each(lambda chunk: partial(objective, chunk=chunk))
        step = descend_objective(
            self.params, adam, objectives, self.config, steps=self.config.outer_steps, should_stop=should_stop
        )
        self.params = self.policy.within_bounds(step.params)
        # where that has led, and what eta makes of it
        after = added(
            chunks.map(lambda chunk: detached(self.terms(requires_grad(self.params), chunk))).gather()
        )
        self.outer_state = {**step.memory, INNER_KL_WEIGHT: self.adapted_weights(weights, after.inner_kl)}
        return {
            **step.metrics,
            "surrogate_after": float(after.clipped + (weights * after.inner_kl).sum()),
            "kl": float(after.outer_kl),
            "inner_kl": float(after.inner_kl.mean()),
            "inner_kl_weight": float(weights.mean()),
            **add_metrics(chunks.each(lambda chunk: spread_metrics(chunk.old[-1], chunk.share)).gather()),
        }

    def anchor(self, chunk: Chunk) -> AnchoredChunk:
        """Return a chunk with the policies that collected its batches.

        Their log densities are computed anew by what computes the ratios, so that every ratio starts at
        exactly one.
        """
        old: list[Distribution] = []
        anchored: list[Batch] = []
        stage = self.per_task(self.params, chunk.num_tasks)
        for batch in chunk.batches:
            if anchored:
                start = requires_grad(stage)
                stage = detach(self.inner_loop(self.params, start, anchored[-1:], first_order=True))
            old.append(frozen(self.policy(stage, batch.observations)))
            anchored.append(replace(batch, log_probs=log_prob(old[-1], batch.actions)))
        return AnchoredChunk(old, anchored, chunk.num_tasks, chunk.share)

    def terms(self, theta: Params, chunk: AnchoredChunk) -> Terms:
        """Return a chunk's share of the objective's terms at theta."""
        batches = chunk.batches
        # adapt(theta), by likelihood ratios to pi_o
        stages = self.inner_loop_stages(theta, chunk.num_tasks, batches[:-1])
        policies = [self.policy(stage, one.observations) for stage, one in zip(stages, batches, strict=True)]
        # mean of KL(pi_o || pi_theta) before each inner step, and after the last
        divergences = [
            (batch.weights * kl_divergence(anchor, policy)).sum(dim=1).mean()
            for anchor, policy, batch in zip(chunk.old, policies, batches, strict=True)
        ]
        # -mean of min(r A, clip(r, 1 - c, 1 + c) A) over the adapted episodes
        outer = batches[-1]
        log_probs = log_prob(policies[-1], outer.actions)
        clipped = clipped_ratio(log_probs, outer.log_probs, outer, clip=self.config.clip)
        terms = Terms(clipped.mean(), torch.stack(divergences[:-1]), divergences[-1].detach())
        return Terms(*(chunk.share * term for term in terms))

    def adapted_weights(self, weights: torch.Tensor, divergences: torch.Tensor) -> torch.Tensor:
        """Return the next etas, ``[adaptation_steps]``, each doubled, halved or the same."""
        target = self.config.target_inner_kl
        if target == 0:
            return weights
        doubled = torch.where(divergences > TOLERANCE * target, 2 * weights, weights)
        adapted = torch.where(divergences < target / TOLERANCE, weights / 2, doubled)
        start = self.config.inner_kl_weight
        return adapted.clamp(start / WEIGHT_RANGE, start * WEIGHT_RANGE)


class AnchoredChunk(NamedTuple):
    """A chunk with its collecting policies."""

    old: Sequence[Distribution]  # before adapting, after one step, …; constants
    batches: Sequence[Batch]  # likewise; their log densities are those of old
    num_tasks: int
    share: float  # of the meta-batch's tasks


class Terms(NamedTuple):
    """ProMP's terms, means over tasks and transitions."""

    clipped: torch.Tensor  # the clipped loss of the adapted policies
    inner_kl: torch.Tensor  # KL divergence from the policy before each inner step, [adaptation_steps]
    outer_kl: torch.Tensor  # KL divergence after the last step; a metric, no part of the objective


def added(parts: Sequence[Terms]) -> Terms:
    """Add the chunks' shares, in order."""
    return Terms(*(add(terms) for terms in zip(*parts, strict=True)))


def detached(terms: Terms) -> Terms:
    """Return the terms as plain numbers."""
    return Terms(*(term.detach() for term in terms))
