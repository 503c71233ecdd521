"""Reach a point, past a wall or not."""

from __future__ import annotations

from metarl.envs.engines.arrays import norm
from metarl.envs.metaworld.rewards.features import body, matrix
from metarl.envs.metaworld.rewards.task import Object, Outcome, SawyerTask, Worlds
from metarl.envs.metaworld.rewards.tolerance import close

PUCK = Object(body("obj"), matrix("geom", "objGeom"))


def reach(w: Worlds) -> Outcome:
    """Reach the target."""
    # Quirk, kept: near_object and grasp_reward are the distance to the target.
    distance = norm(w.tcp - w.target)
    in_place = close(distance, 0.05, norm(w.fixed("hand_init_pos") - w.target))
    return Outcome(10.0 * in_place, distance <= 0.05, distance, 1.0, distance, in_place, distance)


def reach_wall(w: Worlds) -> Outcome:
    """As :func:`reach`; only the info values differ."""
    plain = reach(w)
    return Outcome(plain.reward, plain.success, 0.0, 0.0, 0.0, plain.in_place_reward, plain.obj_to_target)


TASKS = {
    "reach-v3": SawyerTask(objects=(PUCK,), reward=reach, constants=("hand_init_pos",)),
    "reach-wall-v3": SawyerTask(objects=(PUCK,), reward=reach_wall, constants=("hand_init_pos",)),
}
