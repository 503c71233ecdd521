"""CartPole's poles and motors: what they range over, and how an environment is given one.

Apart from the suite's config, for workers import this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

Ranges: TypeAlias = dict[str, tuple[float, float]]
Pole: TypeAlias = dict[str, float]

TRAIN: Ranges = {"half_length": (0.3, 1.0), "mass": (0.05, 0.3), "force": (6.0, 12.0)}
"""Metres, kilograms and newtons; Gymnasium's own are 0.5, 0.1 and 10."""
TEST: Ranges = {"half_length": (1.0, 1.5), "mass": (0.3, 0.5), "force": (12.0, 16.0)}
"""Of tasks that lie beyond everything trained on."""


def poles(ranges: Ranges, reversed_motor: bool) -> Callable[[np.random.Generator], Pole]:
    """Return a sampler of poles, uniform in ranges; a negative force is a motor that pulls the other way."""

    def sample(rng: np.random.Generator) -> Pole:
        pole = {name: rng.uniform(low, high) for name, (low, high) in ranges.items()}
        if reversed_motor and rng.random() < 0.5:
            pole["force"] = -pole["force"]
        return pole

    return sample


def change_pole(env: CartPoleEnv, pole: Pole) -> None:
    """Give CartPole another pole and motor, and all that it computes from them once."""
    env.length, env.masspole, env.force_mag = pole["half_length"], pole["mass"], pole["force"]
    env.total_mass = env.masscart + env.masspole
    env.polemass_length = env.masspole * env.length
