"""Meta-World's meta-learning benchmarks as task distributions.

Source: Yu et al. 2019 (arXiv 1910.10897). The goals are those of the installed package's own benchmarks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, TypeAlias, cast

import numpy as np
from annotated_types import Ge, Le, Lt
from metaworld.env_dict import ML25_V3

from metarl.config import SuiteConfig
from metarl.envs.engines.warp.available import device_of, extra_imported
from metarl.envs.metaworld.env import FAMILIES, MAX_HORIZON
from metarl.envs.metaworld.factors import (
    check_factors,
    describe_factors,
    draw_factors,
    factors_of,
    families_varying,
)
from metarl.envs.metaworld.goals import (
    PUBLISHED_GOALS,
    Benchmark,
    Goal,
    Goals,
    by_family,
    last_seed,
    several_goals,
)
from metarl.envs.metaworld.official import layout, measure_officially, official_steps, same_step_options
from metarl.envs.metaworld.official_env import OfficialVectorEnv
from metarl.envs.metaworld.resets import Families
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.tasks import SawyerTasks
from metarl.envs.task_sampling.ranges import TestRange
from metarl.errors import MetarlError, require, unknown_name
from metarl.evaluation.official import OfficialEvaluation, OfficialSettings
from metarl.meta_learner import MetaLearner
from metarl.system.caches import cache_folder
from metarl.tasks import Parameter, Split, check_disjoint
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv, is_warp

NumGoals: TypeAlias = Annotated[int, Ge(1), Le(10_000)]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MetaWorldTasks(SawyerTasks):
    """Goals of Meta-World families, by default 50 of each for training and for testing.

    The engine ``"warp"`` keeps all worlds in the memory of a GPU, under a newer MuJoCo and in float32;
    without CUDA it runs on the CPU, slowly. A device may follow it, ``"warp:cuda:1"``.
    """

    vary: tuple[str, ...] = ()  # factors of variation, :data:`.factors.FACTORS`

    engines: ClassVar[tuple[str, ...]] = ("auto", "threads", "processes", "warp")

    @property
    def known(self) -> Families:
        """Meta-World's families, with tasks that vary if any factor does."""
        return families_varying(self.vary)

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Return each parameter's name and visibility; factors come last, with their training ranges."""
        factors = describe_factors(family, self.vary)
        count = next(len(task.parameters) for task in (*self.train, *self.test) if task.family == family)
        return [*super().describe_parameters(family)[: count - len(factors)], *factors]

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment; raise ``MetarlError`` on an unknown engine, ``EngineError`` without Warp."""
        if not is_warp(engine):
            return super().make_vector_env(num_envs, engine=engine, num_workers=num_workers)
        if self.vary:
            raise MetarlError(f"Expected engine threads or processes for tasks that vary, got {engine}.")
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
        """Return the most vector steps and environment steps of Meta-World's evaluator."""
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
        """Measure an agent by Meta-World's evaluator; see :mod:`.metaworld.official`."""
        plan = layout(self.name, tasks)
        chosen = [task for family in by_family(tasks) for task in family[: plan.goals]]
        options, seed = same_step_options(self.horizon, self.reward, num_workers), int(rng.integers(2**31))
        resets, known = cache_folder() / "resets", self.known
        env = OfficialVectorEnv(chosen, plan.slots, seed=seed, options=options, cache=resets, known=known)
        with closing(env):
            return measure_officially(agent, env, settings, plan, rng, on_step)


@dataclass(frozen=True, kw_only=True)
class MetaWorldConfig(SuiteConfig):
    """The settings of all Meta-World suites."""

    training_only: ClassVar[tuple[str, ...]] = ("training_goals", "layout_width")

    horizon: Annotated[int, Ge(1), Le(MAX_HORIZON)] = MAX_HORIZON
    """Steps of an episode, at most Meta-World's 500."""
    goal_seed: Annotated[int, Ge(0), Lt(2**32 - 1)] = 42
    """Seed of Meta-World's goals, as in its own benchmarks; independent of the run's."""
    training_goals: NumGoals = PUBLISHED_GOALS
    """Training goals of each family.
    More than Meta-World's 50 are drawn by its own code with other seeds."""
    layout_width: Annotated[float, Ge(1), Le(10)] = 1.0
    """Length in x and y of the boxes of training objects and goals, in Meta-World's; held-out ones keep 1."""
    test_goals: NumGoals = PUBLISHED_GOALS
    """Held-out goals of each family; the first 50 are Meta-World's."""
    reward: RewardVersion = "v2"
    """Meta-World's rewards: today's "v2" or original "v1".
    "v2" pays 0 to 10 a step, "v1" up to thousands."""
    vary: tuple[str, ...] = ()
    """Factors that vary from task to task: size, mass, friction; colour and camera in pictures only."""
    test_range: TestRange = "out"
    """Factors of held-out tasks: beyond the training ranges, or "in": new draws from them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factors(self.vary)
        last = last_seed(self.goal_seed, max(self.training_goals, self.test_goals))
        require(last < 2**32 - 1, "Seeds of goals, two apart for each 50, must be below 2**32 - 1", last)

    def build(self) -> MetaWorldTasks:
        """Return the task distribution."""
        return _separate_families(_distribution(self.label, self.goals(), self))

    @property
    def label(self) -> str:
        """Name with changes, ``"ml10+goals500"``, ``"ml10+vary-mass"``."""
        return f"{self.kind}{self.changes_label}"

    @property
    def changes_label(self) -> str:
        """Suffix of the benchmark's name: ``"+goals500"``, ``"+vary-size,mass"`` or nothing."""
        numbers = {"goals": self.training_goals, "testgoals": self.test_goals}
        changes = [f"+{name}{number}" for name, number in numbers.items() if number != PUBLISHED_GOALS]
        if self.layout_width != 1:
            changes.append(f"+layouts{self.layout_width:g}")
        if self.vary:
            within = "-in" if self.test_range == "in" else ""
            changes.append(f"+vary-{','.join(check_factors(self.vary))}{within}")
        return "".join(changes)

    def goals(self, family: str = "") -> Goals:
        """Return the first goals of each family, as many as the settings say."""
        benchmark = cast("Benchmark", self.kind)
        return several_goals(
            benchmark, self.goal_seed, family, self.training_goals, self.test_goals, width=self.layout_width
        )


