"""Two doors, of which one pays: in the first episode a policy can only guess, then it can remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.tasks import Split, sample_evenly
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

Flags = npt.NDArray[np.bool_]

TRAIN = tuple(
    Task("doors", (side, float(place)), f"train/{side:+.0f}/{place}")
    for side in (-1.0, 1.0)
    for place in range(4)
)
TEST = tuple(
    Task("doors", (side, float(place)), f"test/{side:+.0f}/{place}")
    for side in (-1.0, 1.0)
    for place in range(4, 8)
)


@dataclass(frozen=True)
class TwoDoors:
    """Tasks that differ in which door pays; nothing that is observed shows which."""

    name: str = "two-doors"
    horizon: int = 2
    """The first step is for looking round: it pays nothing."""
    reports_success: bool = True

    @property
    def observation_space(self) -> Box:
        return Box(-1.0, 1.0, (1,), np.float64)

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (1,), np.float64)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return TRAIN if split == "train" else TEST

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return sample_evenly(self.tasks(split), num_tasks, rng)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        return TwoDoorsEnv(num_envs, self)


class TwoDoorsEnv(TaskVectorEnv):
    """Pays 1 at the second step for an action on the right side of zero."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012  # Gymnasium's

    def __init__(self, num_envs: int, suite: TwoDoors) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = suite.observation_space, suite.action_space
        self.observation_space = batch_space(suite.observation_space, num_envs)
        self.action_space = batch_space(suite.action_space, num_envs)
        self.set_tasks(TRAIN[: min(num_envs, len(TRAIN))])

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        sides = [task.parameters[0] for task in tasks]
        self.sides = np.array(sides + [0.0] * (self.num_envs - len(sides)))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, Flags]]:
        self.count = 0
        return np.zeros((self.num_envs, 1)), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        self.count += 1
        opens = self.count == 2
        found = (actions[:, 0] * self.sides > 0) & opens
        over = np.full(self.num_envs, opens)
        seen = np.full((self.num_envs, 1), float(opens))
        return seen, found.astype(np.float64), over, np.zeros_like(over), {"success": found}
