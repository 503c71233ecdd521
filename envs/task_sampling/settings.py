"""Settings of a user's own distribution, checked before any of them is used."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TypedDict, cast, get_args

from metarl.action_map import ActionMode
from metarl.envs.engines.processes.messages import TIMEOUT
from metarl.errors import MetarlError, require, unknown_name
from metarl.settings import fits


class TaskSettings(TypedDict, total=False):
    """Optional settings of a distribution."""

    horizon: int
    """Steps of an episode, by default the environment's."""
    success_key: str
    """Key of ``info`` that says "solved"."""
    name: str
    """Its name in results; by default the environment's."""
    actions: ActionMode
    """How a policy's actions reach the environment.

    "rescale", the default, clips them to the action space and maps -1..1 to its bounds where they are finite;
    "clip" clips only; "raw" passes them on, for an environment that reads actions beyond its bounds itself.
    """
    timeout: float
    """Seconds to build, reset or step an environment.
    60 by default; ``math.inf`` waits for ever. Not for vector environments."""
    observed: Sequence[str]
    """Names of parameters that an agent may observe, such as where an object is."""


def check_settings(settings: Mapping[str, object]) -> None:
    """Check names, types and limits of settings; raise ``MetarlError`` on those that do not fit."""
    for name in settings:
        if name not in TaskSettings.__annotations__:
            raise unknown_name("setting of a distribution", name, TaskSettings.__annotations__)
    observed = settings.get("observed", ())
    names = isinstance(observed, list | tuple) and all(isinstance(name, str) for name in observed)
    require(names, "observed must be a list of names of parameters", repr(observed))
    horizon = settings.get("horizon", 1)
    whole = fits(horizon, int) and 1 <= cast("int", horizon) <= 1_000_000
    require(whole, "horizon must be a whole number from 1 to 1000000", repr(horizon))
    mode, timeout = settings.get("actions", "rescale"), settings.get("timeout", TIMEOUT)
    if mode not in get_args(ActionMode):
        raise unknown_name("way to pass on actions", str(mode), get_args(ActionMode))
    positive = fits(timeout, float) and cast("float", timeout) > 0
    require(positive, "timeout must be a positive number of seconds", repr(timeout))


def check_takes(functions: Mapping[str, object]) -> None:
    """Check that functions, named as they are called (``"apply(env, task)"``), take the arguments.

    A function that takes others raises ``MetarlError``; values of other kinds are passed over.
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
