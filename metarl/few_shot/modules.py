"""Torch modules as functions of stacked parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional

from metarl.errors import MetarlError
from metarl.few_shot.tasks import Examples
from metarl.functional.params import select, stack
from metarl.types import Params

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""One task's loss, a scalar, of (outputs ``[n, ...]``, targets ``[n, ...]``)."""


def default_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return squared error; for integer targets, cross-entropy.

    Outputs are ``[n, ...]`` as the targets, or logits ``[n, C, ...]`` where these are classes ``[n, ...]``
    from 0 to C - 1.

    Raises:
        MetarlError: if outputs and targets do not belong together, or the targets are of neither kind.
    """
    if targets.is_floating_point():
        if outputs.shape != targets.shape:
            raise MetarlError(
                f"Real targets must have the outputs' shape {tuple(outputs.shape)}, but they have "
                f"{tuple(targets.shape)}."
            )
        return functional.mse_loss(outputs, targets)
    if targets.dtype == torch.bool or targets.is_complex():
        raise MetarlError(f"Targets must be real numbers or integer classes, but they are {targets.dtype}.")
    if outputs.ndim < 2 or (outputs.shape[0], *outputs.shape[2:]) != targets.shape:
        raise MetarlError(
            f"Integer targets need a logit for each class, outputs [n, classes], but the shapes are "
            f"{tuple(outputs.shape)} and {tuple(targets.shape)}."
        )
    return functional.cross_entropy(outputs, targets.long())


def trainable(model: nn.Module) -> Params:
    """Return the parameters that require gradients, one or more, by name.

    A shared parameter is listed once, under its first name.
    """
    params: Params = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not params:
        raise MetarlError("The model must have parameters that require gradients, but it has none.")
    return params


@dataclass(frozen=True)
class TaskLosses:
    """A module's loss on each of M tasks; buffers and frozen parameters are its own."""

    model: nn.Module
    loss: Loss
    batched: bool = True  # one call for all tasks by ``torch.func.vmap``, or one call for each task

    def __call__(self, params: Params, examples: Examples) -> torch.Tensor:
        """Return losses ``[M]`` on examples ``[M, n, ...]``."""
        inputs, targets = examples
        if self.batched:
            # every task draws dropout of its own
            every: torch.Tensor = vmap(self._one, randomness="different")(params, inputs, targets)
            return every
        each = zip(inputs, targets, strict=True)
        return torch.stack([self._one(select(params, index), *pair) for index, pair in enumerate(each)])

    def _one(self, params: Params, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.loss(functional_call(self.model, params, (inputs,)), targets)

    @torch.no_grad()
    def check(self, examples: Examples) -> None:
        """Refuse a module or loss that does not fit one task's examples, not stacked.

        Raises:
            MetarlError: if the module does not take these examples, changes its buffers when it is called
                (the running statistics of batch normalisation), or cannot run for many tasks at once.
        """
        params, (inputs, targets) = trainable(self.model), examples
        # call it on copies of the buffers, and see whether it changes them
        before = {name: value.clone() for name, value in self.model.named_buffers()}
        copies = {name: value.clone() for name, value in before.items()}
        try:
            value = self.loss(functional_call(self.model, {**params, **copies}, (inputs,)), targets)
        except (RuntimeError, TypeError, IndexError) as error:
            raise MetarlError(
                f"The model does not work with inputs {_kind(inputs)} and targets {_kind(targets)}: "
                f"{_first_line(error)}."
            ) from error
        if value.ndim:
            raise MetarlError(f"The loss must be a scalar, but its shape is {tuple(value.shape)}.")
        # running statistics would leak from one task to the next
        changed = [name for name in before if not torch.equal(before[name], copies[name])]
        if changed:
            raise MetarlError(
                f"The model changes its buffer {changed[0]!r} whenever it is called, which no task may do to "
                f"another; call model.eval(), or give batch normalisation track_running_stats=False."
            )
        try:
            # a batch of one task: finds operations that vmap cannot batch
            self(stack(params, 1), (inputs.unsqueeze(0), targets.unsqueeze(0)))
        except RuntimeError as error:
            raise MetarlError(
                f"The model cannot run for many tasks at once ({_first_line(error)}); pass batched=False."
            ) from error


def _kind(values: torch.Tensor) -> str:
    return f"{tuple(values.shape)} of {values.dtype}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
