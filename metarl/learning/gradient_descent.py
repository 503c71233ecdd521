"""Outer steps by named gradient optimisers, on closures of the meta-parameters.

AdamW and RMSprop are torch's. Adam and plain descent are written out here, because torch's Adam rounds in
another order: published runs would end in other bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, TypeAlias

import torch
from annotated_types import Ge, Gt, Le, Lt

from metarl.errors import Stopped, require
from metarl.functional.params import add, add_params, detach, flatten, gradient, requires_grad
from metarl.meta_learner import never
from metarl.settings import Settings
from metarl.system.sharing import Shared, share
from metarl.system.threads import one_thread
from metarl.types import Params

OuterOptimizer: TypeAlias = Literal["adam", "adamw", "rmsprop", "sgd"]
LearningRateSchedule: TypeAlias = Literal["constant", "cooldown", "cosine", "linear"]

COOLDOWN = 0.2  # share of the iterations in which a constant step size with a cooldown falls
MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8  # Adam's betas and epsilon, as its authors propose
UPDATES = "updates"  # name of the count of updates, by which a learning-rate schedule goes
TORCH_STATE = {"adamw": ("step", "exp_avg", "exp_avg_sq"), "rmsprop": ("step", "square_avg")}
"""Names of torch's optimiser state per parameter."""


@dataclass(frozen=True, kw_only=True)
class DescentConfig(Settings):
    """How the meta-parameters follow a gradient."""

    outer_lr: Annotated[float, Gt(0), Le(1000)] = 1e-3
    """Step size of the meta-parameters."""
    outer_optimizer: OuterOptimizer = "adam"
    """Optimiser: Adam, AdamW, RMSprop or stochastic gradient descent.
    Adam: Kingma and Ba 2015, arXiv 1412.6980."""
    weight_decay: Annotated[float, Ge(0), Le(1000)] = 0.01
    """AdamW's weight decay, relative to the step size."""
    max_gradient_norm: Annotated[float, Ge(0), Lt(math.inf)] = 0.0
    """Clip gradients to this norm; 0 leaves them."""
    lr_schedule: LearningRateSchedule = "constant"
    """Schedule of the step size, outer_lr to 0; cooldown begins to fall in the last fifth.
    Cooldown: Hägele et al. 2024, arXiv 2405.18392, section 3."""
    lr_iterations: int = 0
    """Meta-iterations until a schedule reaches 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.lr_iterations >= (self.lr_schedule != "constant"),
            "lr_iterations must be positive with a schedule",
            self.lr_iterations,
        )

    def learning_rate(self, updates: float) -> float:
        """Return the step size after some updates."""
        if self.lr_schedule == "constant":
            return self.outer_lr
        gone = min(updates / self.lr_iterations, 1.0)
        left = {
            "cooldown": min((1 - gone) / COOLDOWN, 1.0),
            "cosine": (1 + math.cos(math.pi * gone)) / 2,
            "linear": 1 - gone,
        }
        return self.outer_lr * left[self.lr_schedule]


@dataclass(frozen=True, kw_only=True)
class ClippedConfig(DescentConfig):
    """Several clipped steps on one meta-batch (Schulman et al. 2017, arXiv 1707.06347)."""

    outer_steps: Annotated[int, Ge(1), Le(1000)] = 5
    """Steps of the meta-parameters on each meta-batch."""
    clip: Annotated[float, Gt(0), Lt(math.inf)] = 0.2
    """Likelihood ratios are clipped this far from 1."""


class LossAndMetrics(NamedTuple):
    """Loss and metrics at some parameters."""

    loss: torch.Tensor  # a scalar that can be differentiated
    metrics: dict[str, float]


Objective: TypeAlias = Callable[[Params], LossAndMetrics]
"""One chunk's part of the objective; losses and metrics of all chunks add up."""

Objectives: TypeAlias = Sequence[Objective] | Shared[Objective]  # all chunks' parts, or those of this rank


class LossAndGradient(NamedTuple):
    """Objective at some parameters, over all chunks."""

    loss: torch.Tensor  # a scalar, without a graph
    gradient: Params
    metrics: dict[str, float]


class Descent(NamedTuple):
    """Parameters and memory after some steps, and the metrics before the first."""

    params: Params
    memory: Params
    metrics: dict[str, float]


def is_count(name: str) -> bool:
    """Return whether a part of a state counts updates, which schedules and running scales go by."""
    return name.rpartition(".")[2] == UPDATES


def start_descent(params: Params, config: DescentConfig, *, name: str = "") -> Params:
    """Return the optimiser's memory before any step.

    ``name`` distinguishes several optimisers of an agent; by default it is the optimiser's kind.
    """
    kind, prefix = config.outer_optimizer, name or config.outer_optimizer
    device = next(iter(params.values())).device
    zero = torch.zeros((), dtype=torch.float64, device=device)
    memory = {} if config.lr_schedule == "constant" else {f"{prefix}.{UPDATES}": zero}
    if kind == "adam":
        means = {f"{prefix}.mean.{key}": torch.zeros_like(value) for key, value in params.items()}
        squares = {f"{prefix}.square.{key}": torch.zeros_like(value) for key, value in params.items()}
        return {**memory, f"{prefix}.count": zero, **means, **squares}
    for key, value in params.items():
        for part in TORCH_STATE.get(kind, ()):
            memory[f"{prefix}.{part}.{key}"] = torch.zeros(()) if part == "step" else torch.zeros_like(value)
    return memory


