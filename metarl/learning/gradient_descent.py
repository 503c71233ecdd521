"""Outer steps by gradients alone, on closures of the meta-parameters: stochastic descent and Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch

from metarl.errors import require
from metarl.functional.params import add, add_params, detach, flatten, gradient, requires_grad
from metarl.system.threads import one_thread, parallel_map
from metarl.types import Params

OuterOptimizer: TypeAlias = Literal["adam", "sgd"]

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's betas and epsilon, as its authors propose."""
COUNT, MEAN, SQUARE = "adam.count", "adam.mean.", "adam.square."
"""Names of what Adam remembers, beside the parameters'."""


@dataclass(frozen=True, kw_only=True)
class DescentConfig:
    """How the meta-parameters follow a gradient."""

    outer_lr: float = 1e-3
    """Step size of the meta-parameters."""
    outer_optimizer: OuterOptimizer = "adam"
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), or plain stochastic gradient descent."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(0 < self.outer_lr <= 1000, "outer_lr must be positive and at most 1000", self.outer_lr)


@dataclass(frozen=True, kw_only=True)
class ClippedConfig(DescentConfig):
    """Several steps on one meta-batch, held back by clipping (Schulman et al. 2017, arXiv 1707.06347)."""

    outer_steps: int = 5
    """Steps of the meta-parameters on each meta-batch."""
    clip: float = 0.2
    """Likelihood ratios count within one plus or minus this."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(1 <= self.outer_steps <= 1000, "outer_steps must lie in 1..1000", self.outer_steps)
        require(0 < self.clip < math.inf, "clip must be positive", self.clip)


class Judged(NamedTuple):
    """What a closure says of some parameters."""

    loss: torch.Tensor
    """A scalar that can be differentiated."""
    metrics: dict[str, float]


Objective: TypeAlias = Callable[[Params], Judged]
"""One chunk's part of what is minimised: loss and metrics of all chunks add up."""


class Slope(NamedTuple):
    """The whole objective at some parameters: all chunks added up."""

    loss: torch.Tensor
    """A scalar, without a graph."""
    gradient: Params
    metrics: dict[str, float]


class Descent(NamedTuple):
    """Where some steps ended, what is remembered for the next, and what was so before the first."""

    params: Params
    memory: Params
    metrics: dict[str, float]


def start_descent(params: Params, config: DescentConfig) -> Params:
    """Return what the optimiser remembers before its first step."""
    if config.outer_optimizer == "sgd":
        return {}
    device = next(iter(params.values())).device
    means = {MEAN + name: torch.zeros_like(value) for name, value in params.items()}
    squares = {SQUARE + name: torch.zeros_like(value) for name, value in params.items()}
    return {COUNT: torch.zeros((), dtype=torch.float64, device=device), **means, **squares}


def slope_of(objectives: Sequence[Objective], params: Params) -> Slope:
    """Differentiate each chunk's objective, on as many threads as learning has, and add them in order."""

    def of_chunk(objective: Objective) -> Slope:
        leaves = requires_grad(params)
        judged = objective(leaves)
        return Slope(judged.loss.detach(), gradient(judged.loss, leaves), judged.metrics)

    parts = parallel_map(of_chunk, objectives)
    return Slope(
        add([part.loss for part in parts]),
        add_params([part.gradient for part in parts]),
        add_metrics([part.metrics for part in parts]),
    )


def value_of(objectives: Sequence[Objective], params: Params) -> Judged:
    """Return what all chunks say of some parameters, added up; the loss has no graph."""

    def of_chunk(objective: Objective) -> Judged:
        loss, metrics = objective(requires_grad(params))
        return Judged(loss.detach(), metrics)

    parts = parallel_map(of_chunk, objectives)
    return Judged(add([part.loss for part in parts]), add_metrics([part.metrics for part in parts]))


def add_metrics(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Add metrics name by name, in order."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


@one_thread()
def descend_objective(
    params: Params,
    memory: Params,
    objectives: Sequence[Objective],
    config: DescentConfig,
    *,
    steps: int = 1,
) -> Descent:
    """Take some steps down an objective, differentiating it anew before each.

    Args:
        params: where the first step starts.
        memory: from :func:`start_descent` or an earlier call.
        objectives: each chunk's part; what it says of leaves that ask for gradients.
        config: step size and optimiser.
        steps: how many.
    """
    first: dict[str, float] = {}
    for step in range(steps):
        loss, slopes, metrics = slope_of(objectives, params)
        if step == 0:
            norm = float(flatten(slopes).norm())
            first = {"surrogate_before": float(loss), "gradient_norm": norm, **metrics}
        if config.outer_optimizer == "adam":
            params, memory = adam_step(params, memory, slopes, config.outer_lr)
        else:
            params = {name: value - config.outer_lr * slopes[name] for name, value in params.items()}
    return Descent(detach(params), memory, first)


def adam_step(params: Params, memory: Params, slopes: Params, lr: float) -> tuple[Params, Params]:
    """Take one step of Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1)."""
    count = memory[COUNT] + 1
    # m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
    means = {name: torch.lerp(memory[MEAN + name], slope, 1 - MEAN_DECAY) for name, slope in slopes.items()}
    squares = {
        name: torch.lerp(memory[SQUARE + name], slope.square(), 1 - SQUARE_DECAY)
        for name, slope in slopes.items()
    }
    # theta <- theta - lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)
    scale, unbiased = lr / (1 - MEAN_DECAY**count), 1 - SQUARE_DECAY**count
    moved = {
        name: value - (scale * means[name] / ((squares[name] / unbiased).sqrt() + EPSILON)).to(value.dtype)
        for name, value in params.items()
    }
    kept = {MEAN + name: value for name, value in means.items()}
    return moved, {COUNT: count, **kept, **{SQUARE + name: value for name, value in squares.items()}}
