"""Map from a policy's actions to an environment's, by clipping and rescaling.

A Gaussian policy starts around 0 with a deviation near 1, so its unit is the range -1..1. Rescaling maps that
range to the bounds of each action, as :class:`gymnasium.wrappers.RescaleAction` does. Clipping moves actions
beyond the bounds onto them, as :class:`gymnasium.wrappers.ClipAction` does. A rollout records the action that
the policy drew.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete, Space

from metarl.errors import MetarlError
from metarl.spaces import one_line, rounded_to
from metarl.text import listed
from metarl.vector_env import Array

ActionMode: TypeAlias = Literal["rescale", "clip", "raw"]
"""Clip and rescale, clip only, or pass actions on as the policy drew them."""
NO_BOUND = 1e15  # bounds this far out stand for none: spaces write the largest float for it
FEW_HIT, SMALL_PART = 0.25, 0.1  # shares of a range below which a policy's first actions hardly reach it


@runtime_checkable
class MapsActions(Protocol):
    """Task distribution that maps actions to its environments."""

    @property
    def action_map(self) -> ActionMap | None:
        """Map of actions; None where environments get choices, or actions as the policy drew them."""


class ActionMap:
    """Map from policies' actions ``[N, A]`` to environments'.

    An action with two finite bounds is rescaled from -1..1 if ``rescales`` is set; one with a single bound
    is clipped, one with none is passed on. Actions of an integer space are rounded.
    """

    def __init__(self, space: Box, *, rescales: bool = True) -> None:
        self.space = space
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        self.low: Array = np.where(space.bounded_below & (low > -NO_BOUND), low, -np.inf)
        """``[A]``, minus infinity where there is no bound."""
        self.high: Array = np.where(space.bounded_above & (high < NO_BOUND), high, np.inf)
        """``[A]``, likewise."""
        bounded = np.isfinite(self.low) & np.isfinite(self.high)
        other = (self.low != -1.0) | (self.high != 1.0)
        self.rescaled: npt.NDArray[np.bool_] = bounded & other & rescales
        """``[A]``, which actions are rescaled; those in -1..1 are already in the policy's unit."""
        self._rescales = bool(self.rescaled.any())
        self.whole = not np.issubdtype(space.dtype, np.floating)
        self._clips = not self._rescales and not self.whole  # floats that need no more than that
        if self._clips:
            self._low, self._high = self.low.astype(space.dtype), self.high.astype(space.dtype)

    @property
    def policy_space(self) -> Box:
        """The space that a policy acts in."""
        dtype = np.float32 if self.whole else self.space.dtype
        low, high = np.where(self.rescaled, -1.0, self.low), np.where(self.rescaled, 1.0, self.high)
        return Box(low.astype(dtype), high.astype(dtype), dtype=dtype)

    def __call__(self, actions: Array) -> Array:
        """Map actions ``[N, A]`` to the environment's space and its dtype."""
        if self._clips and actions.dtype == self.space.dtype:
            return np.minimum(np.maximum(actions, self._low), self._high)
        drawn = np.asarray(actions, np.float64)
        if self._rescales:
            with np.errstate(invalid="ignore"):  # infinite bounds, which are not chosen
                drawn = np.where(self.rescaled, rescale(drawn, self.low, self.high), drawn)
        clipped = np.minimum(np.maximum(drawn, self.low), self.high)  # several times as fast as np.clip
        return rounded_to(self.space.dtype, clipped)

    def describe(self) -> str:
        """Describe in a few words how a policy's actions are mapped."""
        parts = ["clipped"] if np.isfinite([self.low, self.high]).any() else []
        if self.rescaled.any():
            some = "" if self.rescaled.all() else f" in {_entries(self.rescaled)}"
            parts.append(f"rescaled from -1..1{some}")
        if self.whole:
            parts.append("rounded to whole numbers")
        return f"{listed(parts) or 'passed on'} to {one_line(self.space)}"


def rescale(actions: Array, low: Array, high: Array) -> Array:
    """Map actions from -1..1 to ``low..high``."""
    return np.asarray(low + 0.5 * (actions + 1.0) * (high - low))


def make_action_map(space: Space[object], mode: ActionMode) -> ActionMap | None:
    """Return a map, if actions change."""
    if not isinstance(space, Box):
        return None
    if mode != "raw":
        return ActionMap(space, rescales=mode == "rescale")
    if not np.issubdtype(space.dtype, np.floating):
        raise MetarlError(
            f"Actions of whole numbers, {one_line(space)}, cannot be passed on as a policy draws them; "
            'give actions="rescale" or "clip", which round them.'
        )
    return None


def squashed_range(space: Box) -> tuple[Array, Array]:
    """Return middle and half-width ``[A]`` of a squashed policy's action range.

    An action with two finite bounds has their range; any other has the policy's own unit, -1..1.
    """
    limits = ActionMap(space, rescales=False)
    bounded = np.isfinite(limits.low) & np.isfinite(limits.high) & (limits.low < limits.high)
    low, high = np.where(bounded, limits.low, -1.0), np.where(bounded, limits.high, 1.0)
    return 0.5 * (low + high), 0.5 * (high - low)


def describe_actions(suite_space: Box | Discrete, suite: object) -> str:
    """Describe what becomes of a policy's actions."""
    mapped = suite.action_map if isinstance(suite, MapsActions) else None
    if isinstance(suite_space, Discrete):
        return f"an action is one of {suite_space}"
    if mapped is None:
        return f"actions reach {one_line(suite_space)} as the policy draws them"
    return f"the policy's actions are {mapped.describe()}"


def hardly_covered(suite_space: Box | Discrete, suite: object) -> list[str]:
    """Return a sentence for each range that N(0, 1) hardly reaches."""
    mapped = suite.action_map if isinstance(suite, MapsActions) else None
    if not isinstance(suite_space, Box):
        return []
    limits = mapped or ActionMap(suite_space, rescales=False)
    ranges = dict.fromkeys(
        (float(low), float(high))
        for low, high, rescaled in zip(limits.low, limits.high, limits.rescaled, strict=True)
        if not rescaled and (np.isfinite(low) or np.isfinite(high))
    )
    has_setting = isinstance(suite, MapsActions)
    return [sentence for low, high in ranges if (sentence := _coverage(low, high, has_setting))]


def _coverage(low: float, high: float, has_setting: bool) -> str:
    if high == low:  # nothing to choose
        return ""
    hit = 0.5 * (math.erf(high / math.sqrt(2.0)) - math.erf(low / math.sqrt(2.0)))
    part = max(0.0, min(high, 2.0) - max(low, -2.0)) / (high - low) if math.isfinite(high - low) else 1.0
    if hit >= FEW_HIT and part >= SMALL_PART:
        return ""
    scale = "shift and scale the action in the environment, so that -1..1 covers what matters"
    mend = 'leave actions at "rescale"' if has_setting and math.isfinite(high - low) else scale
    sampled = (
        f"covers {100 * part:.2g} % of the actions {low:g}..{high:g}"
        if hit >= FEW_HIT
        else f"draws {100 * hit:.2g} % of its actions within {low:g}..{high:g}"
    )
    return f"A policy starts around 0 with deviation 1, so it {sampled}: {mend}."


def _entries(mask: npt.NDArray[np.bool_]) -> str:
    numbers = [str(entry) for entry in np.flatnonzero(mask)]
    return f"entr{'y' if len(numbers) == 1 else 'ies'} {', '.join(numbers)}"
