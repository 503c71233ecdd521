"""Meta-World's observation: hand, gripper and objects, now and a step before, and the goal."""

from __future__ import annotations

from typing import cast

from metarl.envs.engines.arrays import Vector, aligned, clip, constant, filled, namespace, norm, stack
from metarl.envs.metaworld.rewards.features import Feature, body
from metarl.envs.metaworld.rewards.task import Object, SawyerTask

FRAME_SIZE = 18
OBSERVATION_SIZE = 39

_HAND_LOW = (-0.525, 0.348, -0.0525, -1.0)
_HAND_HIGH = (0.525, 1.025, 0.7, 1.0)


def frame(task: SawyerTask, features: Vector) -> Vector:
    """Return one moment's frame, ``[18, ..., worlds]``, unclipped."""
    hand, right, left = (features[task.places[body(name)]] for name in ("hand", "rightclaw", "leftclaw"))
    opened = clip(norm(right - left) / 0.1, 0.0, 1.0)
    rows = [hand, stack(opened)]
    for seen in task.objects:
        rows += [_position(task, seen, features), _rotation(task, seen, features)]
    unused = FRAME_SIZE - 4 - 7 * len(task.objects)
    return namespace(features).concatenate([*rows, *[stack(filled(opened, 0.0))] * unused])


def observe(now: Vector, before: Vector, goal: Vector | None = None) -> Vector:
    """Stack two frames, clipped, and the goal, ``[39, ..., worlds]``.

    ``before`` is the frame of the previous step, or of the reset; a ``goal`` of None shows zeros.
    """
    goal = now[:3] * 0.0 if goal is None else goal
    return namespace(now).concatenate([_clipped(now), _clipped(before), goal])


def visible_goal(task: SawyerTask, features: Vector, constants: Vector, *, clipped: bool = True) -> Vector:
    """Return the observed goal, ``[3, ..., worlds]``; a reset's is not clipped."""
    places, xp = task.constant_places, namespace(features)
    low, high, fixed = (
        aligned(constants[places[name]], features) for name in ("goal_low", "goal_high", "target_pos")
    )
    target = features[task.places[task.live["target_pos"]]] if "target_pos" in task.live else fixed
    shown = xp.clip(target, low, high) if clipped else target
    return xp.broadcast_to(shown, (3, *features.shape[1:]))


def _clipped(seen: Vector) -> Vector:
    hand = cast(Vector, clip(seen[:4], constant(_HAND_LOW, seen), constant(_HAND_HIGH, seen)))
    return namespace(seen).concatenate([hand, seen[4:]])


def _position(task: SawyerTask, seen: Object, features: Vector) -> Vector:
    position = features[task.places[seen.position]]
    if seen.knob is not None:
        xp, angle = namespace(features), features[task.places[seen.knob]][0]
        return position + stack(xp.sin(angle), -xp.cos(angle), filled(angle, 0.0)) * 0.05
    return position + constant(seen.offset, features) if any(seen.offset) else position


def _rotation(task: SawyerTask, seen: Object, features: Vector) -> Vector:
    if not isinstance(seen.rotation, Feature):
        shape = (4, *features.shape[1:])
        return namespace(features).broadcast_to(constant(seen.rotation, features), shape)
    rotation = features[task.places[seen.rotation]]
    return quaternion(rotation) if seen.rotation.field == "xmat" else rotation


def quaternion(matrix: Vector) -> Vector:
    """Return quaternions x y z w of rotation matrices, ``[9, ..., worlds] -> [4, ..., worlds]``.

    Matrices are row by row. The largest of the four numbers is positive (Markley 2008,
    https://doi.org/10.2514/1.31730), as in SciPy and so in Meta-World.
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = (matrix[i] for i in range(9))
    trace = xx + yy + zz
    by_x = stack(1.0 - trace + 2.0 * xx, yx + xy, zx + xz, zy - yz)
    by_y = stack(yx + xy, 1.0 - trace + 2.0 * yy, zy + yz, xz - zx)
    by_z = stack(zx + xz, zy + yz, 1.0 - trace + 2.0 * zz, yx - xy)
    by_w = stack(zy - yz, xz - zx, yx - xy, 1.0 + trace)
    choose = namespace(matrix).where
    largest = choose(yy > xx, by_y, by_x)
    largest = choose((zz > xx) & (zz > yy), by_z, largest)
    largest = choose((trace > xx) & (trace > yy) & (trace > zz), by_w, largest)
    x, y, z, w = (largest[i] for i in range(4))
    return largest / namespace(matrix).sqrt(x * x + y * y + z * z + w * w)
