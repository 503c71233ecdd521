"""One meta-iteration: collect, adapt, collect again, learn, or as the agent plans."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl.errors import MetarlError
from metarl.meta_learner import Actor, MetaLearner, Plan, Scheduled, actor_in_training, never
from metarl.networks.linear_baseline import transitions_per_feature
from metarl.rollouts.collect import collect, join_tasks
from metarl.system.sharing import num_slots
from metarl.system.threads import one_thread, stoppable
from metarl.types import Rollout, Task
from metarl.vector_env import TaskVectorEnv

DEFAULT_PLAN = Plan()
PARTS = ("sampling", "adaptation", "update")  # parts of a meta-iteration that are timed


@dataclass(frozen=True)
class MetaIteration:
    """Results of one meta-iteration."""

    rollouts: tuple[Rollout, ...]
    """Rollouts before adapting, after each step, in order; empty if nothing was collected."""
    actors: tuple[Actor, ...]
    """Policies that collected them, in the last turn where the tasks took turns."""
    metrics: dict[str, float]  # metrics of the update, the mean over several, empty without one
    seconds: dict[str, float]  # wall-clock time of each of PARTS

    @property
    def num_steps(self) -> int:
        """Environment steps."""
        return sum(rollout.num_steps for rollout in self.rollouts)

    def row(self) -> dict[str, float]:
        """Return all that was measured, by the names in ``metrics.jsonl``."""
        row = {}
        for step, rollout in enumerate(self.rollouts):
            row[f"train/return/step_{step}"] = float(rollout.episode_returns.double().mean())
            if rollout.success is not None:
                row[f"train/success/step_{step}"] = float(rollout.success.double().mean())
        if self.rollouts:
            row["train/transitions_per_feature"] = min(map(transitions_per_feature, self.rollouts))
        row |= {f"update/{name}": value for name, value in self.metrics.items()}
        row |= {f"time/{part}": value for part, value in self.seconds.items()}
        return {**row, "time/steps_per_second": self.num_steps / max(sum(self.seconds.values()), 1e-9)}


class _Clock:
    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start


@one_thread()
def meta_iteration(
    agent: MetaLearner,
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    *,
    episodes: int,
    horizon: int,
    rng: np.random.Generator,
    on_step: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] = never,
    plan: Plan = DEFAULT_PLAN,
) -> MetaIteration:
    """Collect and learn, as the agent plans.

    A sequential agent's rollouts are the episodes of one trial in each slot, with memory kept between them.
    Tasks that need more slots than there are take turns.

    Args:
        episodes: K, of each task in each rollout.
        horizon: T, steps of an episode.
        on_step: called before each vector step with the number of running episodes; may raise to stop.

    Raises:
        Stopped: if ``should_stop`` says so.
    """
    clock = _Clock()
    steps = agent.adaptation_steps if plan.adaptation_steps is None else plan.adaptation_steps

    def collect_and_adapt(group: Sequence[Task]) -> tuple[list[Rollout], list[Actor]]:
        # collect, then (adapt, collect) for each adaptation step
        actors, rollouts = [actor_in_training(agent, group, rng)], list[Rollout]()
        for step in range(steps + 1):
            if step > 0:
                with clock.timed("adaptation"):
                    actors.append(agent.adapt(actors[-1], rollouts[-1], rng))
            # the episodes of a sequential agent go on from those before
            after = rollouts[-1] if rollouts and agent.trial == "sequential" else None
            with clock.timed("sampling"):
                rollout = collect(
                    env,
                    group,
                    actors[-1],
                    episodes=episodes,
                    horizon=horizon,
                    rng=rng,
                    after=after,
                    on_step=on_step,
                )
            rollouts.append(rollout)
        return rollouts, actors

    with stoppable(should_stop):
        # tasks take turns where there are more of them than slots
        done = [collect_and_adapt(group) for group in turns_of(tasks, num_slots(env), episodes, plan)]
        # put the turns together again: rollout j of all tasks
        rollouts = [join_tasks(parts) for parts in zip(*(turn for turn, _ in done), strict=True)]
        with clock.timed("update"):
            metrics = _learn(agent, plan, rollouts, tasks, rng, should_stop)
    return MetaIteration(tuple(rollouts), tuple(done[-1][1]) if done else (), metrics, clock.seconds)


def _learn(
    agent: MetaLearner,
    plan: Plan,
    rollouts: Sequence[Rollout],
    tasks: Sequence[Task],
    rng: np.random.Generator,
    should_stop: Callable[[], bool],
) -> dict[str, float]:
    """Let the agent learn; return mean metrics."""
    said = list[Mapping[str, float]]()
    if rollouts and plan.learns:
        said.append(update(agent, rollouts, tasks, rng, should_stop))
    elif rollouts:
        assert isinstance(agent, Scheduled), "a plan comes from an agent that has one"
        agent.remember(rollouts, tasks)
    said.extend(update(agent, [], [], rng, should_stop) for _ in range(plan.further_updates))
    return mean_metrics(said)


def update(
    agent: MetaLearner,
    rollouts: Sequence[Rollout],
    tasks: Sequence[Task],
    rng: np.random.Generator,
    should_stop: Callable[[], bool],
) -> dict[str, float]:
    """Update an agent, and check its metrics.

    Raises:
        MetarlError: unless they are numbers by name; says where the agent's ``update`` stands.
    """
    found: object = agent.update(rollouts, tasks, rng, should_stop)
    metrics = found if isinstance(found, Mapping) else {None: found}
    wrong = {name: value for name, value in metrics.items() if not _is_metric(name, value)}
    if not wrong:
        return dict(metrics)
    name, value = next(iter(wrong.items()))
    got = repr(found) if name is None else f"{value!r} for {name!r}"
    raise MetarlError(
        f"Expected the update of {type(agent).__qualname__} to return metrics, a dict of numbers by name, "
        f"got {got}{_place_of(type(agent).update)}."
    )


def _is_metric(name: object, value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]  # whether it can be is the question
    except (TypeError, ValueError, RuntimeError):
        return False
    return isinstance(name, str) and not isinstance(value, str)


def _place_of(method: object) -> str:
    """Return a method's file and line, or nothing."""
    code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
    return f" ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code else ""


def turns_of(tasks: Sequence[Task], num_envs: int, episodes: int, plan: Plan) -> list[Sequence[Task]]:
    """Return the tasks of each turn; too few slots make turns."""
    if plan.collects == "nothing":
        return []
    if plan.collects == "meta-batch":
        return [tasks]
    size = max(1, num_envs // episodes)
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


def mean_metrics(said: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each metric's mean over those updates that have it."""
    names = dict.fromkeys(name for metrics in said for name in metrics)
    values = {name: [metrics[name] for metrics in said if name in metrics] for name in names}
    return {name: own[0] if len(own) == 1 else sum(own) / len(own) for name, own in values.items()}
