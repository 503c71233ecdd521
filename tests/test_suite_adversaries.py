"""The checker against suites that try to fool it: none passes or fails that should not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from adversarial_suites import (
    Armed,
    Biased,
    Bouncing,
    Button,
    Cued,
    Drifting,
    Echoing,
    Falling,
    Fogged,
    Fuelled,
    Gauged,
    Geared,
    Heavy,
    Hunting,
    Lifted,
    Limited,
    Misread,
    Paced,
    Placed,
    Rewarded,
    Settled,
    Shaken,
    Signposted,
    Sparse,
    Touching,
    Unread,
    Walk,
    Windy,
    WrappedGoal,
    angles,
    families,
    goal_and_mass,
    goals,
    leak,
    listed,
    suite,
)
from metarl.envs.gymnasium_tasks import ProcessTasks
from metarl.suite_check import examine


def toward(walk: Walk) -> object:
    return walk.goal - walk.place


LEAKS: dict[str, Callable[[], ProcessTasks]] = {
    "shown": lambda: suite(leak(2, lambda walk: walk.goal)),
    "scaled and shifted": lambda: suite(leak(2, lambda walk: 0.01 * np.asarray(walk.goal) + 7)),
    "negative": lambda: suite(leak(2, lambda walk: -np.asarray(walk.goal))),
    "rounded": lambda: suite(leak(2, lambda walk: np.round(walk.goal, 1))),
    "in single precision": lambda: suite(leak(2, lambda walk: np.asarray(walk.goal, np.float32))),
    "after the first step": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps else np.zeros(2))),
    "late": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps > 20 else np.zeros(2))),
    "in the last observation": lambda: suite(
        leak(2, lambda walk: walk.goal if walk.steps == 24 else np.zeros(2))
    ),
    "in a flash": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps == 7 else np.zeros(2))),
    "now and then": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps % 5 == 4 else np.zeros(2))),
    "goal minus position": lambda: suite(leak(2, toward)),
    "goal minus position, late": lambda: suite(
        leak(2, lambda walk: toward(walk) if walk.steps > 3 else np.zeros(2))
    ),
    "goal minus position, rounded": lambda: suite(leak(2, lambda walk: np.round(toward(walk), 1))),
    "distance": lambda: suite(leak(1, lambda walk: np.linalg.norm(toward(walk)))),
    "distance squared": lambda: suite(leak(1, lambda walk: np.square(toward(walk)).sum())),
    "distance, late": lambda: suite(
        leak(1, lambda walk: np.linalg.norm(toward(walk)) if walk.steps else 0.0)
    ),
    "in place of the position": lambda: suite(Hunting),
    "sine and cosine of an angle": lambda: suite(
        leak(2, lambda walk: [np.sin(walk.angle), np.cos(walk.angle)]), angles
    ),
    "sine of half an angle": lambda: suite(leak(1, lambda walk: np.sin(walk.angle / 2)), angles),
    "hidden in an entry": lambda: suite(Fogged),
    "with the noise of the seed": lambda: suite(Shaken),
    "index of a listed task": lambda: listed(leak(1, lambda walk: walk.index)),
    "one-hot of a listed task": lambda: listed(leak(6, lambda walk: np.eye(6)[walk.index])),
    "sum of two goals' entries": lambda: suite(leak(1, lambda walk: np.sum(walk.goal))),
    "of dynamics": lambda: suite(Heavy.showing(lambda walk: walk.mass), masses := _masses),
    "of dynamics, late": lambda: suite(
        Heavy.showing(lambda walk: walk.mass if walk.steps > 5 else 0.0), _masses
    ),
    "goal minus position under changed dynamics": lambda: suite(Heavy.showing(toward, 2), goal_and_mass),
}
