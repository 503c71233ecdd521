"""Push along one axis: five buttons and a door lock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from metarl.envs.engines.arrays import Array, clip, norm, where
from metarl.envs.metaworld.rewards.features import body, quat, site
from metarl.envs.metaworld.rewards.task import Object, Outcome, SawyerTask, Worlds
from metarl.envs.metaworld.rewards.tolerance import close, hamacher

Y, Z = 1, 2


def _near(w: Worlds, radius: float) -> Array:
    # Quirk, kept: the margin is from where the hand was at the reset to where the button is now.
    return close(w.tcp_to_obj, radius, norm(w.obj - w.init_tcp))


def _outcome(w: Worlds, reward: Array, near: Array, pressed: Array, left: Array, done: float) -> Outcome:
    return Outcome(reward, left <= done, w.tcp_to_obj <= 0.05, w.opened > 0, near, pressed, left)


@dataclass(frozen=True, kw_only=True)
class Button:
    """Approach the button, then press it once the fingers are there."""

    axis: int  # pressed along this axis, 1 or 2
    radius: float  # approaching pays in full within it, metres
    within: float  # finger distance from which pressing pays, metres
    weights: tuple[float, float]  # of approaching and pressing
    done: float  # distance that may be left, metres
    closed: bool = False  # whether to approach closed; quirk, kept: else Meta-World's "closed" is open
    depth: float | None = None  # travel of the button, metres; None: as at the reset

    def __call__(self, w: Worlds) -> Outcome:
        """Return the rewards of a step."""
        near = _near(w, self.radius)
        left = abs(w.target[self.axis] - w.obj[self.axis])
        pressed = close(left, 0.005, self.depth or w.fixed("obj_to_target_init")[0])
        shape = 1.0 - w.opened if self.closed else clip(w.opened, 0.0, None)
        reward = self.weights[0] * hamacher(shape, near)
        reward = where(w.tcp_to_obj <= self.within, reward + self.weights[1] * pressed, reward)
        return _outcome(w, reward, near, pressed, left, self.done)


def button_wall(w: Worlds) -> Outcome:
    """Approach closed over the wall, then press."""
    near = _near(w, 0.01)
    left = abs(w.target[Y] - w.obj[Y])
    pressed = close(left, 0.005, w.fixed("obj_to_target_init")[0])
    approach = 2.0 * hamacher((1.0 - w.opened) / 2.0, near)
    # Quirk, kept: opening pays here as well as pressing.
    pressing = 2.0 + 2.0 * (1.0 + w.opened) + 4.0 * (pressed * pressed)
    return _outcome(w, where(w.tcp_to_obj > 0.07, approach, pressing), near, pressed, left, 0.03)


def door_lock(w: Worlds) -> Outcome:
    """Push the lock down by the left pad."""
    pad_to_lock = norm((w.obj - w.read(body("leftpad"))) * w.offset(0.25, 1.0, 0.5))
    # Quirk, kept: the margin is from the pad now, not at the reset.
    near = close(pad_to_lock, 0.01, pad_to_lock)
    left = abs(w.target[Z] - w.obj[Z])
    pressed = close(left, 0.005, 0.1)
    reward = 2.0 * hamacher(clip(w.opened, 0.0, None), near) + 8.0 * pressed
    return Outcome(reward, left <= 0.02, pad_to_lock <= 0.05, w.opened > 0, near, pressed, left)


_FRONT = Object(body("button"), quat("button"), offset=(0.0, -0.193, 0.0))
_TOP = Object(body("button"), quat("button"), offset=(0.0, 0.0, 0.193))
_COFFEE = Object(site("buttonStart"), (1.0, 0.0, 0.0, 0.0))
_LOCK = Object(site("lockStartLock"), quat("door_link"))
_DEPTH = ("obj_to_target_init",)
_LEVEL = Button(axis=Y, radius=0.05, within=0.05, weights=(2.0, 8.0), done=0.02)
_DOWN_WALL = Button(axis=Z, radius=0.01, within=0.03, weights=(5.0, 5.0), done=0.024)
_DOWN = replace(_DOWN_WALL, closed=True)

TASKS = {
    "button-press-v3": SawyerTask(objects=(_FRONT,), constants=_DEPTH, reward=_LEVEL),
    "button-press-wall-v3": SawyerTask(objects=(_FRONT,), constants=_DEPTH, reward=button_wall),
    "button-press-topdown-v3": SawyerTask(objects=(_TOP,), constants=_DEPTH, reward=_DOWN),
    "button-press-topdown-wall-v3": SawyerTask(objects=(_TOP,), constants=_DEPTH, reward=_DOWN_WALL),
    "coffee-button-v3": SawyerTask(objects=(_COFFEE,), reward=replace(_LEVEL, depth=0.03)),
    "door-lock-v3": SawyerTask(objects=(_LOCK,), live={"obj_init_pos": body("lock_link")}, reward=door_lock),
}
