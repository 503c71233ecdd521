"""Sweep, kick or drag without lifting."""

from __future__ import annotations

from metarl.envs.engines.arrays import Array, clip, filled, norm, stack, where
from metarl.envs.metaworld.rewards.features import body, geom, matrix, quat
from metarl.envs.metaworld.rewards.gripper import carried, pinch
from metarl.envs.metaworld.rewards.reach import PUCK
from metarl.envs.metaworld.rewards.task import Object, Outcome, SawyerTask, Worlds
from metarl.envs.metaworld.rewards.tolerance import close, hamacher


def sweep(w: Worlds) -> Outcome:
    """Sweep the puck off the table."""
    grasped = pinch(w, radius=0.02, slack=0.01, xz=0.005)
    return _sweep(w, w.obj_to_target, norm(w.obj_init - w.target), grasped)


def sweep_into(w: Worlds) -> Outcome:
    """Sweep the puck into the hole; its depth does not count."""
    target = stack(filled(w.obj[0], w.target[0]), filled(w.obj[1], w.target[1]), w.obj[2])
    grasped = pinch(w, radius=0.02, slack=0.005, xz=0.01)
    return _sweep(w, norm(w.obj - target), norm(w.obj_init - target), grasped)


def _sweep(w: Worlds, left: Array, start: Array, grasped: Array) -> Outcome:
    in_place = close(left, 0.05, start)
    reward = 2.0 * grasped + 6.0 * hamacher(grasped, in_place)
    reward = where(left < 0.05, 10.0, reward)
    return Outcome(reward, left <= 0.05, w.tcp_to_obj <= 0.03, w.gripped(), grasped, in_place, left)


def push_back(w: Worlds) -> Outcome:
    """Drag the puck towards the robot."""
    start = norm(w.obj_init - w.target)
    in_place = close(w.obj_to_target, 0.05, start)
    grasped = pinch(w, radius=0.007, slack=0.003, xz=0.01)
    holding = w.holding(0.01) & (w.opened < 0.55) & (start - w.obj_to_target > 0.01)
    reward = carried(grasped, in_place, holding, 5.0 * in_place, w.obj_to_target < 0.05)
    done, near = w.obj_to_target <= 0.07, w.tcp_to_obj <= 0.03
    return Outcome(reward, done, near, w.gripped(0.02), grasped, in_place, w.obj_to_target)


def soccer(w: Worlds) -> Outcome:
    """Kick the ball into the goal, not past its side."""
    scale = w.offset(3.0, 1.0, 1.0)
    left = norm((w.obj - w.target) * scale)
    # Quirk, kept: the margin is how far the ball has come, not how far it was at the reset.
    in_place = close(left, 0.07, norm((w.obj - w.obj_init) * scale))
    # behind the goal's line, but beside the goal
    line = w.target[1] - 0.1
    missed = (w.obj[1] > line) & (abs(w.obj[0] - w.target[0]) > 0.1)
    behind = 2.0 * ((w.obj[1] - line) / (1.0 - line))
    in_place = where(missed, clip(in_place - behind, 0.0, 1.0), in_place)
    # r = 3 grasped + 6.5 in_place, and 10 on arrival
    grasped = pinch(w, radius=0.013, slack=0.01, xz=0.005)
    reward = where(left < 0.07, 10.0, 3.0 * grasped + 6.5 * in_place)
    done, near = w.obj_to_target <= 0.07, w.tcp_to_obj <= 0.03
    return Outcome(reward, done, near, w.gripped(0.02), grasped, in_place, w.obj_to_target)


_BALL = Object(body("soccer_ball"), matrix("body", "soccer_ball"))

TASKS = {
    "sweep-v3": SawyerTask(objects=(Object(body("obj"), quat("obj")),), grip="objGeom", reward=sweep),
    "sweep-into-v3": SawyerTask(objects=(PUCK,), grip="objGeom", reward=sweep_into),
    "push-back-v3": SawyerTask(
        objects=(Object(geom("objGeom"), matrix("geom", "objGeom")),), grip="objGeom", reward=push_back
    ),
    "soccer-v3": SawyerTask(objects=(_BALL,), grip="objGeom", reward=soccer),
}
