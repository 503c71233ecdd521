"""The inner loop: the one function by which a policy adapts to each task.

Acting, the meta-objective and meta-testing all call :func:`adapt`; they differ only in whether the result
can be differentiated again. The loss and its data come before it, in the order in which they are used.
Its core, :func:`inner_steps`, knows neither policies nor episodes: supervised tasks adapt by it too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol, TypeAlias, TypeVar

import torch

from metarl.functional.distributions import Distribution, log_prob
from metarl.functional.params import gradient
from metarl.learning.advantages import Batch
from metarl.types import Params

DataT = TypeVar("DataT")


class Policy(Protocol):
    """Policy as a function of (stacked parameters, observations)."""

    def __call__(self, params: Params, observations: torch.Tensor) -> Distribution:
        """Return action distributions for observations ``[M, B, O]``."""


def policy_gradient_loss(policy: Policy, params: Params, batch: Batch) -> torch.Tensor:
    """Return each task's loss ``L = -mean_t A_t log pi(a_t | s_t)``, ``[M]``.

    Its gradient is the policy gradient (Williams 1992); the inner loss of MAML (Finn et al. 2017, equation
    4).
    """
    log_probs = log_prob(policy(params, batch.observations), batch.actions)
    return -(batch.weights * batch.advantages * log_probs).sum(dim=1)


InnerLoss: TypeAlias = Callable[[Policy, Params, Batch], torch.Tensor]


class UpdateRule(Protocol):
    """Rule of one inner step; its memory travels with the parameters."""

    def __call__(self, params: Params, gradients: Params, losses: torch.Tensor) -> Params:
        """Return the parameters that the step changes.

        Args:
            params: stacked ``[M, ...]``, with the rule's memory of earlier steps.
            gradients: of the parameters that adapt, stacked; constants in a first-order inner loop.
            losses: ``[M]``, each task's loss at ``params``; likewise.
        """


def descend(inner_lr: float | Params) -> UpdateRule:
    """Return gradient descent by one step size, or one for each name."""

    def rule(params: Params, gradients: Params, losses: torch.Tensor) -> Params:
        return {
            name: params[name] - (inner_lr[name] if isinstance(inner_lr, dict) else inner_lr) * slope
            for name, slope in gradients.items()
        }

    return rule


def inner_steps(
    losses: Callable[[Params, DataT], torch.Tensor],
    params: Params,
    batches: Iterable[DataT],
    *,
    inner_lr: float | Params | UpdateRule,
    first_order: bool = False,
    adaptable: Collection[str] | None = None,
) -> Params:
    """Take one step per batch; see :func:`adapt`.

    ``losses`` gives each task's own loss ``[M]``, a function of (stacked parameters, one batch).
    """
    names = params.keys() if adaptable is None else adaptable
    rule = inner_lr if callable(inner_lr) else descend(inner_lr)
    for batch in batches:
        # no task's loss reads another's parameters: the gradient of the sum holds each task's own
        values = losses(params, batch)
        chosen = {name: params[name] for name in names}
        gradients = gradient(values.sum(), chosen, create_graph=not first_order)
        params = {**params, **rule(params, gradients, values.detach() if first_order else values)}
    return params


def adapt(
    policy: Policy,
    params: Params,
    batches: Sequence[Batch],
    *,
    inner_lr: float | Params | UpdateRule,
    first_order: bool = False,
    adaptable: Collection[str] | None = None,
    loss: InnerLoss = policy_gradient_loss,
) -> Params:
    """Return each task's parameters after one step per batch, ``[M, ...]``.

    They are differentiable with respect to ``params``. The default step is gradient descent: ``theta -
    inner_lr * grad L(theta)``. Source: Finn et al. 2017 (arXiv 1703.03400), section 2.2.

    Args:
        policy: gives the distributions that the loss reads.
        params: stacked ``[M, ...]``, and part of a graph or leaves that ask for gradients.
        batches: one for each step, collected by the policy that the step starts from.
        inner_lr: step size, or one for each parameter (each broadcasts against ``[M, ...]``), or another
            rule than gradient descent.
        first_order: treat the gradient as a constant, so that only ``theta`` itself is differentiated.
        adaptable: names of the parameters that adapt; all of them by default.
        loss: each task's loss.
    """
    return inner_steps(
        lambda stepped, batch: loss(policy, stepped, batch),
        params,
        batches,
        inner_lr=inner_lr,
        first_order=first_order,
        adaptable=adaptable,
    )
