"""The numbers that a task reads from MuJoCo, as data for an engine to gather."""

from __future__ import annotations

from typing import Literal, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

_SIZES = {"xpos": 3, "xquat": 4, "xmat": 9, "qpos": 1, "touching": 1}
_PREFIXES = {"body": "", "site": "site_", "geom": "geom_", "joint": ""}


class Feature(NamedTuple):
    """Some numbers of MuJoCo's data: a field of a named body, site, geom or joint."""

    field: Literal["xpos", "xquat", "xmat", "qpos", "touching"]
    """``touching`` is 1 where both finger pads press on the geom, else 0."""
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
    """Return the coordinate of a hinge or slide joint."""
    return Feature("qpos", "joint", name)


def quat(name: str) -> Feature:
    """Return the quaternion of a body as MuJoCo has it, w x y z."""
    return Feature("xquat", "body", name)


def matrix(of: Literal["body", "site", "geom"], name: str) -> Feature:
    """Return the rotation matrix, row by row, which Meta-World makes a quaternion x y z w."""
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
    """Return the place of each feature in the flat array, in the order given."""
    places: dict[Feature, slice] = {}
    start = 0
    for feature in features:
        places[feature] = slice(start, start + feature.size)
        start += feature.size
    return places


def address(model: mujoco.MjModel, feature: Feature) -> tuple[str, int]:
    """Return the array of MjData that holds a feature, and where it begins in that array laid flat.

    Whether a geom is touched is not held by any array: see :func:`extract` for how it is found.
    """
    named = getattr(model, feature.of)(feature.name)
    start = int(named.qposadr[0]) if feature.of == "joint" else int(named.id) * feature.size
    return _PREFIXES[feature.of] + feature.field, start


def extract(data: mujoco.MjData, features: tuple[Feature, ...]) -> NDArray[np.float64]:
    """Read the features of one world by name, ``[F]``: slow, for the portable path and for tests."""
    return np.concatenate([_read(data, feature) for feature in features])


def _read(data: mujoco.MjData, feature: Feature) -> NDArray[np.float64]:
    if feature.field == "touching":
        return np.array([_touching(data, data.geom(feature.name).id)])
    named = getattr(data, feature.of)(feature.name)
    return np.array(getattr(named, feature.field), dtype=np.float64).reshape(-1)


def _touching(data: mujoco.MjData, target: int) -> float:
    pads = (data.geom("leftpad_geom").id, data.geom("rightpad_geom").id)
    return float(all(_pressure(data, pad, target) > 0 for pad in pads))


def _pressure(data: mujoco.MjData, pad: int, target: int) -> float:
    """Add up the force of a pad's contacts with a geom.

    Quirk, kept: an inactive contact has address -1, where Meta-World reads the last constraint's force.
    """
    contact = data.contact
    both = (contact.geom == pad).any(axis=1) & (contact.geom == target).any(axis=1)
    return float(sum(data.efc_force[contact.efc_address[both]]))
