"""Worlds of one or two steps with known answers, which an agent that is right solves in seconds.

An observation is a sign that the reset draws; an action is one number, meant to lie within ±2.

    state     one step: reward ``-(a - o / 2)^2 + 3 o``. What a state is worth must not be taken for what an
              action is worth; the best action is half the sign that is seen, for every task alike.
    delay     two steps: the second is rewarded with ``-(a_1 - 1)^2``, the first with nothing. The credit must
              go back a step; the best first action is 1.
    hidden    one step: reward ``-(a - g)^2`` with g = ±1 the task's. Before it has adapted no policy can know
              g; an inner step must go the right way on each task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.tasks import Split
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

Flags: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Probe:
    """One of the worlds, as a suite."""

    name: str
    reports_success: bool = False

    @property
    def horizon(self) -> int:
        return 2 if self.name == "delay" else 1

    @property
    def observation_space(self) -> Box:
        return Box(-1.0, 1.0, (1,), np.float64)

    @property
    def action_space(self) -> Box:
        return Box(-2.0, 2.0, (1,), np.float64)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return tuple(Task(self.name, (sign,), f"{split}/{sign}") for sign in (1.0, -1.0))

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return [self.tasks(split)[index % 2] for index in range(num_tasks)]

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> ProbeEnv:
        return ProbeEnv(self, num_envs)


class ProbeEnv(TaskVectorEnv):
    """Every slot of a probe in a few lines of arithmetic."""

    def __init__(self, probe: Probe, num_envs: int) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs, self.probe = num_envs, probe
        self.single_observation_space, self.single_action_space = probe.observation_space, probe.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.set_tasks([probe.tasks("train")[0]] * num_envs)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        self.hidden = np.array([task.parameters[0] for task in tasks] + [0.0] * (self.num_envs - len(tasks)))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, Flags]]:
        assert isinstance(seed, Sequence)
        self.seen = np.array([1.0 if (one or 0) % 2 else -1.0 for one in seed])
        self.count, self.first = 0, np.zeros(self.num_envs)
        return self.seen[:, None].copy(), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        self.count += 1
        never, over = (
            np.zeros(self.num_envs, np.bool_),
            np.full(self.num_envs, self.count == self.probe.horizon),
        )
        return self.seen[:, None].copy(), self._rewards(actions[:, 0]), never, over, {}

    def _rewards(self, actions: Array) -> Array:
        if self.probe.name == "state":
            return -((actions - self.seen / 2) ** 2) + 3 * self.seen
        if self.probe.name == "hidden":
            return -((actions - self.hidden) ** 2)
        before, self.first = self.first, actions
        return np.zeros(self.num_envs) if self.count == 1 else -((before - 1) ** 2)
