"""Original rewards ("v1") of tasks that pick something up and place or use it.

    reward = approach + 100 * (height, up to the height to lift to) + [lifted and held] * payoff(way left)

"Picked" and "placed" are judged anew at each step. Meta-World also asks whether the object was dropped, which
needs it within 5 mm of its start; lifted is at least 3 cm above, so that is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from metarl.envs.engines.arrays import Array, Mask, clip, norm, where
from metarl.envs.metaworld.rewards.features import body, geom, joint, site
from metarl.envs.metaworld.rewards.rewards_v1_moving import NEAR, SOFT, approach, moved, payoff, squeeze
from metarl.envs.metaworld.rewards.task import Outcome, Worlds
from metarl.envs.metaworld.rewards.tools import stick_is_inserted

HELD = 0.1  # the object counts as held within this finger distance, metres
_SHARP = (0.001, 0.0001)


def _lifted(w: Worlds, z: Array) -> Mask:
    """Return where height ``z`` is the height to lift to, or at most 1 cm below."""
    return z >= w.fixed("heightTarget")[0] - 0.01


def _lift(w: Worlds, z: Array, rest: Array, picked: Mask, held: Mask, less: Array | float = 0.0) -> Array:
    """Return 100 times the height of a held object, or of the top once it is picked."""
    top = w.fixed("heightTarget")[0]
    rising = where(held & (z > rest + 0.005), 100.0 * (where(z < top, z, top) - less), 0.0)
    return where(picked, 100.0 * (top - less), rising)


def _done(reward: Array, success: Mask) -> Outcome:
    return Outcome(reward, success, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Carry:
    """Pick the object up from above and carry it to the target."""

    done: float  # the distance that may be left, metres
    in_hole: bool = False  # whether lifting pays from 2 cm below the object's start, not from the table

    def __call__(self, w: Worlds) -> Outcome:
        """Return the rewards of a step."""
        return moved(_carried(w, approach(w), w.obj_to_target, self.in_hole), w.obj_to_target, self.done)


def _carried(w: Worlds, coming: Array, left: Array, in_hole: bool = False) -> Array:
    rest = w.fixed("objHeight")[0]
    picked, held = _lifted(w, w.obj[2]), w.tcp_to_obj < HELD
    lift = _lift(w, w.obj[2], rest, picked, held, less=rest - 0.02 if in_hole else 0.0)
    pay = clip(payoff(left, w.fixed("maxPlacingDist")[0]), 0.0, None)
    return coming + lift + where(picked & held, pay, 0.0)


def box_close(w: Worlds) -> Outcome:
    """Put the lid on the box."""
    return _done(_carried(w, approach(w), w.obj_to_target), w.obj_to_target < 0.08)


def peg_insert(w: Worlds) -> Outcome:
    """Bring the peg's head to the hole, then the peg itself."""
    head = norm(w.read(site("pegHead")) - w.target)
    left = where(head <= 0.05, w.obj_to_target, head)
    return moved(_carried(w, approach(w, sink=1.0), left), w.obj_to_target, 0.07)


def bin_picking(w: Worlds) -> Outcome:
    """Carry the block over the other bin and let go; opening the gripper pays 200."""
    rest, z, off = w.fixed("objHeight")[0], w.obj[2], abs(w.obj - w.target)
    over = (off[0] < 0.05) & (off[1] < 0.05)
    left, picked, held = norm((w.obj - w.target)[:2]), _lifted(w, z), w.tcp_to_obj < HELD
    pay = clip(payoff(left, w.fixed("maxPlacingDist")[0]), 0.0, None)
    let_go = w.action[3] * -200.0 + pay
    coming = approach(w, beside=0.06, sink=1.0) + _lift(w, z, rest, picked, held)
    carrying = coming + where(picked & held, where(over, let_go, pay), 0.0)
    reward = where(over & (z < rest + 0.05), let_go, carrying)
    return Outcome(reward, left <= 0.05, 0.0, 0.0, 0.0, 0.0, left)


