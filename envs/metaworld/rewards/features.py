"""Numbers that a task reads from MuJoCo, as data for an engine to gather."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal, NamedTuple

_SIZES = {"xpos": 3, "xquat": 4, "xmat": 9, "qpos": 1, "touching": 1}


class Feature(NamedTuple):
    """Some numbers of MuJoCo's data, of a named body, site, geom or joint."""

    # "touching": 1 where both finger pads press on the geom, else 0
    field: Literal["xpos", "xquat", "xmat", "qpos", "touching"]
    of: Literal["body", "site", "geom", "joint"]
    name: str

    @property
    def size(self) -> int:
        """How many numbers it is."""
        return _SIZES[self.field]


def body(name: str) -> Feature:
    """Return the position of a body."""
    return Feature("xpos", "body", name)


def site(name: str) -> Feature:
    """Return the position of a site."""
    return Feature("xpos", "site", name)


def geom(name: str) -> Feature:
    """Return the position of a geom."""
    return Feature("xpos", "geom", name)


def joint(name: str) -> Feature:
    """Return a hinge or slide joint's coordinate."""
    return Feature("qpos", "joint", name)


def quat(name: str) -> Feature:
    """Return a body's quaternion, w x y z as in MuJoCo."""
    return Feature("xquat", "body", name)


def matrix(of: Literal["body", "site", "geom"], name: str) -> Feature:
    """Return a rotation matrix, row by row; Meta-World makes a quaternion x y z w of it."""
    return Feature("xmat", of, name)


def touching(name: str) -> Feature:
    """Return whether both fingers press on a geom."""
    return Feature("touching", "geom", name)


# the features of every task, 21 numbers
HAND = (
    *(body(name) for name in ("hand", "rightclaw", "leftclaw", "leftpad", "rightpad")),
    *(site(name) for name in ("rightEndEffector", "leftEndEffector")),
)


def layout(features: tuple[Feature, ...]) -> dict[Feature, slice]:
    """Return each feature's place in a flat array of this order."""
    ends = accumulate(feature.size for feature in features)
    return {feature: slice(end - feature.size, end) for feature, end in zip(features, ends, strict=True)}
