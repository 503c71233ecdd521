"""Rewards for caging and gripping an object, shared by most tasks."""

from __future__ import annotations

from typing import Literal, cast

from metarl.envs.engines.arrays import Array, Mask, Vector, clip, norm, where
from metarl.envs.metaworld.rewards.task import Worlds
from metarl.envs.metaworld.rewards.tolerance import between, close, hamacher


def effort(w: Worlds) -> Array:
    """Return the gripper's action from 0, opening, to 1, closing."""
    return (clip(w.action[3], -1.0, 1.0) + 1.0) / 2.0


def closing(w: Worlds, desired: float = 1.0) -> Array:
    """Return the closing action's share of ``desired``, 0 to 1."""
    return clip(w.action[3], 0.0, desired) / desired


def cage(
    w: Worlds,
    obj: Vector,
    *,
    radius: float,
    pads: float,
    xz: float,
    reach: float = 0.01,
    desired: float = 1.0,
    density: Literal["high", "medium", "low"] = "high",
    start: Vector | None = None,
) -> Array:
    """Return the usual grasp reward, 0 to 1, for an object that is caged and gripped.

    Lengths are metres: the object's ``radius``, than which a pad gets no nearer; the distance of a pad
    (``pads``) and of the hand across the closing axis (``xz``) at which they cage; ``reach``, at which the
    object counts as reached. ``density`` names the term that is averaged with the grip: the caging, the
    reach, or nothing. ``desired`` is the effort of a closed gripper, ``start`` where the object was at the
    reset.
    """
    start = w.obj_init if start is None else start
    # Quirk, kept: the margin is from the pads of now to the object at the reset, so it moves with the hand.
    margin = abs(abs(w.pads_y - start[1]) - pads)
    # a pad cages while its distance from the object is between radius and pads
    sides = cast(Vector, between(abs(w.pads_y - obj[1]), radius, pads, margin))
    caging = hamacher(hamacher(sides[0], sides[1]), _across(w, obj, start, xz))
    # closing pays only once the object is caged
    grip = hamacher(caging, where(caging > 0.97, closing(w, desired), 0.0))
    if density == "high":
        return (grip + caging) / 2.0
    if density == "medium":
        reached = close(norm(obj - w.tcp), reach, abs(norm(start - w.init_tcp) - reach))
        return (grip + reached) / 2.0
    return grip


def cage_between(w: Worlds, radius: Array | float = 0.015) -> Array:
    """Return :func:`cage` of pick-place, where a pad on the wrong side does not cage."""
    caging = hamacher(_between_pads(w, radius, 0.05), _across(w, w.obj, w.obj_init, 0.005))
    grip = hamacher(caging, where(caging > 0.97, closing(w), 0.0))
    return (grip + caging) / 2.0


def pinch(w: Worlds, *, radius: float, slack: float, xz: float) -> Array:
    """Return the sweeping tasks' grasp reward: the pads are within ``slack`` of the object."""
    caging = hamacher(_between_pads(w, radius, 0.05), _across(w, w.obj, w.obj_init, xz))
    # Quirk, kept: the gripper's action does not enter.
    grip = where(caging > 0.95, _between_pads(w, radius, radius + slack), 0.0)
    return (caging + grip) / 2.0


def carried(grasped: Array, in_place: Array, holding: Mask, bonus: Array, arrived: Mask) -> Array:
    """Return grasp and place together, plus a bonus while holding; 10 on arrival."""
    reward = hamacher(grasped, in_place)
    return where(arrived, 10.0, where(holding, reward + (1.0 + bonus), reward))


def _between_pads(w: Worlds, radius: Array | float, reach: float) -> Array:
    """Return how well the left and the right pad surround the object."""
    left, right = w.pads_y[0] - w.obj[1], w.obj[1] - w.pads_y[1]
    # Quirk, kept: the margin is meant to be that of the pads at the reset, but follows the pads of now.
    return hamacher(*(between(side, radius, reach, abs(abs(side) - 0.05)) for side in (left, right)))


def _across(w: Worlds, obj: Vector, start: Vector, xz: float) -> Array:
    """Return the hand's nearness to the object in x and z."""
    return close(norm((w.tcp - obj)[::2]), xz, norm((start - w.init_tcp)[::2]) - xz)
