"""Meta-testing: an agent on tasks that it was never trained on, before and after adapting to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from metarl.config import MeasurementConfig
from metarl.errors import MetarlError, require
from metarl.meta_learner import Actor, MetaLearner
from metarl.rollouts import collect
from metarl.statistics import Interval, confidence_interval, paired_gain
from metarl.tasks import Array, TaskVectorEnv
from metarl.types import Json, Rollout, Task

Successes = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """Every episode that was measured: each task exactly n of them, after each number of adaptation steps."""

    tasks: tuple[Task, ...]
    returns: Array
    """``[tasks, adaptation steps + 1, n]``, undiscounted."""
    successes: Successes | None
    """``[tasks, adaptation steps + 1, n]``, solved at any step; None where the suite does not say."""
    env_steps: int
    """Environment steps taken, those of the adaptation among them."""

    @property
    def adaptation_steps(self) -> int:
        """Most adaptation steps that were measured."""
        return int(self.returns.shape[1]) - 1

    @property
    def task_returns(self) -> Array:
        """Mean return of each task after each step, ``[tasks, adaptation steps + 1]``."""
        return np.asarray(np.mean(self.returns, axis=2), np.float64)

    @property
    def task_successes(self) -> Array | None:
        """Share of each task's episodes that succeed, ``[tasks, adaptation steps + 1]``."""
        return None if self.successes is None else np.mean(self.successes, axis=2)

    def only(self, family: str) -> Evaluation:
        """Return the part that one family of tasks makes."""
        chosen = np.array([task.family == family for task in self.tasks])
        return replace(
            self,
            tasks=tuple(task for task in self.tasks if task.family == family),
            returns=self.returns[chosen],
            successes=None if self.successes is None else self.successes[chosen],
        )

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        return {
            "tasks": [task.to_json() for task in self.tasks],
            "returns": self.returns.tolist(),
            "successes": None if self.successes is None else self.successes.tolist(),
            "env_steps": self.env_steps,
        }


def evaluation_from_json(data: Mapping[str, Json]) -> Evaluation:
    """Return the evaluation that :meth:`Evaluation.to_json` wrote.

    Raises:
        MetarlError: if it did not write this.
    """
    tasks, env_steps = data.get("tasks"), data.get("env_steps")
    if not isinstance(tasks, list) or not isinstance(env_steps, int):
        raise MetarlError("An evaluation needs a list of tasks and a number of env_steps; here they are not.")
    successes = data["successes"]
    return Evaluation(
        tasks=tuple(Task.from_json(task) for task in tasks if isinstance(task, dict)),
        returns=np.array(data["returns"], np.float64),
        successes=None if successes is None else np.array(successes, np.bool_),
        env_steps=env_steps,
    )


@dataclass(frozen=True)
class Summary:
    """Means over tasks with 95 % bootstrap intervals over tasks, after 0, 1, … adaptation steps."""

    returns: tuple[Interval, ...]
    successes: tuple[Interval, ...] | None
    return_gains: tuple[Interval, ...]
    """Paired over tasks: after k steps minus before adapting."""
    success_gains: tuple[Interval, ...] | None

    def metrics(self) -> dict[str, float]:
        """Return the summary under the names that a run's metrics have."""
        named = {"return": self.returns, "success": self.successes or ()}
        return {
            f"test/{quantity}/step_{step}{ending}": value
            for quantity, intervals in named.items()
            for step, interval in enumerate(intervals)
            for ending, value in zip(("", "/low", "/high"), interval, strict=True)
        }


