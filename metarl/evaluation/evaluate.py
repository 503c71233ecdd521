"""Meta-testing: measure an agent before and after adapting to held-out tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from metarl.config import MeasurementConfig
from metarl.errors import require
from metarl.evaluation.record import Evaluation, from_rollouts, join
from metarl.meta_learner import MetaLearner, Trial
from metarl.rollouts.collect import collect
from metarl.rollouts.tally import Counts, count_adaptation, count_episodes
from metarl.system.sharing import num_slots
from metarl.system.threads import one_thread
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv


@one_thread()
def evaluate(
    agent: MetaLearner,
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    config: MeasurementConfig,
    *,
    adaptation_steps: int,
    horizon: int,
    rng: np.random.Generator,
    on_step: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure an agent on tasks before adapting and after each step.

    A sequential agent's step is one more episode of each slot's trial: measured episodes are its experience,
    and its actions are chosen in the same way throughout.

    Every task starts from the same unadapted agent, which is not changed, and nothing passes from one to
    another; as many run at once as ``env`` has slots for, at least :func:`slots_needed`. Where the measured
    episodes are drawn like those that adaptation learns from (not deterministic, equally many), the next step
    adapts from the very episodes that were measured. ``on_step`` is that of
    :func:`metarl.rollouts.collect.collect`.

    Raises:
        MetarlError: if ``env`` has too few slots.
    """
    needed = slots_needed(config, agent.trial)
    at_once = num_slots(env) // needed
    require(at_once > 0, f"Evaluating needs {needed} slots or more", num_slots(env))

    run = partial(collect, env, horizon=horizon, rng=rng, on_step=on_step)
    measure = partial(run, episodes=config.episodes, deterministic=config.deterministic)
    reuses = agent.trial == "sequential" or _reuses_episodes(config)

    parts = []
    # as many tasks at once as there are slots for
    for start in range(0, len(tasks), at_once):
        chunk = tasks[start : start + at_once]
        actor, counts = agent.initial_actor(len(chunk), rng), Counts()
        stages, env_steps = [measure(chunk, actor)], 0
        for _ in range(adaptation_steps):
            # measured episodes are experience only where the agent learns from them
            experience = stages[-1] if reuses else run(chunk, actor, episodes=config.adaptation_episodes)
            env_steps += 0 if reuses else experience.num_steps
            before, actor = actor, agent.adapt(actor, experience, rng)
            counts += count_adaptation(before, actor, experience)
            after = stages[-1] if agent.trial == "sequential" else None
            stages.append(measure(chunk, actor, after=after))
        # put the stages of these tasks together
        counts += sum(map(count_episodes, stages), Counts())
        parts.append(replace(from_rollouts(chunk, stages, env_steps, agent.trial), counts=counts))
    return join(parts)


def episodes_of_step(config: MeasurementConfig, trial: Trial) -> int:
    """Return the episodes of one adaptation step: one of a trial, or a batch."""
    return 1 if trial == "sequential" else config.adaptation_episodes


def slots_needed(config: MeasurementConfig, trial: Trial = "parallel") -> int:
    """Return :func:`evaluate`'s fewest slots per task."""
    return config.episodes if trial == "sequential" else max(config.episodes, config.adaptation_episodes)


def vector_steps(
    config: MeasurementConfig,
    num_tasks: int,
    adaptation_steps: int,
    num_envs: int,
    horizon: int,
    trial: Trial = "parallel",
) -> int:
    """Return the vector steps of :func:`evaluate`, if all episodes last to the horizon."""
    chunks = -(-num_tasks // max(1, num_envs // slots_needed(config, trial)))
    reuses = trial == "sequential" or _reuses_episodes(config)
    rollouts = adaptation_steps + 1 if reuses else 2 * adaptation_steps + 1
    return chunks * rollouts * horizon


def _reuses_episodes(config: MeasurementConfig) -> bool:
    return not config.deterministic and config.episodes == config.adaptation_episodes