def loss_and_gradient(objectives: Objectives, params: Params) -> LossAndGradient:
    """Differentiate each chunk's objective on learning's threads and ranks, and add in order."""

    def of_chunk(objective: Objective) -> LossAndGradient:
        leaves = requires_grad(params)
        judged = objective(leaves)
        return LossAndGradient(judged.loss.detach(), gradient(judged.loss, leaves), judged.metrics)

    parts = share(objectives).map(of_chunk).gather()
    return LossAndGradient(
        add([part.loss for part in parts]),
        add_params([part.gradient for part in parts]),
        add_metrics([part.metrics for part in parts]),
    )


def value_of(objectives: Objectives, params: Params) -> LossAndMetrics:
    """Return the chunks' summed objectives, without a graph."""

    def of_chunk(objective: Objective) -> LossAndMetrics:
        loss, metrics = objective(requires_grad(params))
        return LossAndMetrics(loss.detach(), metrics)

    parts = share(objectives).map(of_chunk).gather()
    return LossAndMetrics(add([part.loss for part in parts]), add_metrics([part.metrics for part in parts]))


def add_metrics(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Add metrics name by name, in order."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


@one_thread()
def descend_objective(
    params: Params,
    memory: Params,
    objectives: Objectives,
    config: DescentConfig,
    *,
    steps: int = 1,
    name: str = "",
    should_stop: Callable[[], bool] = never,
) -> Descent:
    """Take several gradient steps down an objective.

    Args:
        memory: from :func:`start_descent` or an earlier call.
        objectives: each chunk's part, called with leaves that require gradients.
        name: the optimiser's, as in :func:`start_descent`.
        should_stop: asked before each step.

    Raises:
        Stopped: if ``should_stop`` says so; no argument has changed.
    """
    prefix = name or config.outer_optimizer
    counter = f"{prefix}.{UPDATES}"
    # the schedule counts updates, not steps, so all steps of one update share a step size
    lr = config.learning_rate(float(memory.get(counter, 0.0)))
    first: dict[str, float] = {}
    for step in range(steps):
        if should_stop():
            raise Stopped
        loss, gradients, metrics = loss_and_gradient(objectives, params)
        norm = float(flatten(gradients).norm())
        if step == 0:
            first = {"surrogate_before": float(loss), "gradient_norm": norm, **metrics}
        # g <- g * max_norm / |g|
        if 0 < config.max_gradient_norm < norm:
            gradients = {key: value * (config.max_gradient_norm / norm) for key, value in gradients.items()}
        params, memory = one_step(params, memory, gradients, config, lr, prefix)
    if counter in memory:
        memory = {**memory, counter: memory[counter] + 1}
    return Descent(detach(params), memory, first)


def one_step(
    params: Params, memory: Params, gradients: Params, config: DescentConfig, lr: float, prefix: str
) -> tuple[Params, Params]:
    """Take one step of the configured optimiser."""
    kind = config.outer_optimizer
    if kind == "sgd":
        return {key: value - lr * gradients[key] for key, value in params.items()}, memory
    if kind == "adam":
        params, moved = adam_step(params, memory, gradients, lr, prefix)
        return params, {**memory, **moved}
    return torch_step(params, memory, gradients, config, lr, prefix)


def torch_step(
    params: Params, memory: Params, gradients: Params, config: DescentConfig, lr: float, prefix: str
) -> tuple[Params, Params]:
    """Take one step of torch's AdamW or RMSprop."""
    kind = config.outer_optimizer
    leaves = {key: value.detach().clone() for key, value in params.items()}
    optimizer: torch.optim.Optimizer
    if kind == "adamw":
        optimizer = torch.optim.AdamW(
            list(leaves.values()), lr=lr, weight_decay=config.weight_decay, foreach=False
        )
    else:
        optimizer = torch.optim.RMSprop(list(leaves.values()), lr=lr, foreach=False)
    for key, leaf in leaves.items():
        # hand the gradients and the remembered state to torch's optimiser
        leaf.grad = gradients[key].detach().clone()
        state = {part: memory[f"{prefix}.{part}.{key}"].clone() for part in TORCH_STATE[kind]}
        optimizer.state[leaf] = {**state, "step": state["step"].cpu()}
    optimizer.step()
    kept = {
        f"{prefix}.{part}.{key}": optimizer.state[leaf][part]
        for key, leaf in leaves.items()
        for part in TORCH_STATE[kind]
    }
    for leaf in leaves.values():
        leaf.grad = None
    return leaves, {**memory, **kept}


def adam_step(
    params: Params, memory: Params, gradients: Params, lr: float, prefix: str = "adam"
) -> tuple[Params, Params]:
    """Take one step of Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1)."""
    count = memory[f"{prefix}.count"] + 1
    # m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
    means = {
        name: torch.lerp(memory[f"{prefix}.mean.{name}"], slope, 1 - MEAN_DECAY)
        for name, slope in gradients.items()
    }
    squares = {
        name: torch.lerp(memory[f"{prefix}.square.{name}"], slope.square(), 1 - SQUARE_DECAY)
        for name, slope in gradients.items()
    }
    # theta <- theta - lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)
    scale, unbiased = lr / (1 - MEAN_DECAY**count), 1 - SQUARE_DECAY**count
    moved = {
        name: value
        - (scale * means[name]).div_((squares[name] / unbiased).sqrt_().add_(EPSILON)).to(value.dtype)
        for name, value in params.items()
    }
    first = {f"{prefix}.mean.{name}": value for name, value in means.items()}
    second = {f"{prefix}.square.{name}": value for name, value in squares.items()}
    return moved, {f"{prefix}.count": count, **first, **second}
