"""Bernoulli bandits: which of k arms pays most?

Source: Duan et al. 2016 (arXiv 1611.02779, section 3.1). A pull is a step, and an episode is a whole trial of
``horizon`` pulls, so an agent with a memory explores and exploits within one episode (``trial_episodes=1``).
Observations are constant: rewards alone tell the arms apart. How well one can do is known:
:mod:`metarl.envs.toy.bandit_optimum`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le
from gymnasium.spaces import Box, Discrete

from metarl.config import SuiteConfig
from metarl.envs.engines.reset_arguments import seeds_of_slots
from metarl.envs.engines.slot_engine import SlotEngine, check_slots
from metarl.errors import MetarlError, require, unknown_name
from metarl.settings import Horizon
from metarl.tasks import Split, check_draw, check_split, sample_evenly
from metarl.types import Task
from metarl.vector_env import Array

Flags: TypeAlias = npt.NDArray[np.bool_]

MAX_ARMS = 100
_LISTED_TASKS = 400
_TRAIN_SEED, _TEST_SEED = 1611, 2779


@dataclass(frozen=True, kw_only=True)
class BanditsConfig(SuiteConfig):
    """Bernoulli bandits, played within one episode (Duan et al. 2016)."""

    kind: ClassVar[str] = "bandits"
    arms: Annotated[int, Ge(2), Le(MAX_ARMS)] = 5
    """Arms of every bandit."""
    horizon: Horizon = 10
    """Pulls of an episode, a whole trial."""

    @property
    def label(self) -> str:
        """Name with the sizes: returns of other sizes cannot be compared."""
        return f"{self.kind}-{self.arms}x{self.horizon}"

    def build(self) -> BanditTasks:
        """Return the task distribution."""
        return BanditTasks(arms=self.arms, horizon=self.horizon)


@dataclass(frozen=True, kw_only=True)
class BanditTasks:
    """Arms' probabilities, independent and uniform in 0..1.

    Training draws fresh bandits; the test split is a fixed list of 400 that training meets with probability
    zero, and a list of 400 others stands for the training split.
    """

    arms: int = 5
    horizon: int = 10
    reports_success: bool = False

    @property
    def name(self) -> str:
        """Name with the sizes, ``"bandits-5x10"``."""
        return f"bandits-{self.arms}x{self.horizon}"

    @property
    def observation_space(self) -> Box:
        """One number that is always 0, ``[1]``."""
        return Box(0.0, 0.0, (1,), np.float64)

    @property
    def action_space(self) -> Discrete:
        """Which arm to pull."""
        return Discrete(self.arms)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """Return the split's fixed list of 400 bandits."""
        check_split(split)
        rng = np.random.default_rng(_TRAIN_SEED if split == "train" else _TEST_SEED)
        return tuple(_draw(_LISTED_TASKS, self.arms, rng, split))

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw fresh training or listed test bandits."""
        check_draw(num_tasks, rng, split)
        if split == "test":
            return sample_evenly(self.tasks("test"), num_tasks, rng)
        return _draw(num_tasks, self.arms, rng, split)

    def make_vector_env(
        self, num_envs: int, *, engine: str = "auto", num_workers: int = 0
    ) -> BanditVectorEnv:
        """Build an environment; raise ``MetarlError`` on engines but "auto" and "tensor"."""
        if engine not in ("auto", "tensor"):
            raise unknown_name("engine of the bandits suite", engine, ("auto", "tensor"))
        return BanditVectorEnv(self, num_envs)


class BanditVectorEnv(SlotEngine):
    """All bandits in plain array arithmetic; the slots run the listed training bandits in turn.

    A slot draws one uniform number a pull from a generator of its own, which its reset's seed starts; the
    pull pays 1 if that number is below the arm's probability, and 0 otherwise.
    """

    def __init__(self, distribution: BanditTasks, num_envs: int) -> None:
        listed, horizon = distribution.tasks("train"), distribution.horizon
        check_slots(listed, num_envs, horizon)
        super().__init__(
            distribution.observation_space,
            distribution.action_space,
            tasks=listed,
            num_envs=num_envs,
            horizon=horizon,
        )
        self.closed = False
        self._arms = distribution.arms
        self._slots = np.arange(num_envs)
        # generators of the slots, seeded at the reset
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._probabilities = np.zeros((num_envs, self._arms))
        # thresholds are drawn at the reset: an episode is a function of (task, seed, actions)
        self._thresholds = np.zeros((num_envs, self._horizon))
        self._pulls = np.zeros(num_envs, dtype=np.int64)
        self._live: Flags = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, Flags]]:
        """Start episodes in all slots, or in those of ``options["reset_mask"]``; show ``[N, 1]`` zeros."""
        slots, seeds = self._to_start(options), seeds_of_slots(seed, self.num_envs)
        for slot in slots:
            generator = self._generators[slot]
            if generator is None or seeds[slot] is not None:
                generator = self._generators[slot] = np.random.default_rng(seeds[slot])
            generator.random(out=self._thresholds[slot])
            self._probabilities[slot] = _probabilities(self._tasks[slot], self._arms)
        self._pulls[slots] = 0
        self._live[slots] = True
        return self._observations(), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        """Pull arms ``[N]`` of the unfinished bandits; raise ``MetarlError`` if there is no such arm."""
        self._check_shape(np.shape(actions))
        arms = np.asarray(actions, np.int64)
        in_range = (arms >= 0) & (arms < self._arms)
        require(
            bool(in_range.all()), f"arms must be between 0 and {self._arms - 1}", arms[~in_range].tolist()
        )
        live = self._live
        # a slot that is over reads its last threshold, which does not count
        number = np.minimum(self._pulls, self._horizon - 1)
        pays = self._thresholds[self._slots, number] < self._probabilities[self._slots, arms]
        self._pulls += live
        truncated = live & (self._pulls >= self._horizon)
        self._live = live & ~truncated
        return self._observations(), (live & pays).astype(np.float64), np.zeros_like(live), truncated, {}

    def _accept(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            _probabilities(task, self._arms)

    def _observations(self) -> Array:
        return np.zeros((self.num_envs, 1))


def _draw(num_tasks: int, arms: int, rng: np.random.Generator, split: Split) -> list[Task]:
    drawn = rng.random((num_tasks, arms)).tolist()
    return [
        Task("bandits", tuple(each), f"bandits/{split}/" + ",".join(f"{value:.6f}" for value in each))
        for each in drawn
    ]


def _probabilities(task: Task, arms: int) -> tuple[float, ...]:
    if task.family != "bandits":
        raise unknown_name("task family of the bandits suite", task.family, ("bandits",))
    if len(task.parameters) != arms or not all(0 <= value <= 1 for value in task.parameters):
        raise MetarlError(
            f"Expected a task of {arms} probabilities, one an arm, got {task.id!r} with {task.parameters}."
        )
    return task.parameters
