"""E-MAML: MAML that credits exploration before adaptation.

Source: Stadie et al. 2018, "Some considerations on learning to explore via meta-reinforcement learning"
(arXiv 1803.01118), section on E-MAML. It maximises the return that follows adaptation, over the
episodes tau that are adapted from as well, which pi_theta itself draws:

    J(theta) = E over tau ~ pi_theta of E over tau' ~ pi_{adapt(theta, tau)} of R(tau')
    grad J   = E [ grad log pi_{adapt(theta, tau)}(tau') R(tau')  +  grad log pi_theta(tau) R(tau') ]

The first term is MAML's, with ``adapt`` differentiated for given episodes; the second is what MAML leaves
out. Here, with n transitions in an episode, both are divided by n, and the second reads

    credit_m / n * sum over all episodes and steps of  log pi_theta(a|s),
    credit_m = the mean return of task m's adapted episodes, minus that of the other tasks

which other tasks cannot bias, for their episodes do not depend on tau. A second inner step's episodes are
drawn by the policy after the first, and are credited likewise. The score of a whole set of episodes is a sum
over thousands of steps, so that the term is noisy: ``credit_weight`` 1 is the gradient above, less is less
of its second term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le

from metarl.agents.gradient_based import Chunk, frozen, spread_metrics
from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.functional.distributions import log_prob
from metarl.learning.adaptation import policy_gradient_loss
from metarl.learning.advantages import AdvantageNorm, Batch, above_rounding
from metarl.learning.gradient_descent import LossAndMetrics, Objective
from metarl.system.sharing import Shared
from metarl.types import Params, Rollout


@dataclass(frozen=True, kw_only=True)
class EMAMLConfig(MAMLVPGConfig):
    """MAML that credits exploration before adapting."""

    kind: ClassVar[str] = "e-maml"
    source: ClassVar[str] = "Stadie et al. 2018, arXiv 1803.01118"

    credit_weight: Annotated[float, Ge(0), Le(1000)] = 1e-3
    """Weight of the term that credits exploration.
    1 gives the gradient of the paper, with its noise."""


class EMAML(MAMLVPG, built_from=EMAMLConfig):
    """MAML that also credits exploration, with a policy-gradient outer step."""

    config: EMAMLConfig

    def objectives(self, rollouts: Sequence[Rollout]) -> Shared[Objective]:
        """Return a chunk's loss and credited log densities."""
        # all tasks' returns enter each task's credit, so it is computed before tasks are shared out
        credit = exploration_credit(rollouts[-1], self.config.advantage_norm)
        return self.shared_chunks(rollouts).each(
            lambda chunk: partial(self.credited_loss, chunk=chunk, credit=credit[chunk.tasks])
        )

    def credited_loss(self, theta: Params, chunk: Chunk, credit: torch.Tensor) -> LossAndMetrics:
        """Return a chunk's share of MAML's loss and the credit."""
        *inner, outer = chunk.batches
        # theta, after one inner step, …: the policies that drew the inner episodes, and the adapted one
        *explorers, adapted = self.inner_loop_stages(theta, chunk.num_tasks, inner)
        # second term of grad J: log pi(tau) of each set of inner episodes, times what followed adapting
        scores = torch.stack(
            [
                log_density(log_prob(self.policy(explorer, batch.observations), batch.actions), batch)
                for explorer, batch in zip(explorers, inner, strict=True)
            ]
        )
        exploring = -chunk.share * (credit * scores.sum(dim=0)).mean()
        # first term: MAML's
        exploiting = chunk.share * policy_gradient_loss(self.policy, adapted, outer).mean()
        metrics = {"exploration_loss": float(exploring.detach())}
        spread = spread_metrics(frozen(self.policy(adapted, outer.observations)), chunk.share)
        return LossAndMetrics(exploiting + self.config.credit_weight * exploring, metrics | spread)


def log_density(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sum log densities ``[M, B]`` over all that a task was adapted from, ``[M]``."""
    return torch.where(batch.weights > 0, log_probs, torch.zeros_like(log_probs)).sum(dim=1)


def exploration_credit(adapted: Rollout, norm: AdvantageNorm) -> torch.Tensor:
    """Return how much better than others each task went, ``[M]``.

    The mean return of its episodes after adapting over the number of steps, minus the mean of the other
    tasks; divided by the standard deviation over tasks unless advantages are left as they are. One task alone
    has neither others nor a deviation: its credit is its own return where advantages are left as they are,
    and otherwise zero, which leaves MAML's gradient.
    """
    values = adapted.episode_returns.double().mean(dim=1) / adapted.mask.shape[-1]
    count, dtype = len(values), adapted.rewards.dtype
    if count == 1:
        return (values if norm == "none" else torch.zeros_like(values)).to(dtype)
    credit = values - (values.sum() - values) / (count - 1)
    if norm == "none":
        return credit.to(dtype)
    deviation = credit.std(correction=0)
    share = above_rounding(deviation, values.square().mean().sqrt())
    return (share * credit / deviation.clamp(min=torch.finfo(credit.dtype).tiny)).to(dtype)
