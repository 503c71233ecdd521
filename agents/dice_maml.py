"""DiCE-MAML: MAML with an unbiased derivative of the inner step.

Source: Foerster et al. 2018, "DiCE: the infinitely differentiable Monte Carlo estimator" (arXiv 1802.05098),
section 5; with advantages as Farquhar et al. 2019 (arXiv 1909.10549). The inner loss is

    L(theta) = -mean over transitions of  (box_t - box_{t-1}) A_t,
    box_t = exp(l_t - stop(l_t)),  l_t = sum over u <= t of log pi_theta(a_u|s_u)

Its value says nothing; its gradient is the policy gradient, and its Hessian is on average that of the
expected return. The outer step is that of :mod:`metarl.agents.maml_vpg`, as the comparison of estimators in
Rothfuss et al. 2019 (arXiv 1810.06784), section 7.2, has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.functional.distributions import log_prob
from metarl.learning.adaptation import Policy
from metarl.learning.advantages import Batch
from metarl.learning.surrogates import dice
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class DiCEMAMLConfig(MAMLVPGConfig):
    """MAML with DiCE's unbiased second derivative of the inner step."""

    kind: ClassVar[str] = "dice-maml"
    source: ClassVar[str] = "Foerster et al. 2018, arXiv 1802.05098"


class DiCEMAML(MAMLVPG, built_from=DiCEMAMLConfig):
    """MAML with DiCE's inner loss."""

    def inner_loss(self, policy: Policy, params: Params, batch: Batch) -> torch.Tensor:
        """Return each task's DiCE loss, ``[M]``."""
        return dice(log_prob(policy(params, batch.observations), batch.actions), batch)
