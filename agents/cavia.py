"""CAVIA: MAML that adapts a few context parameters and no weight.

Source: Zintgraf et al. 2019 (arXiv 1810.03642). The policy reads the observation and a context phi:

    adapt:     phi_0 = 0,  phi <- phi - inner_lr * grad_phi L(phi, theta)       for each task, theta fixed
    outer:     theta as MAML's, through phi(theta), by the trust region, as in the paper's experiments
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.functional.params import join
from metarl.networks.context_policies import CONTEXT, ContextPolicy
from metarl.tasks import TaskDistribution
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class CAVIAConfig(MAMLTRPOConfig):
    """MAML that adapts context parameters only."""

    kind: ClassVar[str] = "cavia"
    source: ClassVar[str] = "Zintgraf et al. 2019, arXiv 1810.03642"

    inner_lr: float = 1.0
    """Step size of the context.
    The network can scale what it reads, so it matters less than MAML's."""
    context_size: Annotated[int, Ge(1), Le(4096)] = 5
    """Context parameters, read beside the observation."""

    def meta_policy(self, suite: TaskDistribution) -> ContextPolicy:
        """Return the suite's network with a context input."""
        plain = self.build_policy(suite)
        network = replace(plain, observation_size=plain.observation_size + self.context_size)
        return ContextPolicy(network=network, context_size=self.context_size)


class CAVIA(MAMLTRPO, built_from=CAVIAConfig):
    """Meta-parameters theta, and the context, which adapts."""

    policy: ContextPolicy

    @property
    def adaptable(self) -> Collection[str]:
        """The context alone adapts."""
        return (CONTEXT,)

    def per_task(self, theta: Params, num_tasks: int) -> Params:
        """Return theta and blank contexts for tasks."""
        return join(super().per_task(theta, num_tasks), self.policy.blank_context(theta, num_tasks))
