"""Slide a puck over the table: forward, sideways or back."""

from __future__ import annotations

from metarl.envs.engines.arrays import Array, norm, where
from metarl.envs.metaworld.rewards.features import geom, matrix
from metarl.envs.metaworld.rewards.task import Object, Outcome, SawyerTask, Worlds
from metarl.envs.metaworld.rewards.tolerance import close, hamacher


def _rewards(w: Worlds, slack: float) -> tuple[Array, Array]:
    """Return the rewards for reaching the puck and for moving it to the target."""
    grasped = close(w.tcp_to_obj, 0.05, norm(w.init_tcp - w.obj_init) - slack)
    return grasped, close(w.obj_to_target, 0.05, norm(w.obj_init - w.target) - slack)


def _outcome(w: Worlds, reward: Array, grasped: Array, in_place: Array) -> Outcome:
    reward = where(w.obj_to_target < 0.05, 10.0, reward)
    done, near = w.obj_to_target <= 0.07, w.tcp_to_obj <= 0.03
    return Outcome(reward, done, near, 0.0, grasped, in_place, w.obj_to_target)


def plate_slide(w: Worlds) -> Outcome:
    """Push the puck forward."""
    grasped, in_place = _rewards(w, slack=0.0)
    return _outcome(w, 8.0 * hamacher(grasped, in_place), grasped, in_place)


def plate_slide_low(w: Worlds) -> Outcome:
    """Slide the puck, hooked from above by fingers on the table."""
    grasped, in_place = _rewards(w, slack=0.05)
    hooked = (w.tcp[2] <= 0.03) & (w.tcp_to_obj < 0.07)
    return _outcome(w, where(hooked, 2.0 + 7.0 * in_place, 1.5 * grasped), grasped, in_place)


_PUCK = Object(geom("puck"), matrix("geom", "puck"))
_LOW = SawyerTask(objects=(_PUCK,), reward=plate_slide_low)

TASKS = {
    "plate-slide-v3": SawyerTask(objects=(_PUCK,), reward=plate_slide),
    "plate-slide-side-v3": _LOW,
    "plate-slide-back-v3": _LOW,
    "plate-slide-back-side-v3": _LOW,
}
