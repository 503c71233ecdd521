"""Policy layers, and their changes by adaptation.

The part of a parameter's name before the last dot is its layer: ``layer_0.weight`` and ``layer_0.bias``
are of ``layer_0``; ``log_std`` is a layer of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from metarl.errors import MetarlError
from metarl.evaluation.statistics import Values
from metarl.meta_learner import Actor
from metarl.types import Params


@runtime_checkable
class Explainable(Actor, Protocol):
    """An actor with visible parameters, for M tasks."""

    @property
    def params(self) -> Params:
        """Stacked parameters, ``[M, ...]``, by name; the part before the last dot is the layer."""

    def with_params(self, params: Params) -> Explainable:
        """Return the same actor with other parameters."""

    def activations(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return activations ``[M, B, units]`` on observations ``[M, B, O]``, by layer in order.

        The activations of the last layer are the most likely actions. Empty if the policy does not show its
        layers.
        """


def explainable(actor: Actor, agent: str = "one") -> Explainable:
    """Return an actor with visible parameters, or refuse, naming the ``agent``."""
    if isinstance(actor, Explainable):
        return actor
    raise MetarlError(
        "Expected an agent that adapts by changing its policy's parameters, as maml-trpo does, and shows "
        f"them, got {agent}, which adapts without changing them or hides them."
    )


@dataclass(frozen=True)
class Change:
    """Change of one parameter tensor on T tasks."""

    name: str
    norm: Values  # ``[T]``, Euclidean norm of the change
    relative: Values | None  # ``[T]``, change over the norm before adapting; None where that norm is zero
    share: Values  # ``[T]``, share of the adaptation vector's squared length; zero where nothing moved


def layer_of(name: str) -> str:
    """Return the layer of a parameter."""
    return name.rpartition(".")[0] or name


def layers_of(params: Params) -> list[str]:
    """Return a policy's layers in parameter order."""
    return list(dict.fromkeys(map(layer_of, params)))


def mixture(before: Params, after: Params, adapted: Collection[str]) -> Params:
    """Return parameters with only the layers ``adapted`` changed."""
    return {name: (after if layer_of(name) in adapted else before)[name] for name in before}


def vectors(before: Params, after: Params) -> Values:
    """Return the adaptation vectors ``[T, D]``, flattened."""
    return np.concatenate([_flat(after[name]) - _flat(before[name]) for name in before], axis=1)


def changes(before: Params, after: Params) -> list[Change]:
    """Return how far each tensor of parameters moved."""
    squared = np.square(vectors(before, after)).sum(axis=1)
    found = []
    for name, start in before.items():
        norm = np.linalg.norm(_flat(after[name]) - _flat(start), axis=1)
        size = np.linalg.norm(_flat(start), axis=1)
        share = np.divide(norm**2, squared, out=np.zeros_like(norm), where=squared > 0)
        found.append(Change(name, norm, norm / size if (size > 0).all() else None, share))
    return found


def _flat(stacked: torch.Tensor) -> Values:
    """Return ``[M, ...]`` as ``[M, d]`` in double precision."""
    return np.asarray(stacked.detach().double().flatten(1).cpu().numpy(), np.float64)
