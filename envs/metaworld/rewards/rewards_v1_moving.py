"""Original rewards ("v1") of tasks that reach, or move something without lifting it.

    reward = -|object - fingers| + [fingers within 5 cm] * max(payoff(way left), 0)

They grow to some 2000, and nothing in them remembers an earlier step. Quirk, kept, of nearly all:
``near_object`` is always 1 and ``grasp_success`` constant, as Meta-World fills in 0 for what they are made
of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from metarl.envs.engines.arrays import Array, Mask, clip, filled, namespace, norm, stack, where
from metarl.envs.metaworld.rewards.features import site
from metarl.envs.metaworld.rewards.task import Outcome, Worlds

NEAR = 0.05  # finger distance from which moving pays, metres
SOFT = (0.01, 0.001)  # widths of a payoff's peaks, square metres
X, Y, Z, XY, XYZ = slice(0, 1), slice(1, 2), slice(2, 3), slice(0, 2), slice(0, 3)


def payoff(
    left: Array, most: Array, widths: tuple[float, float] = SOFT, slope: float = 1000.0, peak: float = 1000.0
) -> Array:
    """Return slope · (most - left) + peak · (exp(-left² / widths₁) + exp(-left² / widths₂)).

    ``left`` is the way left, ``most`` that at the reset, metres; ``widths`` are square metres.
    """
    exp, square = namespace(left).exp, left * left
    return slope * (most - left) + peak * (exp(-square / widths[0]) + exp(-square / widths[1]))


def squeeze(w: Worlds) -> Array:
    """Return the bonus for closing the gripper, up to 0.02."""
    return clip(w.action[3], 0.0, None) / 50.0


def approach(
    w: Worlds, *, beside: float = NEAR, near: float = NEAR, sink: float = 2.0, height: Array | None = None
) -> Array:
    """Return the reward for approaching from above.

    Beside the object the distance in x and y counts, and ``sink`` times how far the fingers are from
    ``height`` (where they were at the reset); over it (within ``beside``) the distance; at it (``near``) also
    the squeeze.
    """
    height = w.init_tcp[2] if height is None else height
    flat = norm((w.obj - w.tcp)[:2])
    coming = where(flat < beside, -w.tcp_to_obj, -flat - sink * abs(w.tcp[2] - height))
    return where(w.tcp_to_obj < near, squeeze(w) - w.tcp_to_obj, coming)


def moved(reward: Array, left: Array, done: float, grasped: float = 0.0) -> Outcome:
    """Return the usual info values: the distance left, and nothing of the fingers."""
    return Outcome(reward, left <= done, 1.0, grasped, 0.0, 0.0, left)


def _paid(w: Worlds, near: Mask, left: Array, most: str) -> Array:
    return where(near, clip(payoff(left, w.fixed(most)[0]), 0.0, None), 0.0)


@dataclass(frozen=True, kw_only=True)
class Move:
    """Come to the object, and bring it to the target."""

    way: slice  # the coordinates that count
    most: str  # Meta-World's name for the way at the reset
    done: float  # the distance that may be left, metres
    widths: tuple[float, float] = SOFT  # of the payoff, square metres
    one_finger: bool = False  # quirk, kept: the left fingertip has to be near, not the middle between the two
    may_lose: bool = False  # quirk, kept: the payoff falls below 0 where the way left has become longer
    grasped: float = 0.0  # the constant value of grasp_success

    def __call__(self, w: Worlds) -> Outcome:
        """Return the rewards of a step."""
        left = norm((w.obj - w.target)[self.way])
        reach = norm(w.obj - w.read(site("leftEndEffector"))) if self.one_finger else w.tcp_to_obj
        pay = payoff(left, w.fixed(self.most)[0], self.widths)
        pay = pay if self.may_lose else clip(pay, 0.0, None)
        return moved(where(reach < NEAR, pay, 0.0) - reach, left, self.done, self.grasped)


def door_open(w: Worlds) -> Outcome:
    """Pull the door open; x alone says whether it is."""
    opened = Move(way=XY, most="maxPullDist", done=0.0)(w)
    done = abs(w.obj[0] - w.target[0]) <= 0.08
    return replace(opened, success=done, near_object=0.0, obj_to_target=0.0)


def door_close(w: Worlds) -> Outcome:
    """Push the door shut."""
    closed = Move(way=XY, most="maxPullDist", done=0.08)(w)
    return replace(closed, near_object=0.0, grasp_success=1.0, grasp_reward=1.0)


def lever_pull(w: Worlds) -> Outcome:
    """Lift the lever."""
    # Quirk, kept: for success a distance in metres is held to be an angle.
    lifted = Move(way=XYZ, most="maxPullDist", done=math.pi / 24)(w)
    return replace(lifted, obj_to_target=0.0)


def coffee_push(w: Worlds) -> Outcome:
    """Push the mug to the machine: reward counts the plane, success all of space."""
    reward = Move(way=XY, most="maxPushDist", done=0.0)(w).reward
    return moved(reward, w.obj_to_target, 0.07)


def coffee_pull(w: Worlds) -> Outcome:
    """Pull the mug away."""
    # Quirk, kept: "beside the mug" is measured from the origin of the world.
    x, y, height = w.obj[0], w.obj[1], filled(w.obj[0], w.init_tcp[2])
    beside, near = norm(stack(x, y, height)), w.tcp_to_obj < NEAR
    over = where(near, 0.1 - w.tcp_to_obj + squeeze(w), 0.1 - w.tcp_to_obj)
    pay = _paid(w, near, norm((w.obj - w.target)[:2]), "maxPullDist")
    return moved(where(beside < NEAR, over, -beside) + pay, w.obj_to_target, 0.07)


def sweep(w: Worlds) -> Outcome:
    """Sweep the puck off the table; once it has fallen, nothing is left."""
    return _swept(w, w.obj[2] < w.obj_init[2] - 0.05)


def sweep_into(w: Worlds) -> Outcome:
    """Sweep the puck into the hole."""
    fallen = w.obj[2] < w.obj_init[2] - 0.05
    # the hole is about where y is between 40 cm and a metre
    return _swept(w, fallen & (w.obj[1] > 0.4) & (w.obj[1] < 1.0))


def _swept(w: Worlds, fallen: Mask) -> Outcome:
    left, reach = (where(fallen, 0.0, way) for way in (norm((w.obj - w.target)[:2]), w.tcp_to_obj))
    return moved(_paid(w, w.tcp_to_obj < NEAR, left, "maxPushDist") - reach, left, 0.05)


def peg_unplug(w: Worlds) -> Outcome:
    """Pull the peg out from above."""
    left = norm((w.obj - w.target)[:2])
    pay = _paid(w, w.tcp_to_obj < NEAR, left, "maxPlacingDist")
    # Quirk, kept: "above" is where the hand was, not its tip.
    return moved(approach(w, height=w.fixed("hand_init_pos")[2]) + pay, left, 0.07)


def hand_insert(w: Worlds) -> Outcome:
    """Put the hand into the hole."""
    flat, depth = norm((w.tcp - w.target)[:2]), abs(w.tcp[2] - w.target[2])
    reward = _paid(w, flat < NEAR, depth, "maxReachDist") - flat
    # Quirk, kept: obj_to_target is that of the reset, and success with it.
    return moved(reward, norm(w.obj_init - w.target), 0.05)


def reach(w: Worlds) -> Outcome:
    """Reach the target."""
    # Quirk, kept: near_object and grasp_reward are the distance to the target.
    left = norm(w.tcp - w.target)
    reward = clip(payoff(left, w.fixed("maxReachDist")[0]), 0.0, None)
    return Outcome(reward, left <= 0.05, left, 1.0, left, 0.0, left)


def reach_wall(w: Worlds) -> Outcome:
    """As :func:`reach`; only the info values differ."""
    return replace(reach(w), near_object=0.0, grasp_success=0.0, grasp_reward=0.0)
