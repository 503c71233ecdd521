"""Held-out performance after one step from 1, 2, 5, … episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from metarl.config import MeasurementConfig
from metarl.errors import require
from metarl.evaluation.record import Axis, Evaluation, from_rollouts, join
from metarl.meta_learner import MetaLearner
from metarl.rollouts.collect import collect
from metarl.system.threads import one_thread
from metarl.types import Rollout, Task
from metarl.vector_env import TaskVectorEnv


def check_counts(counts: Sequence[int]) -> None:
    """Check that numbers of episodes rise from 1, to at most 10000."""
    rising = all(low < high for low, high in zip([0, *counts], counts, strict=False))
    require(0 < len(counts) and rising, "Numbers of episodes must rise, from 1 or more", [*counts])
    require(counts[-1] <= 10_000, "A number of episodes must be at most 10000", counts[-1])


def check_adapts_from_several(agent: MetaLearner) -> None:
    """Refuse an agent with a memory, which adapts from one episode at a time."""
    require(
        agent.trial == "parallel",
        "A curve over episodes adapted from is for agents that adapt from several at once; the evaluation of "
        "an agent with a memory is such a curve already. The agent's trial must be parallel",
        agent.trial,
    )


def episodes_axis(counts: Sequence[int]) -> Axis:
    """Return the axis of :func:`episode_curve`."""
    return Axis("adaptation_episodes", "Episodes adapted from, in one step", "episodes", (0, *counts))


def first_episodes(rollout: Rollout, count: int) -> Rollout:
    """Return the first ``count`` episodes of each task."""
    return rollout.map(lambda value: value[:, :count])


def slots_for(config: MeasurementConfig, counts: Sequence[int]) -> int:
    """Return :func:`episode_curve`'s fewest slots per task."""
    return max(config.episodes, *counts)


def curve_steps(
    config: MeasurementConfig, counts: Sequence[int], num_tasks: int, num_envs: int, horizon: int
) -> int:
    """Return the vector steps of :func:`episode_curve`, if all episodes last to the horizon."""
    chunks = -(-num_tasks // max(1, num_envs // slots_for(config, counts)))
    return chunks * (len(counts) + 2) * horizon


@one_thread()
def episode_curve(
    agent: MetaLearner,
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    config: MeasurementConfig,
    counts: Sequence[int],
    *,
    horizon: int,
    rng: np.random.Generator,
    on_step: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure an agent before adapting and after one step from each count.

    ``counts`` of episodes rise from 1 or more. The fewer episodes are the first of the more, so that the
    points of the curve differ in nothing else; they are not the episodes that are measured. ``env`` has at
    least :func:`slots_for` slots; other arguments as :func:`metarl.evaluation.evaluate.evaluate`. The
    evaluation is along :func:`episodes_axis`.

    Raises:
        MetarlError: if ``env`` has too few slots, or ``counts`` do not rise.
    """
    check_counts(counts)
    check_adapts_from_several(agent)
    at_once = env.num_envs // slots_for(config, counts)
    require(at_once > 0, f"This curve needs {slots_for(config, counts)} slots or more", env.num_envs)

    run = partial(collect, env, horizon=horizon, rng=rng, on_step=on_step)
    measure = partial(run, episodes=config.episodes, deterministic=config.deterministic)
    parts = []
    for start in range(0, len(tasks), at_once):
        chunk = tasks[start : start + at_once]
        unadapted = agent.initial_actor(len(chunk), rng)
        experience = run(chunk, unadapted, episodes=counts[-1])
        # fewer episodes are the first of the more
        adapted = [agent.adapt(unadapted, first_episodes(experience, count), rng) for count in counts]
        stages = [measure(chunk, actor) for actor in (unadapted, *adapted)]
        parts.append(from_rollouts(chunk, stages, experience.num_steps))
    return join(parts)
