"""Meta-World's meta-learning benchmarks as task distributions.

Source: Yu et al. 2019 (arXiv 1910.10897). The goals are those of the installed package's own benchmark
objects. Drawing them takes it 8 s for ML10 and 40 s for ML45, so they are kept as JSON in the user's cache
folder.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
from annotated_types import Ge, Le, Lt
from metaworld.env_dict import ML25_V3

from metarl.config import SuiteConfig
from metarl.envs.engines.warp.available import device_of, extra_imported, is_warp
from metarl.envs.metaworld.env import FAMILIES, MAX_HORIZON
from metarl.envs.metaworld.goals import PUBLISHED_GOALS, Benchmark, Goal, Goals, several_goals
from metarl.envs.metaworld.official import layout, official_evaluation, official_steps
from metarl.envs.metaworld.rewards.catalog import RewardVersion, check_reward
from metarl.envs.metaworld.tasks import SawyerTasks
from metarl.errors import require, unknown_name
from metarl.evaluation.official import OfficialEvaluation, OfficialSettings
from metarl.meta_learner import MetaLearner
from metarl.system.caches import cache_folder
from metarl.tasks import Split, check_disjoint
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv

NumGoals: TypeAlias = Annotated[int, Ge(1), Le(10_000)]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MetaWorldTasks(SawyerTasks):
    """Goals of Meta-World families.

    There are 50 of each for training, 50 of each for testing.
    """

    engines: ClassVar[tuple[str, ...]] = ("auto", "threads", "processes", "warp")
    """Engines that run the suite.

    ``"warp"`` keeps all worlds in the memory of a GPU, under a newer MuJoCo and in float32; without CUDA it
    runs on the CPU, slowly. A device may follow it, ``"warp:cuda:1"``.
    """

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment with ``num_envs`` slots; see :meth:`.SawyerTasks.make_vector_env`.

        Raises:
            MetarlError: on any other engine.
            EngineError: if "warp" is not installed here.
        """
        if not is_warp(engine):
            return super().make_vector_env(num_envs, engine=engine, num_workers=num_workers)
        with extra_imported():
            from metarl.envs.metaworld.warp import WarpSawyerVectorEnv  # noqa: PLC0415  # an extra

        return WarpSawyerVectorEnv(
            families=self.families,
            default_tasks=self.train,
            num_envs=num_envs,
            horizon=self.horizon,
            device=device_of(engine),
            cache=cache_folder() / "resets",
            reward_version=self.reward,
        )

    def official_steps(self, tasks: Sequence[Task], settings: OfficialSettings) -> tuple[int, int]:
        """Return the evaluator's most steps.

        They are vector steps and environment steps of Meta-World's evaluator.
        """
        return official_steps(tasks, settings, layout(self.name, tasks), self.horizon)

    def official_evaluation(
        self,
        agent: MetaLearner,
        tasks: Sequence[Task],
        settings: OfficialSettings,
        *,
        rng: np.random.Generator,
        num_workers: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> OfficialEvaluation:
        """Measure an agent by Meta-World's evaluator.

        See :mod:`.metaworld_official`.
        """
        return official_evaluation(
            agent,
            tasks,
            settings,
            layout(self.name, tasks),
            horizon=self.horizon,
            reward=self.reward,
            rng=rng,
            num_threads=num_workers,
            cache=cache_folder() / "resets",
            on_step=on_step,
        )


@dataclass(frozen=True, kw_only=True)
class MetaWorldConfig(SuiteConfig):
    """The settings of all Meta-World suites."""

    horizon: Annotated[int, Ge(1), Le(MAX_HORIZON)] = MAX_HORIZON
    """Steps of an episode.

    At most Meta-World's own 500.
    """
    goal_seed: Annotated[int, Ge(0), Lt(2**32 - 1)] = 42
    """Seed of Meta-World's goals; independent of the run's.

    It is that of Meta-World's own benchmark.
    """
    training_goals: NumGoals = PUBLISHED_GOALS
    """Training goals of each family; more than Meta-World's 50 are drawn by its own code with other seeds."""
    test_goals: NumGoals = PUBLISHED_GOALS
    """Held-out goals of each family; the first 50 are Meta-World's."""
    reward: RewardVersion = "v2"
    """Meta-World's reward version.

    "v2" are those of today, 0 to 10 a step; "v1" the original ones, up to thousands.
    """

    def __post_init__(self) -> None:
        """Check the version of the rewards."""
        super().__post_init__()
        check_reward(self.reward)

    @abstractmethod
    def build(self) -> MetaWorldTasks:
        """Return the task distribution."""

    @property
    def label(self) -> str:
        """Name with the numbers of goals that are not the published ones: ``"ml10+goals500"``."""
        return f"{self.kind}{self.goals_label}"

    @property
    def goals_label(self) -> str:
        """What follows the benchmark's name: ``"+goals500"``, ``"+testgoals200"`` or nothing."""
        numbers = {"goals": self.training_goals, "testgoals": self.test_goals}
        return "".join(f"+{name}{number}" for name, number in numbers.items() if number != PUBLISHED_GOALS)

    def goals(self, benchmark: Benchmark, family: str = "") -> Goals:
        """Return the first goals of each family, as many as the settings say."""
        return several_goals(benchmark, self.goal_seed, family, self.training_goals, self.test_goals)


@dataclass(frozen=True, kw_only=True)
class ML1Config(MetaWorldConfig):
    """Meta-World ML1: new goals of one family.

    It has 50 goals to train on and 50 others to be tested on.
    """

    kind: ClassVar[str] = "ml1"

    task: str = "reach-v3"
    """The family, one of Meta-World's 50."""

    def __post_init__(self) -> None:
        """Check the numbers and the family's name."""
        super().__post_init__()
        if self.task not in FAMILIES:
            raise unknown_name("Meta-World task", self.task, FAMILIES)

    @property
    def label(self) -> str:
        """Name with benchmark and family.

        So runs on two families do not share a name.
        """
        return f"{self.kind}-{self.task}{self.goals_label}"

    def build(self) -> MetaWorldTasks:
        """Return the task distribution, named after the family."""
        goals = self.goals("ml1", self.task)
        return _distribution(self.label, goals, self)


@dataclass(frozen=True, kw_only=True)
class ML10Config(MetaWorldConfig):
    """Meta-World ML10: 10 training families, 5 test ones."""

    kind: ClassVar[str] = "ml10"

    def build(self) -> MetaWorldTasks:
        """Return the task distribution."""
        goals = self.goals("ml10")
        return _separate_families(_distribution(self.label, goals, self))


@dataclass(frozen=True, kw_only=True)
class ML25Config(MetaWorldConfig):
    """Meta-World ML25: 24 training families, 5 test ones.

    As published it trains on 25.
    """

    kind: ClassVar[str] = "ml25"

    published: bool = False
    """Train on all 25 published families.

    One of them, basketball-v3, is a test family too.
    """

    def build(self) -> MetaWorldTasks:
        """Return the task distribution.

        Its name, ml25-clean or ml25-published, says which it is. The clean one has the published test
        families and trains on the published families but for basketball-v3, with the published goals.
        """
        goals = self.goals("ml25")
        if self.published:
            _log.warning("ml25-published trains on %s, which it is also tested on.", ", ".join(ml25_leak()))
            return _distribution(f"ml25-published{self.goals_label}", goals, self)
        train = tuple(goal for goal in goals.train if goal.family not in ml25_leak())
        return _separate_families(
            _distribution(f"ml25-clean{self.goals_label}", Goals(train, goals.test), self)
        )


@dataclass(frozen=True, kw_only=True)
class ML45Config(MetaWorldConfig):
    """Meta-World ML45: 45 training families, 5 test ones."""

    kind: ClassVar[str] = "ml45"

    def build(self) -> MetaWorldTasks:
        """Return the task distribution."""
        goals = self.goals("ml45")
        return _separate_families(_distribution(self.label, goals, self))


def ml25_leak() -> tuple[str, ...]:
    """Return published ML25's training families in the test."""
    return tuple(family for family in ML25_V3["train"] if family in ML25_V3["test"])


def _separate_families(tasks: MetaWorldTasks) -> MetaWorldTasks:
    """Return the tasks as they are.

    Raises:
        MetarlError: if a family is in both splits.
    """
    both = {task.family for task in tasks.train} & {task.family for task in tasks.test}
    require(
        not both, f"{tasks.name} must test on families that it does not train on", ", ".join(sorted(both))
    )
    return tasks


def _distribution(name: str, goals: Goals, config: MetaWorldConfig) -> MetaWorldTasks:
    """Return the goals as numbered tasks.

    They are numbered within their family.

    Raises:
        MetarlError: if a test goal is a training goal.
    """
    tasks = MetaWorldTasks(
        name=name,
        train=numbered_tasks(goals.train, "train"),
        test=numbered_tasks(goals.test, "test"),
        horizon=config.horizon,
        reward=config.reward,
    )
    check_disjoint(tasks)
    return tasks


def numbered_tasks(goals: Sequence[Goal], split: Split) -> tuple[Task, ...]:
    """Return goals as tasks, numbered within their family."""
    numbers: dict[str, int] = {}
    tasks = []
    for goal in goals:
        number = numbers[goal.family] = numbers.get(goal.family, -1) + 1
        tasks.append(Task(goal.family, goal.parameters, f"{goal.family}/{split}/{number:02d}"))
    return tuple(tasks)
