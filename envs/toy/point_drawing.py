"""A picture of the point suite: square of goals, goal, circle of success, point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metarl.errors import MetarlError
from metarl.vector_env import Array, Picture

MAX_SIZE = 4096  # pixels along a side
VIEW = 0.75  # the shorter side shows the plane from minus this to plus this; a point beyond is on the edge
_PAPER, _SQUARE, _CIRCLE, _GOAL, _POINT = (
    (255, 255, 255),
    (238, 238, 242),
    (186, 224, 190),
    (44, 140, 60),
    (30, 70, 170),
)
_DOT = 0.025


def draw(
    position: Array, goal: Array, *, goal_limit: float, radius: float, width: int, height: int
) -> Picture:
    """Return the picture, ``[height, width, 3]``; the y axis points upwards.

    ``position`` and ``goal`` are ``[2]``, ``goal_limit`` is half the side of the square of goals, within
    ``radius`` is success.
    """
    if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
        raise MetarlError(
            f"Expected a picture of 1 to {MAX_SIZE} pixels along each side, got {width} x {height}."
        )
    x, y = _plane(width, height)
    # a point beyond the picture is drawn on its edge
    edge = np.array([np.abs(x).max(), np.abs(y).max()]) - _DOT
    seen = np.clip(position, -edge, edge)
    picture = np.full((height, width, 3), _PAPER, np.uint8)
    # from the back to the front
    picture[(np.abs(x) <= goal_limit) & (np.abs(y) <= goal_limit)] = _SQUARE
    picture[_near(x, y, goal, radius)] = _CIRCLE
    picture[_near(x, y, goal, _DOT)] = _GOAL
    picture[_near(x, y, seen, _DOT)] = _POINT
    return picture


def _plane(width: int, height: int) -> tuple[Array, Array]:
    """Return x ``[1, width]`` and y ``[height, 1]`` of the middle of each pixel."""
    scale = 2 * VIEW / min(width, height)
    x: Array = (np.arange(width, dtype=np.float64) - (width - 1) / 2) * scale
    y: Array = ((height - 1) / 2 - np.arange(height, dtype=np.float64)) * scale
    return x[None, :], y[:, None]


def _near(x: Array, y: Array, centre: Array, radius: float) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    return near
