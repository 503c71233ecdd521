"""Named numbers of a simulated world, such as positions, joint angles and contacts.

A list of features is resolved against a model once; the result says which numbers of an ``mjData`` make up
which columns of a row of ``float64``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import mujoco
import numpy as np

from metarl.errors import MetarlError, unknown_name

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_FRAMES = {"xpos": 3, "xquat": 4, "xmat": 9}
_OBJECTS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
}
_WHOLE = {
    "qpos": ("nq", 1),
    "qvel": ("nv", 1),
    "qfrc_actuator": ("nv", 1),
    "cfrc_ext": ("nbody", 6),
    "cinert": ("nbody", 10),
    "cvel": ("nbody", 6),
    "xipos": ("nbody", 3),
    "ten_length": ("ntendon", 1),
    "ten_velocity": ("ntendon", 1),
}  # arrays that can be read whole: the model's count of rows, and the length of a row
_PADS = ("leftpad_geom", "rightpad_geom")


class Named(Protocol):
    """Anything that names numbers as :class:`Feature` does."""

    @property
    def field(self) -> str:
        """The quantity."""

    @property
    def of(self) -> str:
        """The kind of object."""

    @property
    def name(self) -> str:
        """The object."""


class Feature(NamedTuple):
    """Some numbers of MuJoCo's data: a field of a named body, site, geom or joint."""

    field: str
    """Field of the object.

    ``xpos`` (metres) and ``xmat`` (row-major) of a body, site or geom, ``xquat`` (wxyz) of a body; ``qpos``
    and ``qvel`` of a joint; ``touching`` of a geom, 1 where both finger pads press on it, else 0; of
    ``"all"``, a whole array: ``qpos``, ``qvel``, ``qfrc_actuator``, of all bodies ``cfrc_ext``, ``cinert``,
    ``cvel`` and ``xipos``, of all tendons ``ten_length`` and ``ten_velocity``.
    """
    of: str
    """``"body"``, ``"site"``, ``"geom"``, ``"joint"`` or ``"all"``."""
    name: str = ""


class Numbers(NamedTuple):
    """``size`` numbers of the data's array ``field`` from index ``start``, and their column."""

    field: str
    start: int
    size: int
    column: int


class Touch(NamedTuple):
    """The geoms of two finger pads, the geom that they may press on, and its column."""

    left: int
    right: int
    target: int
    column: int


@dataclass(frozen=True)
class Layout:
    """Sources of one model's features and their columns."""

    numbers: tuple[Numbers, ...]  # neighbours in both are merged
    touches: tuple[Touch, ...]
    columns: dict[Named, slice]  # of each feature, in requested order
    width: int  # columns in all


def resolve(model: mujoco.MjModel, features: Sequence[Named]) -> Layout:
    """Find the features in a model; raise ``MetarlError`` if a field or name is not known.

    A geom that the model lacks is looked for among the sites that :func:`~.slim.slim_model` leaves in the
    place of visual geoms; such a geom is never touched.
    """
    numbers: list[Numbers] = []
    touches: list[Touch] = []
    columns: dict[Named, slice] = {}
    column = 0
    for feature in features:
        # one column for a contact, else one for each number
        count = 1
        if feature.field == "touching":
            left, right, target = (_find(model, "geom", name) for name in (*_PADS, feature.name))
            if min(left, right, target) >= 0:
                touches.append(Touch(left, right, target, column))
        else:
            numbers.append(_numbers(model, feature, column))
            count = numbers[-1].size
        columns[feature] = slice(column, column + count)
        column += count
    # neighbours are merged: fewer copies after each step
    return Layout(tuple(_merge(numbers)), tuple(touches), columns, column)


def read(model: mujoco.MjModel, data: mujoco.MjData, features: Sequence[Named]) -> Array:
    """Return the features of one world as a new row, ``[width]``."""
    layout = resolve(model, features)
    row = np.zeros(layout.width)
    for part in layout.numbers:
        row[part.column : part.column + part.size] = flat(data, part)
    for touch in layout.touches:
        row[touch.column] = is_touching(data, touch)
    return row


def flat(data: mujoco.MjData, part: Numbers) -> Array:
    """Return the live numbers of a world's data that ``part`` names, ``[size]``."""
    values: Array = getattr(data, part.field)
    return values.reshape(-1)[part.start : part.start + part.size]


def is_touching(data: mujoco.MjData, touch: Touch) -> bool:
    """Whether both pads press on the geom, as Meta-World's ``touching_object`` decides.

    A pad presses where the sum of ``efc_force[efc_address]`` over its contacts with the geom is above zero.
    Quirk, kept: an inactive contact has address -1, which Meta-World reads as the last row.
    """
    if not (data.ncon and data.nefc):
        return False
    contact = data.contact
    pressures = {touch.left: 0.0, touch.right: 0.0}
    for index, (first, second) in enumerate(contact.geom.tolist()):
        pad = first if second == touch.target else second if first == touch.target else -1
        if pad in pressures:
            pressures[pad] += float(data.efc_force[contact.efc_address[index]])
    return min(pressures.values()) > 0


def _numbers(model: mujoco.MjModel, feature: Named, column: int) -> Numbers:
    field, of, name = feature.field, feature.of, feature.name
    # a whole array
    if of == "all" and field in _WHOLE:
        count, width = _WHOLE[field]
        return Numbers(field, 0, width * getattr(model, count), column)
    # a joint: its type says how many numbers it has
    if of == "joint" and field in ("qpos", "qvel"):
        joint = _known(model, of, name)
        start = (model.jnt_qposadr if field == "qpos" else model.jnt_dofadr)[joint]
        return Numbers(field, int(start), _joint_width(int(model.jnt_type[joint]), field), column)
    # else a frame: position, rotation matrix or quaternion
    if field not in _FRAMES or of not in ("body", "site", "geom") or (of != "body" and field == "xquat"):
        raise MetarlError(f"A world has no feature {field!r} of a {of}.")
    # a visual geom that was left out has a site in its place
    if of == "geom" and _find(model, "geom", name) < 0 <= _find(model, "site", stand_in(name)):
        of, name = "site", stand_in(name)
    source = field if of == "body" else f"{of}_{field}"
    return Numbers(source, _FRAMES[field] * _known(model, of, name), _FRAMES[field], column)


def stand_in(geom: str) -> str:
    """Return the name of the site that replaces a visual geom."""
    return f"geom:{geom}"


def _joint_width(joint_type: int, field: str) -> int:
    free, ball = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
    widths = {free: (7, 6), ball: (4, 3)}
    return widths.get(joint_type, (1, 1))[field == "qvel"]


def _find(model: mujoco.MjModel, kind: str, name: str) -> int:
    return int(mujoco.mj_name2id(model, _OBJECTS[kind], name))


def _known(model: mujoco.MjModel, kind: str, name: str) -> int:
    index = _find(model, kind, name)
    if index < 0:
        count = {"body": model.nbody, "site": model.nsite, "geom": model.ngeom, "joint": model.njnt}[kind]
        names = [mujoco.mj_id2name(model, _OBJECTS[kind], i) or "" for i in range(count)]
        raise unknown_name(kind, name, filter(None, names))
    return index


def _merge(numbers: Sequence[Numbers]) -> list[Numbers]:
    merged: list[Numbers] = []
    for part in numbers:
        last = merged[-1] if merged else None
        # the last part ends where this one begins, in the data as in the columns
        if (
            last
            and part[:2] == (last.field, last.start + last.size)
            and part.column == last.column + last.size
        ):
            merged[-1] = last._replace(size=last.size + part.size)
        else:
            merged.append(part)
    return merged
