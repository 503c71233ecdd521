"""What a user says about a distribution of one's own, looked at before any of it is used."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TypedDict

from metarl.errors import MetarlError, require, unknown_name


class TaskSettings(TypedDict, total=False):
    """What else can be said about a distribution."""

    horizon: int
    """Steps of an episode; by default the environment's own limit."""
    success_key: str
    """The key of ``info`` that says whether the task is solved."""
    name: str
    """What results call it; by default the environment's name."""
    observed: Sequence[str]
    """Names of parameters that an agent may observe, such as where an object is; the checker accepts them."""


def check_settings(settings: Mapping[str, object]) -> None:
    """Make sure that there are such settings, and that they are of the right type.

    Raises:
        MetarlError: on a name that is not known, or a horizon that is no whole number from 1 to 1000000,
            or observed that is no list of names.
    """
    for name in settings:
        if name not in TaskSettings.__annotations__:
            raise unknown_name("setting of a distribution", name, TaskSettings.__annotations__)
    observed = settings.get("observed", ())
    names = isinstance(observed, list | tuple) and all(isinstance(name, str) for name in observed)
    require(names, "observed must be a list of names of parameters", repr(observed))
    horizon = settings.get("horizon", 1)
    whole = isinstance(horizon, int) and not isinstance(horizon, bool) and 1 <= horizon <= 1_000_000
    require(whole, "horizon must be a whole number from 1 to 1000000", repr(horizon))


def check_takes(functions: Mapping[str, object]) -> None:
    """Make sure that functions can be called with as many arguments as they will be.

    Args:
        functions: by how they are called, ``"apply(env, task)"``; what is no function is passed over.

    Raises:
        MetarlError: if one takes more or fewer.
    """
    for call, function in functions.items():
        name, _, arguments = call.rstrip(")").partition("(")
        try:
            signature = inspect.signature(function)  # type: ignore[arg-type]  # TypeError where it is none
        except (TypeError, ValueError):  # no function, or one that does not tell
            continue
        try:
            signature.bind(*arguments.split(", "))
        except TypeError as error:
            raise MetarlError(
                f"{name} is called as {call}, but the function given takes {signature}."
            ) from error
