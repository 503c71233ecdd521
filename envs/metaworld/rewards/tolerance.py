"""Shaping functions of Meta-World's rewards, 1 within bounds and falling to 0 beyond.

Most are dm_control's (``dm_control.utils.rewards``): ``margin`` past the bounds they have fallen to 0.1. A
negative margin counts as none; Meta-World raises in the middle of the episode.
"""

from __future__ import annotations

import math

from metarl.envs.engines.arrays import Array, Vector, clip, constant, log, maximum, namespace, norm, where

_TINY = 1e-18  # instead of a margin of zero: its inverse squared fits float32


def close(distance: Array, radius: float, margin: Array | float) -> Array:
    """Return 1 up to ``radius``, then the "long_tail" 1 / (1 + 9 d²), d the excess over ``margin``."""
    return _long_tail(clip(distance - radius, 0.0, None), margin)


def between(x: Array, lower: Array | float, upper: float, margin: Array | float) -> Array:
    """Return 1 for ``lower <= x <= upper``, and the long tail of :func:`close` beyond."""
    return _long_tail(clip(maximum(lower - x, x - upper), 0.0, None), margin)


def gaussian(distance: Array, radius: float, margin: Array | float) -> Array:
    """Return 1 up to ``radius``, then 0.1 ^ (d²), d the excess over ``margin``."""
    scaled = _relative(clip(distance - radius, 0.0, None), margin) * math.sqrt(-2 * math.log(0.1))
    return namespace(scaled).exp(-0.5 * (scaled * scaled))


def _long_tail(excess: Array, margin: Array | float) -> Array:
    scaled = _relative(excess, margin) * 3.0
    return 1.0 / (scaled * scaled + 1.0)


def _relative(excess: Array, margin: Array | float) -> Array:
    return excess / (margin if isinstance(margin, float) else clip(margin, _TINY, None))


def hamacher(a: Array, b: Array) -> Array:
    """Return the Hamacher product ab / (a + b - ab) of numbers in [0, 1], 0 for zeros."""
    product = a * b
    total = a + b - product
    return product / where(total > 0, total, 1.0)


def funnel(distance: Array, inner: Array | float, slope: float, height: float) -> Array:
    """Return a floor around a point: 0 within ``inner``, then slope · log(beyond) + height."""
    outside = distance > inner
    return where(outside, slope * log(where(outside, distance - inner, 1.0)) + height, 0.0)


def above(floor: Array, height: Array, margin: Array | float) -> Array:
    """Return 1 above a floor, less below it."""
    return close(clip(floor - height, 0.0, None), 0.01, margin)


def turned(quaternion: Vector, ideal: tuple[float, float, float, float], scale: float) -> Array:
    """Return 1 at the ideal rotation, falling linearly to 0 at distance ``scale``."""
    return clip(1.0 - norm(quaternion - constant(ideal, quaternion)) / scale, 0.0, None)


def prism(point: Vector, zero: Vector, one: Vector) -> Array:
    """Return the share of a box spanned from corner ``zero`` to a point; 1 outside the box."""
    share = (point - zero) / (one - zero)
    x, y, z = share[0], share[1], share[2]
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1) & (z >= 0) & (z <= 1)
    return where(inside, x * y * z, 1.0)
