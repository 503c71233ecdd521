"""Gymnasium's CartPole with new poles and motors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from metarl.config import SuiteConfig
from metarl.envs.custom.from_gymnasium import ProcessTasks, from_gymnasium
from metarl.envs.toy.poles import Ranges, change_pole, poles
from metarl.settings import Horizon

TRAIN: Ranges = {"half_length": (0.3, 1.0), "mass": (0.05, 0.3), "force": (6.0, 12.0)}

# of held-out tasks, beyond everything trained on
TEST: Ranges = {"half_length": (1.0, 1.5), "mass": (0.3, 0.5), "force": (12.0, 16.0)}


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
