"""MAML for supervised tasks, with any module.

Finn et al. 2017, arXiv 1703.03400, algorithm 2:

minimise over theta  mean over tasks of  L_query(theta_n)
theta_0 = theta,     theta_(j+1) = theta_j - inner_lr * grad L_support(theta_j)
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn

from metarl.errors import MetarlError, require
from metarl.few_shot.modules import Loss, TaskLosses, default_loss, trainable
from metarl.few_shot.tasks import (
    Examples,
    Task,
    check_examples,
    check_task,
    meta_batches,
    stack_tasks,
    to_device,
)
from metarl.functional.params import detach, requires_grad, stack
from metarl.learning.adaptation import inner_steps
from metarl.types import Params


def maml(
    model: nn.Module,
    tasks: Iterable[tuple[Examples, Examples]],
    inner_lr: float,
    outer_lr: float,
    num_inner_steps: int,
    *,
    meta_batch_size: int = 25,
    loss: Loss = default_loss,
    first_order: bool = False,
    num_iterations: int | None = None,
    batched: bool = True,
    device: torch.device | str | None = None,
    on_update: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Return a copy of a module meta-trained to adapt in a few gradient steps.

    The outer step is Adam's. Tasks of different shapes may be mixed: those of equal shapes run in one
    batched call. Parameters that do not require gradients, and buffers, stay as they are. Dropout in
    training mode draws from torch's global generator, as ever; nothing else here is random.

    Args:
        model: any module of one input tensor; it stays as it was.
        tasks: pairs (support, query) of pairs (inputs ``[n, ...]``, targets ``[n, ...]``), taken in the
            order in which they come. Without ``num_iterations``, the iterable is gone through once (an
            endless one is never finished; cut it by ``itertools.islice`` or by ``num_iterations``).
        inner_lr: step size of adapting.
        outer_lr: step size of Adam.
        num_inner_steps: gradient steps of adapting.
        meta_batch_size: tasks of one outer step.
        loss: one task's loss, a scalar, of (outputs, targets); by default the mean squared error for real
            targets and the cross-entropy for integer ones.
        first_order: treat the inner gradients as constants (FOMAML, section 5.2).
        num_iterations: outer steps; ``tasks`` starts again from the front as often as need be, except an
            iterator, which must last that long.
        batched: run the tasks of a meta-batch in one call by ``torch.func.vmap``, or one after another.
        device: where to compute, and where the result is; None for where the model is.
        on_update: called after each outer step with its number, from 1, and its loss before that step.

    Raises:
        MetarlError: if a number makes no sense, a task or the model does not fit, the tasks end too early,
            or the loss is no longer finite.
    """
    require(outer_lr > 0, "outer_lr must be positive", outer_lr)
    require(meta_batch_size >= 1, "meta_batch_size must be 1 or more", meta_batch_size)
    require(num_iterations is None or num_iterations >= 1, "num_iterations must be 1 or more", num_iterations)
    _check_adaptation(inner_lr, num_inner_steps)
    trained = copy.deepcopy(model).to(device)
    params, losses = trainable(trained), TaskLosses(trained, loss, batched)
    optimizer = torch.optim.Adam(params.values(), lr=outer_lr)
    where = _device_of(trained)
    batches = meta_batches(tasks, meta_batch_size, num_iterations)
    for number, tasks_of_batch in enumerate(batches, start=1):
        batch = [to_device(task, where) for task in tasks_of_batch]
        if number == 1:
            # check on the first task what autograd would report obscurely
            losses.check(batch[0].support)
        value = meta_loss(losses, params, batch, inner_lr, num_inner_steps, first_order=first_order)
        if not torch.isfinite(value):
            raise MetarlError(
                f"The loss of outer step {number} is {value.item()}: inner_lr {inner_lr} or outer_lr "
                f"{outer_lr} is too large, or a task holds numbers that are not finite."
            )
        # gradients of unused parameters are None, which Adam skips
        gradients = torch.autograd.grad(value, list(params.values()), allow_unused=True)
        for parameter, slope in zip(params.values(), gradients, strict=True):
            parameter.grad = slope
        optimizer.step()
        if on_update is not None:
            on_update(number, float(value.detach()))
    optimizer.zero_grad()
    return trained


