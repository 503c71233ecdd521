"""CartPole's poles and motors: drawn from ranges, and put into Gymnasium's environment.

Worker processes import this, and nothing of a config, which would bring PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

Ranges: TypeAlias = dict[str, tuple[float, float]]

Pole: TypeAlias = dict[str, float]
"""Half length in metres, mass in kilograms, force in newtons; Gymnasium's own are 0.5, 0.1 and 10."""


def poles(ranges: Ranges, reversed_motor: bool) -> Callable[[np.random.Generator], Pole]:
    """Return a uniform sampler of poles; a negative force is reversed."""

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
