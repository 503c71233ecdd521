"""Meta-testing: an agent on tasks that it was never trained on, before and after adapting to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from metarl.config import MeasurementConfig
from metarl.errors import MetarlError, require
from metarl.meta_learner import Actor, MetaLearner
from metarl.rollouts import collect
from metarl.statistics import (
    RATE,
    Aggregates,
    Bootstrap,
    Interval,
    Values,
    aggregates,
    paired_gain,
    share_worse,
)
from metarl.tally import Counts, count_adaptation, count_episodes
from metarl.tasks import Array, TaskVectorEnv
from metarl.threads import one_thread
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
    counts: Counts = field(default_factory=Counts, compare=False)
    """Counts that notices are made from; not kept in files."""

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
class Axis:
    """What an evaluation is laid out along."""

    name: str
    """Of a column, ``"adaptation_steps"``."""
    label: str
    """Of a figure's axis."""
    short: str
    """Of a narrow column."""
    values: tuple[int, ...]
    """``(0, 1, 2)``: before adapting, after one step, after two."""


def steps_axis(evaluation: Evaluation) -> Axis:
    """Return the axis of :func:`evaluate`: the number of adaptation steps."""
    steps = tuple(range(evaluation.adaptation_steps + 1))
    return Axis("adaptation_steps", "Adaptation steps", "steps", steps)


@dataclass(frozen=True)
class Measures:
    """What an evaluation says of one quantity, return or success, after 0, 1, … adaptation steps."""

    means: tuple[Interval, ...]
    iqms: tuple[Interval, ...]
    """Interquartile means."""
    medians: tuple[Interval, ...]
    gains: tuple[Interval, ...]
    """Paired over tasks: mean after k steps minus before adapting."""
    worse: tuple[Interval, ...]
    """Share of tasks that score lower than before adapting."""


@dataclass(frozen=True)
class Summary:
    """An evaluation in few numbers, each with its 95 % interval over tasks, and seeds if several.

    It says what fresh seeds would do on fresh tasks of the same families; of one seed, what that agent would
    do. How it is made: :mod:`metarl.statistics`.
    """

    of_return: Measures
    of_success: Measures | None
    """None where the suite does not say."""

    @property
    def returns(self) -> tuple[Interval, ...]:
        """Mean return after 0, 1, … steps."""
        return self.of_return.means

    @property
    def successes(self) -> tuple[Interval, ...] | None:
        """Mean success rate after 0, 1, … steps."""
        return None if self.of_success is None else self.of_success.means

    @property
    def return_gains(self) -> tuple[Interval, ...]:
        """Mean gain of return by adapting, after 0, 1, … steps."""
        return self.of_return.gains

    @property
    def success_gains(self) -> tuple[Interval, ...] | None:
        """Mean gain of the success rate by adapting, after 0, 1, … steps."""
        return None if self.of_success is None else self.of_success.gains

    def metrics(self) -> dict[str, float]:
        """Return the summary under the names that a run's metrics have."""
        named = {"return": self.of_return} | ({"success": self.of_success} if self.of_success else {})
        return {
            f"test/{name}/step_{step}{ending}": value
            for quantity, measures in named.items()
            for name, intervals in _named(quantity, measures).items()
            for step, interval in enumerate(intervals)
            if step > 0 or name not in (f"{quantity}_gain", f"{quantity}_worse")
            for ending, value in zip(("", "/low", "/high"), interval, strict=True)
        }


def _named(quantity: str, measures: Measures) -> dict[str, tuple[Interval, ...]]:
    return {
        quantity: measures.means,
        f"{quantity}_iqm": measures.iqms,
        f"{quantity}_median": measures.medians,
        f"{quantity}_gain": measures.gains,
        f"{quantity}_worse": measures.worse,
    }


def summarize(evaluation: Evaluation, rng: np.random.Generator) -> Summary:
    """Put an evaluation into few numbers; resamples of tasks are drawn from ``rng``."""
    return summarize_seeds([evaluation], rng)


