"""Meta-World's own meta-learning evaluator on our agents: ``metaworld.evaluation.metalearning_evaluation``.

Numbers in papers are this evaluator's, so they stand beside ours; they are not the same. Of each family it
counts the first ``EVALUATION_EPISODES`` episodes to finish in any slot, and ends an episode at its first
success: a goal that is solved fast fills the quota of those that are not, and the rate comes out too high.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from metaworld.evaluation import metalearning_evaluation

from metarl.envs.metaworld.goals import by_family
from metarl.envs.metaworld.official_agent import EVALUATION_EPISODES, OfficialAgent
from metarl.envs.metaworld.official_env import OfficialVectorEnv, OutcomeVectorEnv
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.vector_env import VectorOptions
from metarl.evaluation.official import OfficialEvaluation, OfficialSettings
from metarl.meta_learner import MetaLearner
from metarl.system.threads import one_thread
from metarl.types import Task

EVALUATOR = "metaworld.evaluation.metalearning_evaluation"


class Layout(NamedTuple):
    """Rounds of a family's goals: some are met at once, the others in further rounds."""

    slots: int  # of each family
    rounds: int  # "num_evals"; every slot meets another goal in each

    @property
    def goals(self) -> int:
        """Goals of each family that are met."""
        return self.slots * self.rounds


# Layouts of Meta-World+, with 40 to 50 goals of each family (McLean et al. 2025, arXiv 2505.11289).
PUBLISHED = {"ml1": Layout(10, 5), "ml10": Layout(4, 10), "ml25": Layout(10, 4), "ml45": Layout(9, 5)}


def layout(benchmark: str, tasks: Sequence[Task]) -> Layout:
    """Return the published layout of a benchmark, as much of it as there are tasks for."""
    fewest = min(len(family) for family in by_family(tasks))
    wanted = PUBLISHED.get(re.split("[-+]", benchmark)[0], PUBLISHED["ml1"])
    slots = min(wanted.slots, fewest)
    return Layout(slots, min(wanted.rounds, fewest // slots))


def official_steps(
    tasks: Sequence[Task], settings: OfficialSettings, plan: Layout, horizon: int
) -> tuple[int, int]:
    """Return the most vector steps and environment steps of an evaluation."""
    episodes = settings.adaptation_steps * settings.adaptation_episodes
    steps = plan.rounds * (episodes + -(-EVALUATION_EPISODES // plan.slots)) * horizon
    return steps, steps * plan.slots * len({task.family for task in tasks})


def same_step_options(horizon: int, reward: RewardVersion = "v2", num_threads: int = 0) -> VectorOptions:
    """Return options as the evaluator expects: slots reset at once and keep their goal."""
    return VectorOptions(
        max_episode_steps=horizon,
        autoreset_mode=AutoresetMode.SAME_STEP,
        task_select="pseudorandom",
        sample_tasks_on_reset=False,
        reward_function_version=reward,
        num_threads=num_threads,
    )


def measure_officially(
    agent: MetaLearner,
    env: OfficialVectorEnv | SyncVectorEnv,
    settings: OfficialSettings,
    plan: Layout,
    rng: np.random.Generator,
    on_step: Callable[[int], None] | None = None,
) -> OfficialEvaluation:
    """Call Meta-World's evaluator on our environment, or on one of ``make_ml_envs_test``."""
    told = OutcomeVectorEnv(env, settings.success_bonus, on_step)
    driven = OfficialAgent(
        agent, told, episodes=settings.adaptation_episodes, rng=rng, deterministic=settings.deterministic
    )
    # threads of torch would compete with those of the physics
    with one_thread():
        success, mean_return, families = metalearning_evaluation(
            driven,
            cast("SyncVectorEnv", told),
            num_evals=plan.rounds,
            adaptation_steps=settings.adaptation_steps,
            adaptation_episodes=settings.adaptation_episodes,
            evaluation_episodes=EVALUATION_EPISODES,
        )
    return OfficialEvaluation(
        evaluator=EVALUATOR,
        settings=settings,
        tasks=plan.goals * len(families),
        counted_episodes=plan.rounds * EVALUATION_EPISODES * len(families),
        success_rate=float(success),
        mean_return=float(mean_return),
        family_successes={name: float(families[name]) for name in sorted(families)},
        env_steps=told.env_steps,
    )
