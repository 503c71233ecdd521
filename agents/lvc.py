"""MAML with the low-variance-curvature inner surrogate.

Source: Rothfuss et al. 2019, ProMP (arXiv 1810.06784), section 5. The inner loss is

    L(theta) = -mean over transitions of  pi_theta(a|s) / stop(pi_theta(a|s)) * A(s, a)

Its gradient is the policy gradient. Its Hessian keeps, of that of the expected return, all but the terms
that pair a step's score with the change of what later steps will earn; those are the noisy ones. The outer
step is that of :mod:`metarl.agents.maml_vpg`; with ProMP's clipped one it is :mod:`metarl.agents.promp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.functional.distributions import log_prob
from metarl.learning.adaptation import Policy
from metarl.learning.advantages import Batch
from metarl.learning.surrogates import low_variance_curvature
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class LVCConfig(MAMLVPGConfig):
    """MAML with a low-variance second derivative of the inner step."""

    kind: ClassVar[str] = "lvc"
    source: ClassVar[str] = "Rothfuss et al. 2019, arXiv 1810.06784"


class LVC(MAMLVPG, built_from=LVCConfig):
    """MAML with the LVC inner loss."""

    def inner_loss(self, policy: Policy, params: Params, batch: Batch) -> torch.Tensor:
        """Return each task's LVC loss, ``[M]``."""
        return low_variance_curvature(log_prob(policy(params, batch.observations), batch.actions), batch)