def summarize_seeds(evaluations: Sequence[Evaluation], rng: np.random.Generator) -> Summary:
    """Put evaluations of several training seeds on the same tasks into few numbers.

    Raises:
        MetarlError: if the tasks, or the numbers of adaptation steps, are not the same.
    """
    check_same_tasks(evaluations)
    how = Bootstrap(strata=tuple(task.family for task in evaluations[0].tasks))
    successes = [rates for part in evaluations if (rates := part.task_successes) is not None]
    return Summary(
        of_return=_measures(np.stack([part.task_returns for part in evaluations]), rng, how),
        of_success=_measures(np.stack(successes), rng, replace(how, bounds=RATE))
        if len(successes) == len(evaluations)
        else None,
    )


def scores_of(evaluations: Sequence[Evaluation], step: int, quantity: str) -> Values | None:
    """Return ``[S, T]``: what each seed scores on each task after a number of adaptation steps.

    Args:
        evaluations: of S seeds on the same T tasks.
        step: number of adaptation steps.
        quantity: ``"return"`` or ``"success"``; of successes None where the suite does not say.
    """
    found = [part.task_returns if quantity == "return" else part.task_successes for part in evaluations]
    known = [values[:, step] for values in found if values is not None]
    return np.stack(known) if len(known) == len(found) else None


def check_same_tasks(evaluations: Sequence[Evaluation]) -> None:
    """Make sure that evaluations can be compared task by task.

    Raises:
        MetarlError: if there are none, or their tasks or numbers of adaptation steps differ.
    """
    require(len(evaluations) > 0, "At least one evaluation is needed", "none")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.tasks != first.tasks:
            raise MetarlError(
                "Evaluations are compared task by task, but they are not of the same tasks: "
                f"{len(first.tasks)} from {first.tasks[0].id!r} on, and {len(other.tasks)} from "
                f"{other.tasks[0].id!r} on."
            )
        require(
            other.adaptation_steps == first.adaptation_steps,
            f"Evaluations are compared after equally many adaptation steps, here {first.adaptation_steps}",
            other.adaptation_steps,
        )


def _measures(scores: Values, rng: np.random.Generator, how: Bootstrap) -> Measures:
    """Summarize scores ``[S, T, adaptation steps + 1]``."""
    columns = [scores[:, :, step] for step in range(scores.shape[2])]
    found: list[Aggregates] = [aggregates(column, rng, how) for column in columns]
    none = Interval(0.0, 0.0, 0.0)  # before adapting nothing is gained or worse, by definition
    return Measures(
        means=tuple(each.mean for each in found),
        iqms=tuple(each.iqm for each in found),
        medians=tuple(each.median for each in found),
        gains=(none, *(paired_gain(columns[0], column, rng, how) for column in columns[1:])),
        worse=(none, *(share_worse(columns[0], column, rng, how) for column in columns[1:])),
    )


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

    run = partial(collect, env, horizon=horizon, rng=rng, on_step=on_step)
    measure = partial(run, episodes=config.episodes, deterministic=config.deterministic)

    def learn_from(chunk: Sequence[Task], actor: Actor, measured: Rollout) -> Rollout:
        if _reuses_episodes(config):
            return measured
        return run(chunk, actor, episodes=config.adaptation_episodes)

    parts = []
    for start in range(0, len(tasks), at_once):
        chunk = tasks[start : start + at_once]
        actor, counts = agent.initial_actor(len(chunk)), Counts()
        stages, env_steps = [measure(chunk, actor)], 0
        for _ in range(adaptation_steps):
            experience = learn_from(chunk, actor, stages[-1])
            env_steps += experience.num_steps if experience is not stages[-1] else 0
            before, actor = actor, agent.adapt(actor, experience)
            counts += count_adaptation(before, actor, experience)
            stages.append(measure(chunk, actor))
        counts += sum(map(count_episodes, stages), Counts())
        parts.append(replace(from_rollouts(chunk, stages, env_steps), counts=counts))
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


def from_rollouts(tasks: Sequence[Task], stages: Sequence[Rollout], other_steps: int) -> Evaluation:
    """Return the evaluation that was measured in ``stages``, besides which others steps were taken."""
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
        counts=sum((part.counts for part in parts), Counts()),
    )
