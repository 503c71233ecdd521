"""Factors of variation: an object's size, mass and friction, and the colour and camera of its pictures.

A task's parameters are Meta-World's own, then one number for each factor. Size, mass and friction multiply
what Meta-World has; everything that MuJoCo derives from them follows. Both engines take a task's model from
:func:`model_fields`, so their episodes are the same.
"""

from __future__ import annotations

import colorsys
import functools
import hashlib
import inspect
import math
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from gymnasium.spaces import Box
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.threads.features import Array, stand_in
from metarl.envs.engines.threads.model_changes import Change, Fields, ModelChanger
from metarl.envs.engines.threads.worlds import read_field, write_field
from metarl.envs.metaworld.models import EXPANDED, Models, environment_class, sawyer_model
from metarl.envs.metaworld.rendering import full_model
from metarl.envs.metaworld.resets import Families
from metarl.envs.metaworld.rewards.catalog import TASKS
from metarl.envs.task_sampling.ranges import Range
from metarl.errors import MetarlError, unknown_name
from metarl.tasks import Parameter, Split

# training ranges, and how far held-out values go beyond them
FACTORS: dict[str, Range] = {
    "size": Range(0.9, 1.1, 0.8, 1.2, logarithmic=True),
    "mass": Range(0.5, 2.0, 0.25, 4.0, logarithmic=True),
    "friction": Range(0.7, 1.4, 0.5, 2.0, logarithmic=True),
    "colour": Range(0.0, 0.5, 0.0, 1.0),  # hue
    "camera": Range(-15.0, 15.0, -30.0, 30.0),  # degrees around the table
}
DRAWN = ("colour", "camera")  # seen in pictures only
_NO_OBJECT = ("reach-v3", "reach-wall-v3")  # their tasks are about the hand alone
# their object is one box or cylinder, and no reward reads a site on it
SIZED = (
    *("push-v3", "push-wall-v3", "push-back-v3", "pick-place-v3", "pick-place-wall-v3", "shelf-place-v3"),
    *("hand-insert-v3", "bin-picking-v3", "pick-out-of-hole-v3", "sweep-v3", "sweep-into-v3"),
    *("stick-push-v3", "plate-slide-v3", "plate-slide-side-v3", "plate-slide-back-v3"),
    "plate-slide-back-side-v3",
)
_AROUND = (0.0, 0.6, 0.0)  # the point of the table that cameras turn around, metres
_OF_INERTIA = (
    *("body_mass", "body_inertia", "body_invweight0", "body_subtreemass"),
    *("dof_M0", "dof_invweight0", "actuator_acc0", "stat.meaninertia"),
)
_FIELDS = {
    "size": ("geom_size", "geom_pos", "geom_rbound", "geom_aabb", *_OF_INERTIA),
    "mass": _OF_INERTIA,
    "friction": ("geom_friction", "dof_damping"),
}  # model fields that a factor changes, with those that MuJoCo derives


def check_factors(names: Sequence[str]) -> tuple[str, ...]:
    """Return factors in their order; raise ``MetarlError`` on unknown and repeated ones."""
    for name in names:
        if name not in FACTORS:
            raise unknown_name("factor to vary", name, FACTORS)
    if len(set(names)) < len(names):
        raise MetarlError(f"Expected each factor to vary once, got {', '.join(names)}.")
    return tuple(name for name in FACTORS if name in names)


def describe_factors(family: str, names: Sequence[str]) -> list[Parameter]:
    """Describe a family's factors; an agent may observe what changes how the object settles."""
    return [
        Parameter(name, name not in DRAWN, (FACTORS[name].low, FACTORS[name].high))
        for name in factors_of(family, names)
    ]


def factors_of(family: str, names: Sequence[str]) -> list[str]:
    """Return those of some factors that a family has: reaching has no object, and few vary in size."""
    if family in _NO_OBJECT:
        return [name for name in names if name == "camera"]
    return [name for name in names if name != "size" or family in SIZED]


def draw_factors(
    family: str, names: Sequence[str], count: int, seed: int, split: Split, *, beyond: bool
) -> Array:
    """Draw the factors of a family's tasks, ``[count, factors]``; the first do not depend on how many."""
    keys = ((seed, split == "test", zlib.crc32(family.encode()), zlib.crc32(name.encode())) for name in names)
    rngs = [np.random.default_rng([int(number) for number in key]) for key in keys]
    drawn = [
        [FACTORS[name].draw(rng, beyond=beyond) for _ in range(count)]
        for name, rng in zip(names, rngs, strict=True)
    ]
    return np.array(drawn, np.float64).reshape(len(names), count).T


@functools.cache
def families_varying(names: tuple[str, ...]) -> Families:
    """Return Meta-World's families with tasks that vary; of no factor, its own."""
    if not names:
        return Families()
    source = Variation(names)
    fields = dict.fromkeys((*EXPANDED, *(field for name in names for field in _FIELDS.get(name, ()))))
    models = Models(
        environment=source.environment,
        stepped=source.stepped,
        fields=source.fields,
        expanded=tuple(fields),
        version=_version() + ",".join(names),
    )
    return Families(models=models, look=source.look)


