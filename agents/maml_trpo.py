"""MAML with a trust-region outer step.

Sources: Finn et al. 2017 (arXiv 1703.03400), algorithm 3; Schulman et al. 2015 (arXiv 1502.05477). The
objective at meta-parameters theta, with ``adapt`` the inner loop and episodes that were collected before and
after it:

    maximise over theta  mean over tasks, transitions of  pi_{adapt(theta)}(a|s) / pi_old(a|s) * A(s, a)
    subject to           mean over tasks, transitions of  KL(pi_old(.|s) || pi_{adapt(theta)}(.|s)) <= max_kl
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge, Le

from metarl.agents.gradient_based import (
    Chunk,
    GradientBasedAgent,
    GradientBasedConfig,
    frozen,
    inward,
    spread_metrics,
)
from metarl.functional.distributions import Distribution, fisher_product, kl_divergence, log_prob, rebuilt
from metarl.functional.params import add, add_params, detach, flatten, gradient, requires_grad
from metarl.learning.advantages import Batch
from metarl.learning.gradient_descent import add_metrics
from metarl.learning.trust_region import (
    Curvature,
    LossAndKL,
    TrustRegionConfig,
    gauss_newton_product,
    trust_region_step,
)
from metarl.types import Params, Rollout

MIN_CURVATURE_SAMPLES = 50
"""Least transitions of a task in the Fisher matrix, unless it has fewer.

With 2, 5 and 20 tasks of 500 random transitions (39 observations, 64 x 64 units) every step was accepted with
25 to 500 of them. More of them need fewer trials of the line search, but with 100 an update of the preset
``ml1`` takes a fifth longer than with 50, and with 500 twice as long or more.
"""
MAX_CURVATURE_STRIDE = 1000


@dataclass(frozen=True, kw_only=True)
class MAMLTRPOConfig(TrustRegionConfig, GradientBasedConfig):
    """MAML with policy gradients inside and a trust region outside."""

    kind: ClassVar[str] = "maml-trpo"
    source: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400"

    curvature_stride: Annotated[int, Ge(1), Le(MAX_CURVATURE_STRIDE)] = 10
    """The Fisher matrix reads one in this many live transitions, at least 50 of a task or all that it has;
    gradient and line search read all.
    """


class MAMLTRPO(GradientBasedAgent[MAMLTRPOConfig], built_from=MAMLTRPOConfig):
    """The agent: meta-parameters theta, and how they learn."""

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take one trust-region step on theta."""
        # the surrogate at theta and its gradient, through the inner loop (MAML, algorithm 3, line 10)
        objectives = self.shared_chunks(rollouts).map(self.objective)
        at_theta = objectives.each(lambda part: (part.start, part.gradient, part.spread)).gather()
        starts, gradients_of_parts, spreads = zip(*at_theta, strict=True)
        gradients = add_params(gradients_of_parts)
        # what stands at a bound and would leave it is held, or else much of the step would be without effect
        free = inward(self.policy, self.params, gradients)
        held = flatten(free)

        # the constraint: Hessian of the mean KL divergence, as a product with a vector (TRPO, appendix C)
        def curvature(vector: torch.Tensor) -> torch.Tensor:
            return held * add(objectives.map(lambda part: part.curvature(held * vector)).gather())

        # surrogate and divergence at a candidate, adapting anew from the same episodes
        def evaluate(candidate: Params) -> LossAndKL:
            bounded = self.policy.within_bounds(candidate)
            return added(objectives.map(lambda part: part.evaluate(bounded)).gather())

        # natural gradient by conjugate gradients, then the line search
        step = trust_region_step(
            self.params,
            {name: slope * free[name] for name, slope in gradients.items()},
            curvature,
            evaluate,
            added(starts),
            self.config,
        )
        self.params = self.policy.within_bounds(step.params)
        return step.metrics | add_metrics(spreads)

    def objective(self, chunk: Chunk) -> TrustRegionObjective:
        """Return a chunk's share of surrogate and divergence."""
        *inner, outer = chunk.batches
        # theta_i' = adapt(theta) for each task, and pi_old, the policies that it makes
        theta = requires_grad(self.params)
        adapted = self.adapted(theta, chunk.num_tasks, inner)
        distribution = self.policy(adapted, outer.observations)
        old = frozen(distribution)
        # the surrogate's value and KL = 0 at theta, differentiable through the adaptation
        start = meta_objective(distribution, old, outer, chunk.share)

        def evaluate(candidate: Params) -> LossAndKL:
            # the line search needs values only, so no graph is kept
            moved = self.adapted_constants(candidate, chunk.num_tasks, inner)
            with torch.no_grad():
                return meta_objective(self.policy(moved, outer.observations), old, outer, chunk.share)

        return TrustRegionObjective(
            LossAndKL(start.loss.detach(), start.kl.detach()),
            gradient(start.loss, theta),
            self.curvature(theta, detach(adapted), inner, outer, chunk.share),
            evaluate,
            spread_metrics(old, chunk.share),
        )

    def curvature(
        self, theta: Params, adapted: Params, inner: Sequence[Batch], outer: Batch, share: float = 1.0
    ) -> Curvature:
        """Return Fisher-vector products at theta, on a subsample.

        It goes through the adaptation. The adapted parameters have their true values; only the Jacobian of
        adapting is subsampled.
        """
        stride = self.config.curvature_stride
        num_tasks = outer.observations.shape[0]
        # fewer transitions: curvature is an estimate, and costs most of the step
        few = [batch.subsample(stride, at_least=MIN_CURVATURE_SAMPLES) for batch in inner]
        moved = self.adapted(theta, num_tasks, few)
        # the values are those adapted from all transitions, the derivative is that of the subsample
        anchored = {name: adapted[name] + (moved[name] - moved[name].detach()) for name in moved}
        judged = outer.subsample(stride, at_least=MIN_CURVATURE_SAMPLES)
        distribution = self.policy(anchored, judged.observations)
        of_task = share / num_tasks  # weight of each task in the mean over all
        of_transition = judged.weights.unsqueeze(-1) * of_task

        def metric(change: list[torch.Tensor]) -> list[torch.Tensor]:
            product = fisher_product(distribution, rebuilt(distribution, change))
            # what is one for all transitions of a task, as a deviation is, has the weight of them all
            return [
                (part * (of_transition if part.shape[1] == of_transition.shape[1] else of_task)).detach()
                for part in product
            ]

        return gauss_newton_product(distribution, theta, metric)


class TrustRegionObjective(NamedTuple):
    """One chunk's share of what the outer step descends; shares add up."""

    start: LossAndKL  # at theta
    gradient: Params  # of the loss, at theta
    curvature: Curvature
    evaluate: Callable[[Params], LossAndKL]  # loss and divergence at other meta-parameters
    spread: dict[str, float]  # how much the adapted policies explore


def added(parts: Sequence[LossAndKL]) -> LossAndKL:
    """Add the chunks' shares, in order."""
    return LossAndKL(add([part.loss for part in parts]), add([part.kl for part in parts]))


def meta_objective(new: Distribution, old: Distribution, batch: Batch, share: float = 1.0) -> LossAndKL:
    """Return negative surrogate and KL divergence, means over tasks and transitions.

    Both are multiplied by ``share``, the weight of these tasks among all.
    """
    ratio = torch.exp(log_prob(new, batch.actions) - log_prob(old, batch.actions))
    surrogate = share * (batch.weights * batch.advantages * ratio).sum(dim=1).mean()
    kl = share * (batch.weights * kl_divergence(old, new)).sum(dim=1).mean()
    return LossAndKL(-surrogate, kl)
