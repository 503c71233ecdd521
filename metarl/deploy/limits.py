"""Limits of actions and of their rate of change, which no policy passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from metarl.action_map import NO_BOUND
from metarl.deploy.settings import SafetySettings
from metarl.errors import require
from metarl.vector_env import Array


class Limited(NamedTuple):
    """An action within the limits, and which of them acted."""

    action: npt.NDArray[np.generic]
    """``[A]``, in the environment's dtype."""
    clipped: bool
    """Whether the action was beyond its range."""
    slowed: bool
    """Whether it was too far from the one before."""


class ActionLimits:
    """Clips actions ``[A]`` to a range and to a rate of change.

    Args:
        space: the environment's.
        safety: limits of the user's own, within the space's bounds.

    Raises:
        MetarlError: if the limits do not fit the space, or leave it no action.
    """

    def __init__(self, space: Box, safety: SafetySettings) -> None:
        self.dtype = space.dtype
        low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
        low = np.maximum(
            np.where(low > -NO_BOUND, low, -np.inf), _per_action("low", safety.low, space, -np.inf)
        )
        high = np.minimum(
            np.where(high < NO_BOUND, high, np.inf), _per_action("high", safety.high, space, np.inf)
        )
        require(
            bool((low <= high).all()),
            f"The limits of actions must meet the action space {space}",
            "outside it",
        )
        self.low, self.high = _inward(low, self.dtype, np.inf), _inward(high, self.dtype, -np.inf)
        """``[A]``, numbers of the space's dtype that are within the limits."""
        self.max_change = _per_action("max_change", safety.max_change, space, np.inf)
        self._whole = not np.issubdtype(space.dtype, np.floating)
        if self._whole:
            self.max_change = np.floor(self.max_change)

    def __call__(self, wanted: Array, before: Array | None) -> Limited:
        """Return the nearest action within the limits.

        Args:
            wanted: ``[A]``, in the environment's units.
            before: the action that was sent in the step before; None at an episode's first step.
        """
        wanted = np.rint(wanted) if self._whole else wanted
        within = np.minimum(np.maximum(wanted, self.low), self.high)
        near = within
        if before is not None:
            near = np.minimum(np.maximum(within, before - self.max_change), before + self.max_change)
        # rounding to the space's dtype stays within the range, as its ends are numbers of that dtype
        sent = np.minimum(np.maximum(near.astype(self.dtype), self.low), self.high).astype(self.dtype)
        return Limited(sent, bool((within != wanted).any()), bool((near != within).any()))


def _per_action(name: str, values: Sequence[float], space: Box, default: float) -> Array:
    """Return a limit for each action, ``[A]``."""
    size = space.shape[0]
    require(len(values) in (0, 1, size), f"The safety limit {name} must have 1 or {size} values", len(values))
    return np.broadcast_to(np.asarray(values or (default,), np.float64), (size,))


def _inward(bound: Array, dtype: np.dtype[np.generic], inner: float) -> Array:
    """Return the nearest numbers of a dtype that are not beyond a bound."""
    if not np.issubdtype(dtype, np.floating):
        return np.asarray(np.ceil(bound) if inner > 0 else np.floor(bound))
    rounded = bound.astype(dtype)
    beyond = rounded < bound if inner > 0 else rounded > bound
    return np.where(beyond, np.nextafter(rounded, np.asarray(inner, dtype)), rounded).astype(np.float64)