def summarize(evaluation: Evaluation, rng: np.random.Generator) -> Summary:
    """Average over tasks; the bootstrap draws its resamples from ``rng``."""

    def over_steps(values: Array) -> tuple[Interval, ...]:
        return tuple(confidence_interval(column, rng) for column in values.T)

    def gains(values: Array) -> tuple[Interval, ...]:
        return tuple(paired_gain(values[:, 0], column, rng) for column in values.T)

    returns, successes = evaluation.task_returns, evaluation.task_successes
    return Summary(
        returns=over_steps(returns),
        successes=None if successes is None else over_steps(successes),
        return_gains=gains(returns),
        success_gains=None if successes is None else gains(successes),
    )


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
    """Measure an agent on tasks before adapting and after each adaptation step.

    Every task starts from the same unadapted agent and nothing passes from one to another; as many run at
    once as ``env`` has slots for. Where the measured episodes are drawn like those that adaptation learns
    from (not deterministic, equally many), the next step adapts from the very episodes that were measured.

    Args:
        agent: is not changed.
        env: at least :func:`slots_needed` slots.
        tasks: what to measure on; each gets ``config.episodes`` episodes after each step.
        config: how many episodes, and how actions are chosen.
        adaptation_steps: most steps.
        horizon: of an episode.
        rng: where every random number comes from.
        on_step: as in :func:`metarl.rollouts.collect`.

    Raises:
        MetarlError: if ``env`` has too few slots.
    """
    at_once = env.num_envs // slots_needed(config)
    require(at_once > 0, f"Evaluating needs {slots_needed(config)} slots or more", env.num_envs)

    def run(chunk: Sequence[Task], actor: Actor, episodes: int, deterministic: bool) -> Rollout:
        return collect(
            env,
            chunk,
            actor,
            episodes=episodes,
            horizon=horizon,
            rng=rng,
            deterministic=deterministic,
            on_step=on_step,
        )

    def measure(chunk: Sequence[Task], actor: Actor) -> Rollout:
        return run(chunk, actor, config.episodes, config.deterministic)

    def learn_from(chunk: Sequence[Task], actor: Actor, measured: Rollout) -> Rollout:
        return measured if _reuses_episodes(config) else run(chunk, actor, config.adaptation_episodes, False)

    parts = []
    for start in range(0, len(tasks), at_once):
        chunk = tasks[start : start + at_once]
        actor = agent.initial_actor(len(chunk))
        stages, env_steps = [measure(chunk, actor)], 0
        for _ in range(adaptation_steps):
            experience = learn_from(chunk, actor, stages[-1])
            env_steps += experience.num_steps if experience is not stages[-1] else 0
            actor = agent.adapt(actor, experience)
            stages.append(measure(chunk, actor))
        parts.append(_one_chunk(chunk, stages, env_steps))
    return join(parts)


def slots_needed(config: MeasurementConfig) -> int:
    """Return the fewest slots with which :func:`evaluate` can run a task."""
    return max(config.episodes, config.adaptation_episodes)


def vector_steps(
    config: MeasurementConfig, num_tasks: int, adaptation_steps: int, num_envs: int, horizon: int
) -> int:
    """Return how often :func:`evaluate` steps its environment if every episode lasts to the horizon."""
    chunks = -(-num_tasks // max(1, num_envs // slots_needed(config)))
    rollouts = adaptation_steps + 1 if _reuses_episodes(config) else 2 * adaptation_steps + 1
    return chunks * rollouts * horizon


def _reuses_episodes(config: MeasurementConfig) -> bool:
    return not config.deterministic and config.episodes == config.adaptation_episodes


def _one_chunk(tasks: Sequence[Task], stages: Sequence[Rollout], other_steps: int) -> Evaluation:
    successes = [stage.success.cpu().numpy() for stage in stages if stage.success is not None]
    return Evaluation(
        tasks=tuple(tasks),
        returns=np.stack([stage.episode_returns.double().cpu().numpy() for stage in stages], axis=1),
        successes=np.stack(successes, axis=1) if len(successes) == len(stages) else None,
        env_steps=other_steps + sum(stage.num_steps for stage in stages),
    )


def join(parts: Sequence[Evaluation]) -> Evaluation:
    """Put evaluations of different tasks, or of different agents on the same tasks, one after another."""
    successes = [part.successes for part in parts if part.successes is not None]
    return Evaluation(
        tasks=tuple(task for part in parts for task in part.tasks),
        returns=np.concatenate([part.returns for part in parts]),
        successes=np.concatenate(successes) if len(successes) == len(parts) else None,
        env_steps=sum(part.env_steps for part in parts),
    )
