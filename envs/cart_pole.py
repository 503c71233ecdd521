"""Balancing poles that have not been balanced before: Gymnasium's CartPole with other poles and motors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from metarl.config import SuiteConfig
from metarl.envs.gymnasium_tasks import ProcessTasks, from_gymnasium
from metarl.envs.poles import TEST, TRAIN, change_pole, poles
from metarl.errors import require


@dataclass(frozen=True, kw_only=True)
class CartPoleConfig(SuiteConfig):
    """CartPole with changed poles: other lengths, masses and motors, held-out ones outside the ranges."""

    kind: ClassVar[str] = "cart-pole"

    horizon: int = 200
    """Steps of an episode."""
    reversed_motor: bool = True
    """Let the motor pull the other way in half of the tasks, so that acting blindly fails in half of them."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(1 <= self.horizon <= 1_000_000, "horizon must lie in 1..1000000", self.horizon)

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
