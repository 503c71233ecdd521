"""Doors to swing, a drawer to open, a lever to pull, a lid to put on."""

from __future__ import annotations

import math

from metarl.envs.engines.arrays import Array, Vector, norm, where
from metarl.envs.metaworld.rewards.features import body, geom, joint, matrix, quat, site
from metarl.envs.metaworld.rewards.gripper import effort
from metarl.envs.metaworld.rewards.task import Object, Outcome, SawyerTask, Worlds
from metarl.envs.metaworld.rewards.tolerance import above, between, close, funnel, gaussian, hamacher, turned


def door_open(w: Worlds) -> Outcome:
    """Swing the door open by its handle, reached from above."""
    door = w.obj + w.offset(-0.05, 0.0, 0.0)
    # ready: the hand is over a floor around the handle, and near it
    floor = funnel(norm((w.hand - door)[:2]), 0.12, 0.04, 0.4)
    near = close(norm(w.hand - door - w.offset(0.05, 0.03, -0.01)), 0.12 / 2.0, 0.5)
    ready = hamacher(above(floor, w.hand[2], floor / 2.0), near)
    # opened: 1 from 91 to 120 degrees, of which 0.2 is for having left the frame
    angle = -w.read(joint("doorjoint"))[0]
    swung = 0.8 * between(math.pi / 2.0 + math.pi / 6 - angle, 0.0, 0.5, math.pi / 3.0)
    opened = where(angle > math.pi / 90.0, 0.2 + swung, swung)
    # r = 2 H(ready, grab) + 8 opened, and 10 once the door is open
    grab = effort(w)
    done = abs(w.obj[0] - w.target[0]) <= 0.08
    reward = where(done, 10.0, 2.0 * hamacher(ready, grab) + 8.0 * opened)
    return Outcome(reward, done, ready, grab >= 0.5, grab, opened, 0.0)


def door_close(w: Worlds) -> Outcome:
    """Push the door shut."""
    in_place = gaussian(w.obj_to_target, 0.05, norm(w.obj_init - w.target))
    # Quirk, kept: in_place_reward is that of the hand.
    hand = gaussian(norm(w.tcp - w.target), 0.25 * 0.05, norm(w.fixed("hand_init_pos") - w.obj) + 0.1)
    reward = where(w.obj_to_target < 0.05, 10.0, 3.0 * hand + 6.0 * in_place)
    return Outcome(reward, w.obj_to_target <= 0.08, 0.0, 1.0, 1.0, hand, w.obj_to_target)


def _shoulder(w: Worlds, to: Vector, start: Vector, scale: tuple[float, float, float]) -> tuple[Array, Array]:
    """Return the distance of the gripper's shoulder to a point, and the reward for nearness."""
    offset, stretch = w.offset(0.0, 0.055, 0.07), w.offset(*scale)
    distance = norm((w.hand + offset - to) * stretch)
    return distance, close(distance, 0.02, norm((w.init_tcp + offset - start) * stretch))


def door_unlock(w: Worlds) -> Outcome:
    """Push the lock with the gripper's shoulder."""
    distance, ready = _shoulder(w, w.obj, w.obj_init, (0.25, 1.0, 0.5))
    left = abs(w.target[0] - w.obj[0])
    pushed = close(left, 0.005, 0.1)
    reward = 2.0 * ready + 8.0 * pushed
    return Outcome(reward, left <= 0.02, distance <= 0.05, w.opened > 0, ready, pushed, left)


def lever_pull(w: Worlds) -> Outcome:
    """Lift the lever with the gripper's shoulder until it stands up."""
    start = w.fixed("lever_pos_init")
    distance, ready = _shoulder(w, w.obj, start, (4.0, 1.0, 4.0))
    error = abs(-w.read(joint("LeverAxis"))[0] - math.pi / 2.0)
    engaged = close(error, math.pi / 48.0, math.pi / 2.0 - math.pi / 12.0)
    in_place = close(w.obj_to_target, 0.04, norm(start - w.target))
    reward = 10.0 * hamacher(ready, in_place)
    return Outcome(reward, error <= math.pi / 24, distance < 0.03, ready > 0.9, ready, engaged, distance)


def drawer_open(w: Worlds) -> Outcome:
    """Pull the drawer out by 20 cm, with the hand around its handle."""
    opening = close(w.obj_to_target, 0.02, 0.2)
    scale = w.offset(3.0, 3.0, 1.0)
    start = w.target + w.offset(0.0, 0.2, 0.0)
    caging = close(norm((w.obj - w.hand) * scale), 0.01, norm((start - w.init_tcp) * scale))
    near = norm(w.obj - w.hand) <= 0.03
    reward = (caging + opening) * 5.0
    return Outcome(reward, w.obj_to_target <= 0.03, near, w.opened > 0, caging, opening, w.obj_to_target)


def box_close(w: Worlds) -> Outcome:
    """Grasp the lid from above, lift it and put it on the box."""
    lid = w.obj + w.offset(0.0, 0.0, 0.02)
    # ready: the hand is over a floor around the lid, and near it
    floor = funnel(norm((w.hand - lid)[:2]), 0.02, 0.04, 0.4)
    ready = hamacher(above(floor, w.hand[2], floor / 2.0), close(norm(w.hand - lid), 0.02, 0.5))
    # lifted: 0.2 for leaving the table, the rest for nearness to the box
    placed = 0.8 * close(norm((w.target - lid) * w.offset(1.0, 1.0, 3.0)), 0.05, 0.25)
    lifted = where(lid[2] > 0.04, 0.2 + placed, placed)
    # r = 2 H(grab, ready) + 8 lifted, less where the lid is turned
    grab = effort(w)
    done = w.obj_to_target < 0.08
    reward = where(done, 10.0, 2.0 * hamacher(grab, ready) + 8.0 * lifted)
    reward = reward * turned(w.quaternion, (0.707, 0.0, 0.0, 0.707), 0.2)
    return Outcome(reward, done, ready, grab >= 0.5, grab, lifted, 0.0)


_DOOR = Object(geom("handle"), matrix("geom", "handle"))
_LOCK = Object(site("lockStartUnlock"), quat("door_link"))
_LEVER = Object(site("leverStart"), matrix("geom", "objGeom"))
_DRAWER = Object(body("drawer_link"), quat("drawer_link"), offset=(0.0, -0.16, 0.0))
_LID = Object(body("top_link"), quat("top_link"))
_LOCKED = {"obj_init_pos": body("lock_link")}

TASKS = {
    "door-open-v3": SawyerTask(objects=(_DOOR,), reads=(joint("doorjoint"),), reward=door_open),
    "door-close-v3": SawyerTask(objects=(_DOOR,), constants=("hand_init_pos",), reward=door_close),
    "door-unlock-v3": SawyerTask(objects=(_LOCK,), live=_LOCKED, reward=door_unlock),
    "lever-pull-v3": SawyerTask(
        objects=(_LEVER,), reads=(joint("LeverAxis"),), constants=("lever_pos_init",), reward=lever_pull
    ),
    "drawer-open-v3": SawyerTask(objects=(_DRAWER,), reward=drawer_open),
    "box-close-v3": SawyerTask(objects=(_LID,), reward=box_close),
}
