"""The observations and actions that agents take.

An action of a discrete space is, everywhere but inside an environment, a one-hot vector: so it has a size A
as any other action has, and a network that is shown its last action sees no order among the choices.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from metarl.errors import MetarlError
from metarl.vector_env import Array

LONGEST = 100  # letters of a space in a sentence


def observation_size(space: gymnasium.Space[object]) -> int:
    """Return O, the size of an observation; MetarlError as of :func:`vectors`."""
    return vectors(space).shape[0]


def vectors(space: gymnasium.Space[object]) -> Box:
    """Return a space of real vectors, or refuse it and name a wrapper."""
    if isinstance(space, Box) and len(space.shape) == 1:
        if not space.shape[0]:
            raise MetarlError(
                f"Observations must have one number or more, but they come from {one_line(space)}; "
                "where there is nothing to observe, return a constant such as 0."
            )
        return space
    raise MetarlError(
        f"Observations must be vectors of real numbers, but they come from {one_line(space)}; {_mend(space)}"
    )


def action_size(space: gymnasium.Space[object]) -> int:
    """Return A, an action's components or choices; MetarlError if it has neither."""
    if isinstance(space, Discrete):
        return int(space.n)
    if isinstance(space, Box) and len(space.shape) == 1 and space.shape[0]:
        return space.shape[0]
    raise MetarlError(
        "Actions must be vectors of real numbers or one choice of several, but they come from "
        f"{one_line(space)}; wrap the environment in gymnasium.wrappers.TransformAction, which maps a Box or "
        "a Discrete to them."
    )


def one_line(space: gymnasium.Space[object]) -> str:
    """Describe a space on one line, by its shape where its bounds are many numbers."""
    text = " ".join(str(space).split())
    if len(text) <= LONGEST or space.shape is None:
        return text
    return f"a {type(space).__name__} of shape {space.shape} and dtype {space.dtype}"


def env_actions(space: gymnasium.Space[object], actions: Array) -> Array:
    """Convert a policy's actions ``[N, A]`` to a space's own.

    Choices become ``[N]`` whole numbers; vectors stay as they are, in the space's dtype, for which they are
    rounded where it is of whole numbers.
    """
    if isinstance(space, Discrete):
        return np.asarray(space.start + actions.argmax(axis=-1), space.dtype)
    return rounded_to(space.dtype, actions)


def rounded_to(dtype: np.dtype[np.generic] | None, values: Array) -> Array:
    """Convert numbers to a dtype, the nearest ones if it is of whole numbers."""
    return np.asarray(values if np.dtype(dtype).kind == "f" else np.rint(values), dtype)


def _mend(space: gymnasium.Space[object]) -> str:
    if isinstance(space, Box) and len(space.shape) == 3:
        return (
            "wrap the environment in gymnasium.wrappers.FlattenObservation, small pictures after "
            "gymnasium.wrappers.ResizeObservation and GrayscaleObservation."
        )
    if space.is_np_flattenable:
        return "wrap the environment in gymnasium.wrappers.FlattenObservation."
    return "wrap the environment in gymnasium.wrappers.TransformObservation."
