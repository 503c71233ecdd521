"""Shaping functions of Meta-World's rewards.

They are 1 within bounds, falling to 0 beyond. Most are dm_control's (``dm_control.utils.rewards``): past the
bounds by ``margin``, they have fallen to 0.1. Meta-World refuses a negative margin with an exception in the
middle of an episode; here it counts as none.
"""

from __future__ import annotations

import math

from metarl.envs.engines.arrays import (
    Array,
    Vector,
    clip,
    constant,
    log,
    maximum,
    namespace,
    norm,
    where,
)

_TINY = 1e-18
"""Substitute for a margin of zero.

It is small enough for 0 beyond the bounds, and its inverse squared fits float32.
"""


def close(distance: Array, radius: float, margin: Array | float) -> Array:
    """Return Meta-World's "long_tail" sigmoid.

    It is 1 up to ``radius``, then 1 / (1 + 9 d²), d the excess over ``margin``.
    """
    return _long_tail(clip(distance - radius, 0.0, None), margin)


def between(x: Array, lower: Array | float, upper: float, margin: Array | float) -> Array:
    """Return 1 within bounds, long tails beyond.

    It is 1 for ``lower <= x <= upper``, and the long tail of :func:`close` on either side.
    """
    return _long_tail(clip(maximum(lower - x, x - upper), 0.0, None), margin)


def gaussian(distance: Array, radius: float, margin: Array | float) -> Array:
    """Return a Gaussian sigmoid.

    It is 1 up to ``radius``, then 0.1 ^ (d²) with d the excess over ``margin``.
    """
    scaled = _relative(clip(distance - radius, 0.0, None), margin) * math.sqrt(-2 * math.log(0.1))
    return namespace(scaled).exp(-0.5 * (scaled * scaled))


def _long_tail(excess: Array, margin: Array | float) -> Array:
    scaled = _relative(excess, margin) * 3.0
    return 1.0 / (scaled * scaled + 1.0)


def _relative(excess: Array, margin: Array | float) -> Array:
    return excess / (margin if isinstance(margin, float) else clip(margin, _TINY, None))


def hamacher(a: Array, b: Array) -> Array:
    """Return the Hamacher product.

    It is ab / (a + b - ab) of two numbers in [0, 1], and 0 for two zeros.
    """
    product = a * b
    total = a + b - product
    return product / where(total > 0, total, 1.0)


def funnel(distance: Array, inner: Array | float, slope: float, height: float) -> Array:
    """Return a floor's height around a point.

    It is 0 within ``inner``, beyond it slope · log(beyond) + height.
    """
    outside = distance > inner
    return where(outside, slope * log(where(outside, distance - inner, 1.0)) + height, 0.0)


def above(floor: Array, height: Array, margin: Array | float) -> Array:
    """Return 1 above a floor, less below it."""
    return close(clip(floor - height, 0.0, None), 0.01, margin)


def turned(quaternion: Vector, ideal: tuple[float, float, float, float], scale: float) -> Array:
    """Return the nearness to the ideal rotation.

    It is 1 for the ideal, falling linearly with the quaternions' distance to 0 at ``scale``.
    """
    return clip(1.0 - norm(quaternion - constant(ideal, quaternion)) / scale, 0.0, None)


def prism(point: Vector, zero: Vector, one: Vector) -> Array:
    """Return the spanned share of a box.

    A point spans it from corner ``zero`` to ``one``; outside the box the share is 1.
    """
    share = (point - zero) / (one - zero)
    x, y, z = share[0], share[1], share[2]
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1) & (z >= 0) & (z <= 1)
    return where(inside, x * y * z, 1.0)
