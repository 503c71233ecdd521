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
from metarl.spaces import one_line
from metarl.vector_env import Array


class Limited(NamedTuple):
    """An action within limits, and those that acted."""

    action: npt.NDArray[np.generic]  # ``[A]``, in the environment's dtype
    clipped: bool  # whether the action was beyond its range
    slowed: bool  # whether it was too far from its predecessor


class ActionLimits:
    """Clips actions ``[A]`` to a range and to a rate of change.

    Args:
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
            f"The limits of actions must meet the action space {one_line(space)}",
            "outside it",
        )
        self._whole = not np.issubdtype(space.dtype, np.floating)
        self.low, self.high = self._inward(low, high)
        """``[A]``, numbers of the space's dtype that are within the limits."""
        some = f"The limits of actions must leave {one_line(space)} some"
        require(bool((self.low <= self.high).all()), some, "none")
        self.max_change = _per_action("max_change", safety.max_change, space, np.inf)
        self.start: Array | None = None
        """``[A]``, the action that holds when an episode starts, if it is known."""
        if safety.start:
            start = _per_action("start", safety.start, space, 0.0)
            whole = not self._whole or bool((start == np.rint(start)).all())
            require(whole, "The safety limit start must be whole numbers, as the actions are", safety.start)
            within = (self.low <= start) & (start <= self.high)
            require(bool(within.all()), "The safety limit start must be within the limits", safety.start)
            self.start = start.astype(self.dtype).astype(np.float64)

    def __call__(self, wanted: Array, before: Array | None) -> Limited:
        """Return the nearest action within the limits.

        Args:
            wanted: ``[A]``, in the environment's units.
            before: the action that was sent in the step before, or that holds at the start; None if unknown.
        """
        wanted = np.rint(wanted) if self._whole else wanted
        within = np.minimum(np.maximum(wanted, self.low), self.high)
        near = within
        if before is not None:
            low = np.maximum(before - self.max_change, self.low)
            low, high = self._inward(low, np.minimum(before + self.max_change, self.high))
            near = np.minimum(np.maximum(within, low), high)
        # rounding to the space's dtype stays within the limits, as their ends are numbers of that dtype
        return Limited(near.astype(self.dtype), bool((within != wanted).any()), bool((near != within).any()))

    def _inward(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the nearest numbers of the space's dtype that are not beyond two limits.

        Limits of floats that have no such number between them stand for the nearest one.
        """
        if self._whole:
            return np.ceil(low), np.floor(high)
        with np.errstate(over="ignore"):  # beyond all of the dtype's numbers is its infinity
            inside = _rounded(low, self.dtype, np.inf), _rounded(high, self.dtype, -np.inf)
            nearest = low.astype(self.dtype).astype(np.float64)
        between = inside[0] <= inside[1]
        return np.where(between, inside[0], nearest), np.where(between, inside[1], nearest)


def _per_action(name: str, values: Sequence[float], space: Box, default: float) -> Array:
    """Return a limit for each action, ``[A]``."""
    size = space.shape[0]
    require(len(values) in (0, 1, size), f"The safety limit {name} must have 1 or {size} values", len(values))
    return np.broadcast_to(np.asarray(values or (default,), np.float64), (size,))


def _rounded(bound: Array, dtype: np.dtype[np.generic], inner: float) -> Array:
    """Return a bound in another dtype, rounded outwards."""
    rounded = bound.astype(dtype)
    beyond = rounded < bound if inner > 0 else rounded > bound
    return np.where(beyond, np.nextafter(rounded, np.asarray(inner, dtype)), rounded).astype(np.float64)
