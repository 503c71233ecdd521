"""Check of what a policy returns, so that a mistake is named and nothing is reshaped in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import cast

import torch

from metarl.errors import AgentFormError
from metarl.meta_learner import Action, Actor, check_pair
from metarl.types import Params


def check_choice(actor: Actor, chosen: object, memory: Params, shape: tuple[int, int, int]) -> None:
    """Check the form of what ``act`` returned.

    Args:
        memory: what it was given, ``[M, K, ...]`` by name.
        shape: M, K and A.

    Raises:
        AgentFormError: unless it is an :class:`Action` of float32 with its shapes, and a memory with
            the names, shapes and dtypes of the one that was given.
    """
    where = f"act of {type(actor).__qualname__}"
    check_pair(actor, chosen)
    action, new_memory = cast("tuple[object, object]", chosen)
    if not isinstance(action, Action):
        raise AgentFormError(f"Expected {where} to return an Action first, got {_form(action)}.")
    _check_tensor(f"{where} to return actions", action.actions, shape, torch.float32)
    _check_tensor(f"{where} to return log_probs", action.log_probs, shape[:2], torch.float32)
    if not isinstance(action.extras, Mapping):
        raise AgentFormError(f"Expected {where} to return extras as a dict, got {_form(action.extras)}.")
    for name, extra in action.extras.items():
        _check_tensor(f"{where} to return the extra {name!r}", extra, (*shape[:2], ...))
    if not isinstance(new_memory, dict) or new_memory.keys() != memory.keys():
        raise AgentFormError(
            f"Expected {where} to return the new memory as {_form(memory)}, got {_form(new_memory)}."
        )
    for name, value in new_memory.items():
        given = memory[name]
        _check_tensor(f"{where} to return the memory {name!r}", value, tuple(given.shape), given.dtype)


def check_extras(actor: Actor, steps: Sequence[Params]) -> None:
    """Check that the extras of all steps have one form, or raise AgentFormError."""
    forms = [{name: _form(extra) for name, extra in step.items()} for step in steps]
    for number, form in enumerate(forms):
        changed = [name for name in {**forms[0], **form} if form.get(name) != forms[0].get(name)]
        if changed:
            name = changed[0]
            raise AgentFormError(
                f"Expected act of {type(actor).__qualname__} to return the same extras at each step, got "
                f"{name!r} as {forms[0].get(name, 'nothing')} at step 0 and as {form.get(name, 'nothing')} "
                f"at step {number}."
            )


def check_actor(actor: object) -> None:
    """Check that something is a policy; AgentFormError names what it lacks."""
    missing = [part for part in ("device", "initial_memory", "act") if not hasattr(actor, part)]
    if missing:
        raise AgentFormError(
            f"Expected initial_actor and adapt of an agent to return a policy, got {_form(actor)}, which "
            f"has no {missing[0]}; see metarl.meta_learner.Actor."
        )


def generator_of(actor: Actor) -> torch.Generator:
    """Return a generator on a policy's device, or raise AgentFormError."""
    try:
        return torch.Generator(actor.device)
    except (RuntimeError, TypeError) as error:
        raise AgentFormError(
            f"Expected device of {type(actor).__qualname__} to be one that PyTorch can draw random "
            f"numbers on here, got {actor.device}."
        ) from error


def check_memory(actor: Actor, memory: object, shape: tuple[int, int]) -> None:
    """Check what ``initial_memory`` returned for M tasks and K episodes, or raise AgentFormError."""
    where = f"initial_memory of {type(actor).__qualname__}"
    if not isinstance(memory, dict):
        raise AgentFormError(f"Expected {where} to return a dict, which may be empty, got {_form(memory)}.")
    for name, value in memory.items():
        if not isinstance(name, str):
            raise AgentFormError(
                f"Expected {where} to return a dict of tensors by name, got the name {name!r}."
            )
        _check_tensor(f"{where} to return {name!r}", value, (*shape, ...))


def _check_tensor(
    what: str, value: object, shape: tuple[int | EllipsisType, ...], dtype: torch.dtype | None = None
) -> None:
    """Check a tensor's shape, of which an ellipsis leaves the last axes open, and dtype."""
    open_axes = shape[-1:] == (...,)
    axes = shape[:-1] if open_axes else shape
    if (
        isinstance(value, torch.Tensor)
        and axes == value.shape[: len(axes) if open_axes else None]
        and dtype in (None, value.dtype)
    ):
        if value.requires_grad:
            raise AgentFormError(f"Expected {what} without a gradient; act under torch.no_grad().")
        return
    named = ", ".join("..." if size is ... else str(size) for size in shape)
    kind = f"a {_short(dtype)} tensor" if dtype else "a tensor"
    raise AgentFormError(f"Expected {what} as {kind} [{named}], got {_form(value)}.")


def _form(value: object) -> str:
    """Describe what something is in a few words."""
    if isinstance(value, torch.Tensor):
        return f"a {_short(value.dtype)} tensor {list(value.shape)}"
    if isinstance(value, Action):
        return "an Action alone"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value))}" if value else "an empty dict"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
