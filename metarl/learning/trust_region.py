"""Outer steps within a trust region, on closures of the meta-parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias

import torch
from annotated_types import Ge, Gt, Le, Lt

from metarl.functional.params import flatten, unflatten
from metarl.functional.solvers import backtracking_line_search, conjugate_gradient
from metarl.settings import Settings
from metarl.system.threads import one_thread
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class TrustRegionConfig(Settings):
    """Settings of the trust region (Schulman et al. 2015, arXiv 1502.05477, appendix C)."""

    max_kl: Annotated[float, Gt(0), Lt(math.inf)] = 0.01
    """Largest mean KL divergence per step, in nats."""
    cg_iters: Annotated[int, Ge(1), Le(1000)] = 10
    """Conjugate-gradient steps towards the natural gradient."""
    cg_damping: Annotated[float, Ge(0), Lt(math.inf)] = 1e-5
    """Added to the diagonal of the Fisher matrix."""
    backtrack_ratio: Annotated[float, Gt(0), Lt(1)] = 0.8
    """Factor between trials of the line search."""
    max_backtracks: Annotated[int, Ge(1), Le(1000)] = 15
    """Trials after which the parameters stay unchanged."""


class LossAndKL(NamedTuple):
    """Scalar loss and KL divergence at some parameters."""

    loss: torch.Tensor
    kl: torch.Tensor


Curvature: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class TrustRegionStep(NamedTuple):
    """Parameters after a step, and how it went."""

    params: Params
    accepted: bool
    metrics: dict[str, float]


@one_thread()
def trust_region_step(
    params: Params,
    loss_gradient: Params,
    curvature: Curvature,
    evaluate: Callable[[Params], LossAndKL],
    start: LossAndKL,
    config: TrustRegionConfig,
) -> TrustRegionStep:
    """Take a natural-gradient step within the trust region.

    It goes to the region's edge, then back until the loss improves.

    Args:
        loss_gradient: of the loss at ``params``.
        curvature: product of a vector ``[P]`` with the Hessian of the KL divergence at ``params``.
        evaluate: loss and KL divergence at other parameters; called under the line search.
        start: loss and KL divergence at ``params``.

    Returns:
        Parameters with a KL divergence within bounds and a loss below ``start``; when no trial is so,
        the very parameters that were given.
    """
    slope = flatten(loss_gradient)
    direction = conjugate_gradient(
        lambda vector: curvature(vector) + config.cg_damping * vector, -slope, iterations=config.cg_iters
    )
    # the KL divergence of a step s is 1/2 s'Hs to second order: scale s so that it equals max_kl
    quadratic = direction.dot(curvature(direction)) + config.cg_damping * direction.dot(direction)
    scale = torch.sqrt(2 * config.max_kl / quadratic)
    latest = start

    def acceptable(point: torch.Tensor) -> bool:
        nonlocal latest
        latest = evaluate(unflatten(point, params))
        return bool((latest.kl <= config.max_kl) & (latest.loss < start.loss))  # false on NaN

    search = backtracking_line_search(
        acceptable,
        flatten(params),
        scale * direction,
        shrink=config.backtrack_ratio,
        max_trials=config.max_backtracks if torch.isfinite(scale) else 0,
    )
    end = latest if search.accepted else start
    metrics = {
        "kl": float(end.kl),
        "surrogate_before": float(start.loss),
        "surrogate_after": float(end.loss),
        "gradient_norm": float(slope.norm()),
        "line_search_trials": float(search.trials),
        "step_accepted": float(search.accepted),
    }
    return TrustRegionStep(
        unflatten(search.point, params) if search.accepted else params, search.accepted, metrics
    )


def gauss_newton_product(
    outputs: Sequence[torch.Tensor],
    params: Params,
    metric: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]],
) -> Curvature:
    """Return the Gauss-Newton product ``v -> J'FJ v``.

    J is the Jacobian of ``outputs`` by ``params``. Where a divergence of the outputs is at its minimum, its
    Hessian is exactly this, F being its Hessian in the outputs themselves (Martens 2020, arXiv 1412.1193,
    section 8). The graph is built once and kept: ``J'u`` is linear in u, so its derivative by u along v is
    ``J v``.

    Args:
        outputs: tensors with a graph that leads to ``params``.
        params: leaves.
        metric: maps a change of the outputs to F times that change.
    """
    leaves = list(params.values())
    # J'u is linear in u, so differentiating it with respect to u gives J v (a forward product)
    cotangents = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    pulled_back = torch.autograd.grad(
        _dot(outputs, cotangents), leaves, create_graph=True, allow_unused=True, materialize_grads=True
    )
    flat = torch.cat([value.reshape(-1) for value in pulled_back])

    def product(vector: torch.Tensor) -> torch.Tensor:
        # J v, then F J v, then J' F J v
        change = list(torch.autograd.grad(torch.dot(flat, vector), cotangents, retain_graph=True))
        pulled = torch.autograd.grad(
            _dot(outputs, metric(change)),
            leaves,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([value.reshape(-1) for value in pulled])

    return product


def _dot(outputs: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]) -> torch.Tensor:
    # its gradient is J'u; to check the sizes of grad_outputs= PyTorch would import SymPy, for half a second
    products = [(output * u).sum() for output, u in zip(outputs, cotangents, strict=True)]
    return torch.stack(products).sum()