def meta_loss(
    losses: TaskLosses,
    params: Params,
    tasks: Sequence[Task],
    inner_lr: float,
    num_inner_steps: int,
    *,
    first_order: bool = False,
) -> torch.Tensor:
    """Return the queries' mean loss, differentiable by ``params``, after adapting to the supports."""
    totals = []
    for indices, task in stack_tasks(tasks):
        adapted = inner_steps(
            losses,
            stack(params, len(indices)),
            itertools.repeat(task.support, num_inner_steps),
            inner_lr=inner_lr,
            first_order=first_order,
        )
        totals.append(losses(adapted, task.query).sum())
    return torch.stack(totals).sum() / len(tasks)


def adapt(
    model: nn.Module, support: Examples, inner_lr: float, num_inner_steps: int, *, loss: Loss = default_loss
) -> nn.Module:
    """Return a module's copy adapted to one task.

    ``model`` is mostly what :func:`maml` returned, and stays as it was; ``support`` has inputs ``[n, ...]``
    and targets ``[n, ...]``. Other arguments as in :func:`maml`; more inner steps than there are fine.

    Raises:
        MetarlError: if a number makes no sense, or the examples or the model do not fit.
    """
    _check_adaptation(inner_lr, num_inner_steps)
    adapted = copy.deepcopy(model)
    device = _device_of(adapted)
    inputs, targets = (side.to(device) for side in check_examples(support, "support"))
    losses = TaskLosses(adapted, loss, batched=False)
    losses.check((inputs, targets))
    params = trainable(adapted)
    batches = itertools.repeat((inputs.unsqueeze(0), targets.unsqueeze(0)), num_inner_steps)
    with torch.enable_grad():
        moved = inner_steps(losses, stack(params, 1), batches, inner_lr=inner_lr, first_order=True)
    with torch.no_grad():
        for name, value in detach(moved).items():
            params[name].copy_(value[0])
    return adapted


def adaptation_losses(
    model: nn.Module,
    tasks: Sequence[tuple[Examples, Examples]],
    inner_lr: float,
    num_inner_steps: int,
    *,
    loss: Loss = default_loss,
    batched: bool = True,
) -> torch.Tensor:
    """Return query losses after each gradient step, ``[M, num_inner_steps + 1]``.

    Arguments and errors are those of :func:`maml`; the model stays as it was.
    """
    _check_adaptation(inner_lr, num_inner_steps)
    device = _device_of(model)
    checked = [to_device(check_task(task), device) for task in tasks]
    require(len(checked) > 0, "There must be a task to adapt to", "an empty sequence")
    losses = TaskLosses(model, loss, batched)
    losses.check(checked[0].support)
    found: list[torch.Tensor] = [torch.empty(0)] * len(checked)
    for indices, task in stack_tasks(checked):
        stages = list(_stages(losses, stack(trainable(model), len(indices)), task, inner_lr, num_inner_steps))
        for index, row in zip(indices, torch.stack(stages, dim=1), strict=True):
            found[index] = row
    return torch.stack(found)


def _stages(
    losses: TaskLosses, params: Params, task: Task, inner_lr: float, num_inner_steps: int
) -> Iterator[torch.Tensor]:
    """Yield query losses ``[M]`` before each step and after the last."""
    for step in range(num_inner_steps + 1):
        if step:
            with torch.enable_grad():
                leaves = requires_grad(params)
                moved = inner_steps(losses, leaves, [task.support], inner_lr=inner_lr, first_order=True)
            params = detach(moved)
        with torch.no_grad():
            yield losses(params, task.query)


def _check_adaptation(inner_lr: float, num_inner_steps: int) -> None:
    require(inner_lr > 0, "inner_lr must be positive", inner_lr)
    require(num_inner_steps >= 0, "num_inner_steps must be 0 or more", num_inner_steps)


def _device_of(model: nn.Module) -> torch.device:
    return next(iter(trainable(model).values())).device