@dataclass(frozen=True, kw_only=True)
class ML1Config(MetaWorldConfig):
    """Meta-World ML1: one family, with 50 goals to train on and 50 others to be tested on."""

    kind: ClassVar[str] = "ml1"
    task: str = "reach-v3"
    """The family, one of Meta-World's 50."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in FAMILIES:
            raise unknown_name("Meta-World task", self.task, FAMILIES)
        for name in set(self.vary) - set(factors_of(self.task, self.vary)):
            raise MetarlError(f"Expected factors that {self.task} has, got {name}, which it has not.")

    @property
    def label(self) -> str:
        """Name with the family, which runs on two families do not share."""
        return f"{self.kind}-{self.task}{self.changes_label}"

    def build(self) -> MetaWorldTasks:
        """Return the task distribution, named after the family."""
        return _distribution(self.label, self.goals(self.task), self)


@dataclass(frozen=True, kw_only=True)
class ML10Config(MetaWorldConfig):
    """Meta-World ML10: 10 training families, 5 test ones."""

    kind: ClassVar[str] = "ml10"


@dataclass(frozen=True, kw_only=True)
class ML25Config(MetaWorldConfig):
    """Meta-World ML25: 24 training families, 5 test ones; as published it trains on 25."""

    kind: ClassVar[str] = "ml25"
    published: bool = False
    """Train on all 25 published families, though one, basketball-v3, is a test family too."""

    def build(self) -> MetaWorldTasks:
        """Return the task distribution, named ml25-clean or ml25-published.

        The clean one has the published test families, and trains on the published families but for
        basketball-v3.
        """
        goals = self.goals()
        if self.published:
            _log.warning("ml25-published trains on %s, which it is also tested on.", ", ".join(ml25_leak()))
            return _distribution(f"ml25-published{self.changes_label}", goals, self)
        train = tuple(goal for goal in goals.train if goal.family not in ml25_leak())
        clean = Goals(train, goals.test)
        return _separate_families(_distribution(f"ml25-clean{self.changes_label}", clean, self))


@dataclass(frozen=True, kw_only=True)
class ML45Config(MetaWorldConfig):
    """Meta-World ML45: 45 training families, 5 test ones."""

    kind: ClassVar[str] = "ml45"


def ml25_leak() -> tuple[str, ...]:
    """Return published ML25's training families in the test."""
    return tuple(family for family in ML25_V3["train"] if family in ML25_V3["test"])


def _separate_families(tasks: MetaWorldTasks) -> MetaWorldTasks:
    """Return the tasks; raise ``MetarlError`` if a family is in both splits."""
    both = sorted({task.family for task in tasks.train} & {task.family for task in tasks.test})
    require(not both, f"{tasks.name} must test on families that it does not train on", ", ".join(both))
    return tasks


def _distribution(name: str, goals: Goals, config: MetaWorldConfig) -> MetaWorldTasks:
    """Return the goals as numbered tasks; raise ``MetarlError`` if a test goal is a training goal."""
    tasks = MetaWorldTasks(
        name=name,
        train=varied_tasks(numbered_tasks(goals.train, "train"), "train", config),
        test=varied_tasks(numbered_tasks(goals.test, "test"), "test", config),
        horizon=config.horizon,
        reward=config.reward,
        vary=check_factors(config.vary),
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


def varied_tasks(tasks: tuple[Task, ...], split: Split, config: MetaWorldConfig) -> tuple[Task, ...]:
    """Return tasks with the factors of each after its parameters."""
    if not config.vary:
        return tasks
    beyond, varied = split == "test" and config.test_range == "out", []
    for members in by_family(tasks):
        family = members[0].family
        names = factors_of(family, check_factors(config.vary))
        drawn = draw_factors(family, names, len(members), config.goal_seed, split, beyond=beyond)
        varied += [
            replace(task, parameters=(*task.parameters, *row))
            for task, row in zip(members, drawn.tolist(), strict=True)
        ]
    return tuple(varied)
