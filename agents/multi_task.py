"""Multi-task policy, fine-tuned: the baseline of every comparison.

Source: Finn et al. 2017 (arXiv 1703.03400), section 5.3, "pretrained": the policy learns the mean return of
all tasks and does not learn to adapt; on a new task it takes the same inner steps as MAML does.

    maximise over theta  mean over tasks, transitions of  pi_theta(a|s) / pi_old(a|s) * A(s, a)

within the same trust region. It is MAML's objective with no inner step, and so is its code; a meta-iteration
has one rollout instead of two, so compare agents by environment steps, not by iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from metarl.agents.maml_trpo import MAMLTRPOConfig


@dataclass(frozen=True, kw_only=True)
class MultiTaskConfig(MAMLTRPOConfig):
    """One policy for all tasks, which adapts in testing only."""

    kind: ClassVar[str] = "multi-task"
    source: ClassVar[str] = 'Finn et al. 2017, arXiv 1703.03400, the "pretrained" baseline'
    adapts_in_training: ClassVar[bool] = False

    adaptation_steps: int = 0
    """Gradient steps of the adaptation in training: none."""