def assembly(w: Worlds) -> Outcome:
    """Bring a nut over the peg, then down."""
    nut, rest = w.read(body("RoundNut")), w.fixed("obj_height")[0]
    off, down = abs(nut - w.target), abs(nut[2] - rest)
    placed = (off[0] < 0.03) & (off[1] < 0.03)
    picked = placed | (_lifted(w, nut[2]) & (w.tcp_to_obj < 0.03))
    lift = _lift(w, nut[2], rest, picked, w.tcp_to_obj < 0.04)
    over = payoff(norm((nut - w.target)[:2]), w.fixed("maxPlacingDist")[0])
    lowered = payoff(down, w.fixed("heightTarget")[0], (0.003, 0.0003), slope=2000.0, peak=2000.0)
    pay = clip(where(placed, over + lowered, over), 0.0, None)
    reward = approach(w, beside=0.04, near=0.04, sink=1.0) + lift + where(picked, pay, 0.0)
    return _done(reward, placed & (down <= 0.04))


def disassemble(w: Worlds) -> Outcome:
    """Lift the nut off the peg."""
    z, reach = w.obj[2], w.tcp_to_obj
    picked = _lifted(w, z) & (reach < 0.04)
    lift = _lift(w, z, w.fixed("objHeight")[0], picked, reach < 0.04)
    coming = approach(w, beside=0.04, near=0.04) + lift
    aside = abs(w.read(body("RoundNut")) - w.obj_init)  # the peg stands where the nut was
    off = (aside[0] > 0.05) | (aside[1] > 0.05)  # quirk, kept: then the fingers do not matter
    pay = clip(payoff(w.obj_to_target, w.fixed("maxPlacingDist")[0]), 0.0, None)
    reward = where(off, w.fixed("heightTarget")[0] * 100.0, coming) + where(picked & (reach < 0.03), pay, 0.0)
    return _done(reward, z > w.target[2])


def _grasping(w: Worlds) -> Array:
    """Return the reward for reaching a tool, from any direction."""
    return where(w.tcp_to_obj < NEAR, squeeze(w) - w.tcp_to_obj, -w.tcp_to_obj)


def hammer(w: Worlds) -> Outcome:
    """Bring the hammer's head to the nail, then drive it in."""
    nail = w.read(site("nailHead"))
    left = norm(nail - w.read(geom("HammerHead"))) + abs(nail[1] - w.target[1])
    picked, held = _lifted(w, w.obj[2]), w.tcp_to_obj < HELD
    lift = _lift(w, w.obj[2], w.fixed("hammerHeight")[0], picked, held)
    pay = clip(payoff(left, w.fixed("maxHammerDist")[0]), 0.0, None)
    reward = _grasping(w) + lift + where(picked & held, pay, 0.0)
    return _done(reward, w.read(joint("NailSlideJoint"))[0] > 0.09)


def stick_push(w: Worlds) -> Outcome:
    """Push a thermos with a stick."""
    reward, left = _with_stick(w, "maxPushDist", _SHARP)
    return moved(reward, left, done=-1.0)  # quirk, kept: success is never reported


def stick_pull(w: Worlds) -> Outcome:
    """As :func:`stick_push`, and pull."""
    reward, left = _with_stick(w, "maxPullDist", SOFT)
    done = (norm(w.second_obj - w.target) <= 0.12) & stick_is_inserted(w)
    return Outcome(reward, done, 1.0, 0.0, 0.0, 0.0, left)


def _with_stick(w: Worlds, most: str, widths: tuple[float, float]) -> tuple[Array, Array]:
    # Quirk, kept: the thermos is read from the stick's height and two numbers of its rotation.
    thermos, stick = w.obs[6:9], w.obj
    left, apart = norm(thermos[:2] - w.target[:2]), norm(thermos - stick)
    picked, held = _lifted(w, stick[2]), w.tcp_to_obj < HELD
    lift = _lift(w, stick[2], w.fixed("stickHeight")[0], picked, held)
    joined = payoff(apart, w.fixed("maxPlaceDist")[0])
    both = joined + payoff(left, w.fixed(most)[0], widths, peak=2000.0)
    pay = clip(where(apart < NEAR, both, joined), 0.0, None)
    return _grasping(w) + lift + where(picked & held, pay, 0.0), left
