"""Objects to grasp: ten shapes in any size, mass and friction.

A shape is measured in the half of its width between the fingers, along y, which is an object's ``size``. The
body's origin is the point to hold. Mass is spread evenly over the volume of the parts; where they overlap it
counts twice.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import mujoco
import numpy as np
from metaworld.envs.sawyer_pick_place_v3 import SawyerPickPlaceEnvV3
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.slim import compile_slim, slim_spec
from metarl.envs.engines.threads.worlds import read_field
from metarl.envs.metaworld.models import weld_hand
from metarl.errors import require

PREFIX = "grasp-"  # families are called after their shape: "grasp-sphere"
FIELDS = (
    *("geom_size", "geom_pos", "geom_friction", "geom_rbound", "geom_aabb"),
    *("body_pos", "body_mass", "body_inertia", "body_ipos", "body_iquat", "body_invweight0"),
    *("body_subtreemass", "dof_M0", "dof_invweight0", "qpos0", "qpos_spring", "stat.meaninertia"),
)  # of the model that differ between one shape's objects
GAP = 1e-4  # height above the table at the start, metres: MuJoCo finds no sound contact of cylinders at 0
_SPINNING, _ROLLING = 0.1, 0.01  # metres; the first is Meta-World's, the second keeps round things at rest
_COLOR, _OTHER_COLOR = (0.95, 0.7, 0.1, 1.0), (0.15, 0.3, 0.7, 1.0)  # of the part to hold, and of the rest
_ALONG_X = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)
_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
_SPHERE, _CAPSULE = mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE
_ELLIPSOID = mujoco.mjtGeom.mjGEOM_ELLIPSOID


class Part(NamedTuple):
    """A geom, in units of the object's size."""

    geom: mujoco.mjtGeom
    size: tuple[float, float, float]  # as MuJoCo defines it for the kind of geom
    x: float = 0.0  # offset of its centre from the body's origin along x
    lying: bool = False  # whether its axis is along x; else it stands


class Shape(NamedTuple):
    """The parts of an object; the first is the one to hold."""

    parts: tuple[Part, ...]
    rest: float = 1.0  # height of the origin on the table, in units of the object's size


class Thing(NamedTuple):
    """Numbers that differ between one shape's objects."""

    size: float  # half the width on which the fingers close, metres
    mass: float  # kilograms
    friction: float  # sliding, against fingers and table alike


SHAPES: dict[str, Shape] = {
    "box": Shape((Part(_BOX, (1, 1, 1)),)),
    "brick": Shape((Part(_BOX, (1.6, 1, 0.8)),), rest=0.8),
    "cylinder": Shape((Part(_CYLINDER, (1, 1, 0)),)),
    "roller": Shape((Part(_CYLINDER, (1, 1.5, 0), lying=True),)),
    "sphere": Shape((Part(_SPHERE, (1, 0, 0)),)),
    "capsule": Shape((Part(_CAPSULE, (1, 1, 0), lying=True),)),
    "ellipsoid": Shape((Part(_ELLIPSOID, (1.6, 1, 0.9)),), rest=0.9),
    "dumbbell": Shape(
        (
            Part(_CYLINDER, (1, 2.4, 0), lying=True),
            Part(_BOX, (0.4, 1.5, 1.5), x=2.4),
            Part(_BOX, (0.4, 1.5, 1.5), x=-2.4),
        ),
        rest=1.5,
    ),
    "hammer": Shape((Part(_BOX, (3, 1, 1), x=-1), Part(_BOX, (1, 2.2, 1), x=3))),
    "beads": Shape(tuple(Part(_SPHERE, (1, 0, 0), x=x) for x in (0.0, 1.6, -1.6))),
}  # a cylinder of size 0.02 is Meta-World's own puck but for its inertia and friction
# object that a family's model, shared by its tasks, is compiled with
TYPICAL = Thing(size=0.018, mass=0.4, friction=1.0)


def rest_height(shape: str, size: float) -> float:
    """Return the object's starting height, metres."""
    return SHAPES[shape].rest * size + GAP


def object_fields(shape: str, thing: Thing) -> dict[str, Array]:
    """Return the :data:`FIELDS` of the compiled model with this object, of positive numbers."""
    return {field: values.copy() for field, values in _compiled_fields(shape, thing).items()}


def object_model(shape: str, thing: Thing = TYPICAL) -> mujoco.MjModel:
    """Compile pick-place with another object, without visual parts."""
    model = compile_slim(_with_object(_kept_spec(), shape, thing))
    weld_hand(model)
    return model


def full_object_model(shape: str, thing: Thing = TYPICAL) -> mujoco.MjModel:
    """Compile the scene with object and visual parts."""
    return _with_object(mujoco.MjSpec.from_file(_scene()), shape, thing).compile()


def _scene() -> str:
    return str(SawyerXYZEnv.__new__(SawyerPickPlaceEnvV3).model_name)


@functools.lru_cache(maxsize=4096)
def _compiled_fields(shape: str, thing: Thing) -> dict[str, Array]:
    model = object_model(shape, thing)
    return {field: read_field(model, field) for field in FIELDS}


@functools.cache
def _kept_spec() -> mujoco.MjSpec:
    """Return the scene with processed meshes, which compiles again in a tenth of the time."""
    spec = slim_spec(_scene())
    spec.compile()
    return spec


def _with_object(spec: mujoco.MjSpec, shape: str, thing: Thing) -> mujoco.MjSpec:
    for name, value in thing._asdict().items():
        require(0 < value < math.inf, f"The {name} of an object must be positive and finite", value)
    # Pairs of geoms are tried one by one: MuJoCo's search trees are too big to keep a copy for each world.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    body = spec.body("obj")
    body.pos = (0.0, 0.6, rest_height(shape, thing.size))
    for geom in list(body.geoms):
        spec.delete(geom) if hasattr(spec, "delete") else geom.delete()  # the name changed after 3.3.0
    for number, part in enumerate(SHAPES[shape].parts):
        name = "objGeom" if number == 0 else f"objGeom{number}"
        body.add_geom(
            name=name,
            **_geometry(part, thing.size),
            rgba=_OTHER_COLOR if number else _COLOR,
            friction=(thing.friction, _SPINNING, _ROLLING),
            condim=6,
            priority=1,  # its own friction counts, not the larger of two
            solref=(0.01, 1.0),
            solimp=(0.99, 0.99, 0.01, 0.5, 2.0),
        )
    body.mass, body.ipos, body.iquat, body.inertia = _inertia(shape, thing)
    return spec


def _geometry(part: Part, size: float) -> dict[str, object]:
    return {
        "type": part.geom,
        "size": np.array(part.size) * size,
        "pos": (part.x * size, 0.0, 0.0),
        "quat": _ALONG_X if part.lying else (1.0, 0.0, 0.0, 0.0),
    }


def _inertia(shape: str, thing: Thing) -> tuple[float, Array, Array, Array]:
    """Return an object's mass, centre, axes and principal moments, by MuJoCo from its geoms."""
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body()
    body.add_freejoint()
    for part in SHAPES[shape].parts:
        body.add_geom(**_geometry(part, thing.size))
    model = spec.compile()
    scale = thing.mass / model.body_mass[1]
    return thing.mass, model.body_ipos[1], model.body_iquat[1], model.body_inertia[1] * scale
