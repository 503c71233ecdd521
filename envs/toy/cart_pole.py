"""Gymnasium's CartPole with new poles and motors to balance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

from metarl.config import SuiteConfig
from metarl.envs.custom.from_gymnasium import ProcessTasks, from_gymnasium
from metarl.settings import Horizon

Ranges: TypeAlias = dict[str, tuple[float, float]]

Pole: TypeAlias = dict[str, float]

# metres, kilograms and newtons; Gymnasium's own numbers are 0.5, 0.1 and 10
TRAIN: Ranges = {"half_length": (0.3, 1.0), "mass": (0.05, 0.3), "force": (6.0, 12.0)}

# of held-out tasks, beyond everything trained on
TEST: Ranges = {"half_length": (1.0, 1.5), "mass": (0.3, 0.5), "force": (12.0, 16.0)}


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


@dataclass(frozen=True, kw_only=True)
class CartPoleConfig(SuiteConfig):
    """CartPole with other poles and motors; held-out ones are outside the training ranges."""

    kind: ClassVar[str] = "cart-pole"
    horizon: Horizon = 200
    """Steps of an episode."""
    reversed_motor: bool = True
    """Let the motor pull backwards in half the tasks, so that acting blindly fails in them."""

    def build(self) -> ProcessTasks:
        """Return the task distribution."""
        return from_gymnasium(
            "CartPole-v1",
            sample=poles(TRAIN, self.reversed_motor),
            test_sample=poles(TEST, self.reversed_motor),
            apply=change_pole,
            horizon=self.horizon,
            name="cart-pole",
        )