@dataclass(frozen=True)
class Variation:
    """Environments, models and pictures of tasks that vary by some factors."""

    names: tuple[str, ...]

    def environment(self, family: str) -> type[SawyerXYZEnv]:
        """Return the reference: Meta-World's class, with the task's model set at each reset."""
        return _varied_class(family, tuple(factors_of(family, self.names)))

    def stepped(self, family: str, read_geoms: tuple[str, ...]) -> mujoco.MjModel:
        """Compile a family's model without visual parts."""
        model = sawyer_model(family, read_geoms)
        if "size" in factors_of(family, self.names):
            _allow_sizes(model, family)
        return model

    def fields(self, family: str, rand_vec: Array) -> dict[str, Array]:
        """Return the model fields of a task."""
        return model_fields(family, tuple(factors_of(family, self.names)), rand_vec)

    def look(self, model: mujoco.MjModel, family: str, parameters: Sequence[float]) -> None:
        """Give a model with visual parts the size, colour and camera of a task."""
        names = tuple(factors_of(family, self.names))
        values = dict(zip(names, parameters[len(parameters) - len(names) :], strict=True))
        original = _full(family)
        for field, numbers in model_fields(family, names, np.array(parameters), full=True).items():
            write_field(model, field, numbers)
        model.geom_sameframe[:] = original.geom_sameframe
        if "colour" in values:
            geoms = _geoms(model, object_body(model, family))
            model.geom_matid[geoms] = -1  # textures would darken it
            model.geom_rgba[geoms, :3] = colorsys.hsv_to_rgb(values["colour"], 0.85, 0.95)
        if "camera" in values:
            _turn_cameras(model, original, math.radians(values["camera"]))


def model_fields(
    family: str, names: tuple[str, ...], rand_vec: Array, *, full: bool = False
) -> dict[str, Array]:
    """Return the model fields of a task with some factors, its last parameters.

    Args:
        names: its factors, in order.
        rand_vec: all parameters of the task.
        full: whether the fields are those of the model with visual parts.

    Raises:
        MetarlError: if a factor is not positive and finite.
    """
    return dict(_model_fields(family, names, tuple(rand_vec[len(rand_vec) - len(names) :].tolist()), full))


# a reset asks for the same fields three times
@functools.lru_cache(maxsize=64)
def _model_fields(family: str, names: tuple[str, ...], values: tuple[float, ...], full: bool) -> Fields:
    wanted = tuple(dict.fromkeys(field for name in names for field in _FIELDS.get(name, ())))
    if not wanted:
        return {}
    changer = _changer(family, full)
    changer.put({})
    changes: list[Change] = []
    for name, value in zip(names, values, strict=True):
        if name in _FIELDS:
            if not 0 < value < math.inf:
                raise MetarlError(f"Expected a positive, finite {name} of a task of {family!r}, got {value}.")
            changes += _CHANGES[name](changer.model, family, value)
    changed = changer.fields(changes, wanted)
    # every task has the same fields, equal to the original's or not
    changer.put({})
    return {name: changed[name] if name in changed else read_field(changer.model, name) for name in wanted}


def object_body(model: mujoco.MjModel, family: str) -> int:
    """Return the moving body that a family's task is about."""
    seen = TASKS[family].objects[0]
    if seen.knob is not None:
        return int(model.joint(seen.knob.name).bodyid[0])
    place = seen.position
    if place.of == "body":
        body = model.body(place.name).id
    elif place.of == "geom" and mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, place.name) >= 0:
        body = model.geom(place.name).bodyid[0]
    else:  # a site, or one in the place of a visual geom
        body = model.site(place.name if place.of == "site" else stand_in(place.name)).bodyid[0]
    return int(model.body_weldid[body])


