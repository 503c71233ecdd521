"""Parameters as dicts of tensors, with a leading axis M for one set of each task.

A gradient with respect to stacked parameters is a gradient per task, because no task's loss reads
another's set: one backward pass serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from metarl.errors import MetarlError, require
from metarl.types import Params

MOST_NAMED = 3  # differing parameters that a message names


def stack(params: Params, num_tasks: int) -> Params:
    """Expand parameters ``[...]`` to all tasks ``[M, ...]``, without a copy."""
    return {name: value.expand(num_tasks, *value.shape) for name, value in params.items()}


def join(first: Params, second: Params) -> Params:
    """Put two dicts of tensors into one; a shared name raises ``MetarlError``."""
    shared = sorted(first.keys() & second.keys())
    if shared:
        raise MetarlError(
            f"Expected tensors of different names, got {', '.join(shared)} twice; rename one of them."
        )
    return first | second


def select(params: Params, task: int) -> Params:
    """Take one task's parameters out of stacked ones."""
    return {name: value[task] for name, value in params.items()}


def select_tasks(params: Params, tasks: slice) -> Params:
    """Select tasks of stacked parameters, as views."""
    return {name: value[tasks] for name, value in params.items()}


def join_tasks(parts: Sequence[Params]) -> Params:
    """Join stacked parameters of different tasks, undoing :func:`select_tasks`."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def add(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Add tensors in order, in float64; round once."""
    if len(parts) == 1:
        return parts[0]
    total = parts[0].to(torch.float64, copy=True)
    for part in parts[1:]:
        total += part
    return total.to(parts[0].dtype)


def add_params(parts: Sequence[Params]) -> Params:
    """Add parameters or gradients by name; see :func:`add`."""
    return {name: add([part[name] for part in parts]) for name in parts[0]}


def detach(params: Params) -> Params:
    """Cut the parameters off from any graph."""
    return {name: value.detach() for name, value in params.items()}


def requires_grad(params: Params) -> Params:
    """Return leaves that share ``params``'s memory."""
    return {name: value.detach().requires_grad_() for name, value in params.items()}


def flatten(params: Params) -> torch.Tensor:
    """Concatenate parameters in the dict's order."""
    return torch.cat([value.reshape(-1) for value in params.values()])


def unflatten(vector: torch.Tensor, like: Params) -> Params:
    """Undo :func:`flatten`, with names and shapes of ``like``."""
    pieces = vector.split([value.numel() for value in like.values()])
    return {name: piece.reshape(like[name].shape) for name, piece in zip(like, pieces, strict=True)}


def gradient(loss: torch.Tensor, params: Params, *, create_graph: bool = False) -> Params:
    """Differentiate a scalar with respect to every parameter.

    Those that it does not read get zeros. With ``create_graph`` the gradient can be differentiated again.
    """
    gradients = torch.autograd.grad(
        loss, list(params.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return dict(zip(params, gradients, strict=True))


def map_values(function: Callable[[torch.Tensor], torch.Tensor], params: Params) -> Params:
    """Apply a function to every tensor."""
    return {name: function(value) for name, value in params.items()}


def flatten_tasks(params: Params) -> torch.Tensor:
    """Concatenate tasks' parameters, ``[M, ...]`` to ``[M, P]``."""
    return torch.cat([value.flatten(1) for value in params.values()], dim=1)


def unflatten_tasks(vectors: torch.Tensor, like: Params) -> Params:
    """Undo :func:`flatten_tasks`, with names and shapes of ``like``."""
    pieces = vectors.split([value[0].numel() for value in like.values()], dim=1)
    return {name: piece.reshape(like[name].shape) for name, piece in zip(like, pieces, strict=True)}


def take_saved(own: Params, saved: Params) -> Params:
    """Copy saved tensors to the devices of those that they replace.

    Raises:
        MetarlError: if names, shapes or dtypes differ.
    """
    names = [*own, *sorted(saved.keys() - own.keys())]
    differing = [
        f"{name}, {shape_in(own, name)} here and {shape_in(saved, name)} there"
        for name in names
        if shape_in(own, name) != shape_in(saved, name)
    ]
    if differing:
        more = [f"and {len(differing) - MOST_NAMED} more"] if len(differing) > MOST_NAMED else []
        named = "; ".join(differing[:MOST_NAMED] + more)
        raise MetarlError(f"The saved parameters are of an agent with other settings: {named}.")
    for name, value in own.items():
        require(
            saved[name].dtype == value.dtype,
            f"The saved {name} must be {value.dtype}, as this agent's is; convert it",
            saved[name].dtype,
        )
    return {name: saved[name].to(value.device, copy=True) for name, value in own.items()}


def shape_in(params: Params, name: str) -> str:
    """Describe a tensor's shape, or its absence."""
    return str(tuple(params[name].shape)) if name in params else "absent"
