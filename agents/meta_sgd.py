"""Meta-SGD: MAML with a learned inner step size for each coordinate.

Source: Li et al. 2017 (arXiv 1707.09835), equation 1 and algorithm 2:

    adapt(theta, alpha) = theta - alpha * grad L(theta)          (products of coordinates)

alpha has theta's shape and is learned with it. As in the paper it is free: it may become zero, or negative,
so that it says the direction of the inner step too. It starts equal everywhere, where Meta-SGD is MAML. The
outer step is the trust region of :mod:`metarl.agents.maml_trpo`, over theta and alpha together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.functional.params import flatten
from metarl.types import Params, Rollout

PREFIX = "inner_lr."  # prefix of a parameter's step sizes


@dataclass(frozen=True, kw_only=True)
class MetaSGDConfig(MAMLTRPOConfig):
    """MAML with a learned inner step size for each parameter."""

    kind: ClassVar[str] = "meta-sgd"
    source: ClassVar[str] = "Li et al. 2017, arXiv 1707.09835"

    inner_lr: float = 0.1
    """Initial step size of every parameter."""

    def inner_rule_params(self, params: Params, seed: int) -> Params:
        """Return alpha, all step sizes being equal."""
        return equal_step_sizes(params, self.inner_lr)


def equal_step_sizes(params: Params, inner_lr: float) -> Params:
    """Return a constant alpha shaped as ``params``."""
    return {PREFIX + name: torch.full_like(value, inner_lr) for name, value in params.items()}


class MetaSGD(MAMLTRPO, built_from=MetaSGDConfig):
    """The agent: meta-parameters theta and alpha."""

    def inner_rule(self, theta: Params) -> Params:
        """Return alpha, which all tasks share."""
        return {name: theta[PREFIX + name] for name in self.policy.shapes}

    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take one trust-region step on theta and alpha."""
        # (theta, alpha) <- one outer step on both, through adapt(theta, alpha)
        metrics = super().outer_step(rollouts, should_stop)
        alpha = flatten(self.inner_rule(self.params))
        return {**metrics, "inner_lr_mean": float(alpha.mean()), "inner_lr_std": float(alpha.std())}