def _change_size(model: mujoco.MjModel, family: str, factor: float) -> list[Change]:
    """Scale the object about its lowest point, so that it stands where it stood.

    Its centre of mass stays too: MuJoCo takes a body that was compiled with its own there for a simple one.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    [block] = touching_geoms(model, object_body(model, family))
    body = int(model.geom_bodyid[block])
    # height of the geom's centre above the object's lowest point
    axes, size = np.abs(data.geom_xmat[block].reshape(3, 3)[2]), model.geom_size[block]
    radial = model.geom_type[block] == mujoco.mjtGeom.mjGEOM_CYLINDER
    height = size[0] * math.hypot(*axes[:2]) + size[1] * axes[2] if radial else float(axes @ size)
    down = data.xmat[body].reshape(3, 3).T @ np.array([0.0, 0.0, -height])
    anchor = model.geom_pos[block] + down
    simple = model.geom_type != mujoco.mjtGeom.mjGEOM_MESH
    geoms: list[int] = np.flatnonzero((model.geom_bodyid == body) & simple).tolist()
    changes = [Change("body_inertia", body, factor**2, scale=True)]
    for geom in geoms:
        for field in ("geom_size", "geom_rbound", "geom_aabb"):
            changes.append(Change(field, geom, factor, scale=True))
        moved = anchor + factor * (model.geom_pos[geom] - anchor)
        changes += [Change("geom_pos", (geom, axis), float(moved[axis])) for axis in range(3)]
    return changes


def _change_mass(model: mujoco.MjModel, family: str, factor: float) -> list[Change]:
    bodies = np.flatnonzero(model.body_weldid == object_body(model, family))
    return [
        Change(field, int(body), factor, scale=True)
        for field in ("body_mass", "body_inertia")
        for body in bodies
    ]


def _change_friction(model: mujoco.MjModel, family: str, factor: float) -> list[Change]:
    """Scale the friction of every contact, as the greater of two counts, and of the object's joints."""
    body = object_body(model, family)
    first, count = int(model.body_dofadr[body]), int(model.body_dofnum[body])
    damping = Change("dof_damping", slice(first, first + count), factor, scale=True)
    return [Change("geom_friction", ..., factor, scale=True), damping]


_CHANGES = {"size": _change_size, "mass": _change_mass, "friction": _change_friction}


class _VariedEnv(SawyerXYZEnv):
    """Mixed into a family's class: its random vector ends with the factors."""

    family: str
    factors: tuple[str, ...]

    def __init__(self, reward_function_version: str = "v2") -> None:
        super().__init__(reward_function_version=reward_function_version)
        if "size" in self.factors:
            _allow_sizes(self.model, self.family)
        space = self._random_reset_space
        assert space is not None
        more = np.full(len(self.factors), np.inf)
        self._random_reset_space = Box(
            np.concatenate([space.low, -more]), np.concatenate([space.high, more]), dtype=np.float64
        )

    def _get_state_rand_vec(self) -> Array:
        """Return the numbers that the published class knows."""
        vector = super()._get_state_rand_vec()
        return vector[: len(vector) - len(self.factors)]

    def reset_model(self) -> Array:
        """Set the task's model, then reset as published."""
        assert self._last_rand_vec is not None
        for field, values in model_fields(self.family, self.factors, self._last_rand_vec, full=True).items():
            write_field(self.model, field, values)
        observation: Array = super().reset_model()
        return observation


@functools.cache
def _varied_class(family: str, names: tuple[str, ...]) -> type[SawyerXYZEnv]:
    published = environment_class(family)
    return type(published.__name__, (_VariedEnv, published), {"family": family, "factors": names})


def _allow_sizes(model: mujoco.MjModel, family: str) -> None:
    """Let a compiled model take other sizes of its object.

    MuJoCo ignores positions that were zero when it compiled, and culls contacts by boxes of one size.
    """
    body = object_body(model, family)
    geoms = _geoms(model, body)
    model.geom_sameframe[geoms] = 0
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    for one in np.flatnonzero(model.body_weldid == body):
        first = model.body_bvhadr[one]
        boxes = model.bvh_aabb[first : first + model.body_bvhnum[one]]
        # half lengths that hold the largest object, wherever its centre is
        boxes[:, 3:] = 2 * (np.abs(boxes[:, :3]) + boxes[:, 3:])


@functools.cache
def _full(family: str) -> mujoco.MjModel:
    model = full_model(family)
    if family in SIZED:
        _allow_sizes(model, family)
    return model


@functools.cache
def _slim(family: str) -> mujoco.MjModel:
    read = {feature.name for feature in TASKS[family].features if feature.of == "geom"}
    return Variation(("size",)).stepped(family, tuple(sorted(read)))


@functools.cache
def _changer(family: str, full: bool) -> ModelChanger:  # functools.cache takes it so
    return ModelChanger(_full(family) if full else _slim(family))


def _geoms(model: mujoco.MjModel, body: int) -> list[int]:
    """Return the geoms of a body and of those welded to it."""
    found: list[int] = np.flatnonzero(model.body_weldid[model.geom_bodyid] == body).tolist()
    return found


def touching_geoms(model: mujoco.MjModel, body: int) -> list[int]:
    """Return the geoms of a body, and of those welded to it, that touch others."""
    touches = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    return [geom for geom in _geoms(model, body) if touches[geom]]


def _turn_cameras(model: mujoco.MjModel, original: mujoco.MjModel, angle: float) -> None:
    """Turn the room's cameras around the table."""
    turn, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), angle)
    mujoco.mju_quat2Mat(matrix, turn)
    for camera in np.flatnonzero(original.cam_bodyid == 0):
        offset = original.cam_pos[camera] - _AROUND
        model.cam_pos[camera] = _AROUND + matrix.reshape(3, 3) @ offset
        mujoco.mju_mulQuat(model.cam_quat[camera], turn, original.cam_quat[camera])


def _version() -> str:
    """Return a name for the factors as they are, for the files of their resets."""
    return hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()[:12]
