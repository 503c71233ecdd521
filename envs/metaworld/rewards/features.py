"""Numbers that a task reads from MuJoCo.

They are data for an engine to gather.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

_SIZES = {"xpos": 3, "xquat": 4, "xmat": 9, "qpos": 1, "touching": 1}


class Feature(NamedTuple):
    """Some numbers of MuJoCo's data.

    They are a field of a named body, site, geom or joint.
    """

    field: Literal["xpos", "xquat", "xmat", "qpos", "touching"]
    """Field of the data.

    ``touching`` is 1 where both finger pads press on the geom, else 0.
    """
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
    """Return a body's quaternion, w x y z.

    MuJoCo has it in this order.
    """
    return Feature("xquat", "body", name)


def matrix(of: Literal["body", "site", "geom"], name: str) -> Feature:
    """Return the rotation matrix, row by row.

    Meta-World makes a quaternion x y z w of it.
    """
    return Feature("xmat", of, name)


def touching(name: str) -> Feature:
    """Return whether both finger pads press on a geom."""
    return Feature("touching", "geom", name)


HAND = (
    body("hand"),
    body("rightclaw"),
    body("leftclaw"),
    body("leftpad"),
    body("rightpad"),
    site("rightEndEffector"),
    site("leftEndEffector"),
)
"""The features of every task, 21 numbers."""


def layout(features: tuple[Feature, ...]) -> dict[Feature, slice]:
    """Return each feature's place in the array.

    The array is flat, in the order given.
    """
    places: dict[Feature, slice] = {}
    start = 0
    for feature in features:
        places[feature] = slice(start, start + feature.size)
        start += feature.size
    return places
