"""Whole meta-iterations of MAML-TRPO on published workloads, split into their parts.

Each workload runs in a process of its own, so that memory is its own; the first iteration, in which
environments are built and goals met for the first time, is not counted.

To find the share of physics, the episodes of the iterations that count are simulated once more, the same
actions from the same starts, with nothing else done (``bare_physics.py``). These seconds, divided by those of
the whole iteration, are the share, given twice. "physics" steps as the engine does: all worlds, then a wait
for the last, with the ``mj_forward`` at the end of a step serving the next one; this must make up 60 %.
"limit" takes five ``mj_step`` and an ``mj_forward`` without that saving, and no core waits; it may be more or
less.
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import psutil
import torch
from rich.progress import track
from rich.table import Table

from benchmarks.program import run
from benchmarks.speed.bare_physics import PoolPhysics, drive
from benchmarks.workloads import AGENT, WORKLOADS, Bar, bars_table, machine, spread, wide_console
from metarl.config import SamplingConfig
from metarl.envs.engines.threads.compiled import load
from metarl.envs.metaworld.models import Actions
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.functional.random_streams import Purpose, make_rng
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Rollout, Task

PARTS = ("sampling", "adaptation", "update")
JUDGED = "CW-ML10-FULL"
SECONDS_BETWEEN_LOOKS = 0.05


class Iteration(NamedTuple):
    """One meta-iteration."""

    env_steps: int
    seconds: float
    """Wall-clock time of the whole."""
    parts: dict[str, float]
    """Seconds of each part."""
    tasks: list[Task]
    """Sampled tasks."""
    actions: list[Actions]
    """Actions of each rollout, ``[T, N, A]``, the episodes of a task side by side."""


class Physics(NamedTuple):
    """Percentage of iterations' time that their physics alone takes."""

    as_stepped: list[float]
    """Stepped as the engine steps it."""
    limit: list[float]
    """Each step in full, no core waiting for another."""


class Result(NamedTuple):
    """A workload's iterations and their memory."""

    rates: list[float]
    """Environment steps per second."""
    env_steps: int
    parts: dict[str, list[float]]
    """Seconds of each part."""
    peak_mib: float
    physics: Physics | None
    """None where no simulator is stepped."""


def main(
    *,
    workload: Literal["CW-NAV", "CW-ML10-H100", "CW-ML10-H500r2", "CW-ML10-FULL", "all"] = "all",
    repeats: int = 3,
) -> None:
    """Time whole meta-iterations.

    Args:
        workload: name of the workload.
        repeats: iterations to measure, after one for warming up.
    """
    console = wide_console()
    console.print(machine())
    table = Table(
        title=f"meta-iterations of MAML-TRPO, median [least, greatest] of {repeats}",
        caption="outer step: all advantages, and the trust-region step; memory: the most resident at once,\n"
        "workers included; what processes share counts in each; physics and limit: the physics taken alone\n"
        "as the engine steps it, and in full without waiting, in percent of the whole",
    )
    table.add_column("workload", no_wrap=True)
    for column in (
        "env steps",
        "env steps/s",
        "sampling, s",
        "adaptation, s",
        "outer step, s",
        "physics, %",
        "limit, %",
        "MiB",
    ):
        table.add_column(column, justify="right")
    bars: list[Bar] = []
    for name in track(list(WORKLOADS) if workload == "all" else [workload], transient=True):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            result = alone.submit(measure, name, repeats).result()
        table.add_row(*row(name, result))
        bars += judge(result) if name == JUDGED else []
    console.print(table)
    if bars:
        console.print(bars_table(bars))


def measure(name: str, repeats: int) -> Result:
    """Run a workload: one iteration for warming up, then those that count."""
    workload = WORKLOADS[name]
    suite = workload.suite.build()
    agent = AGENT.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    sampling = workload.sampling
    env = suite.make_vector_env(sampling.meta_batch_size * sampling.episodes)

    def iterate(index: int) -> Iteration:
        rng = make_rng(0, Purpose.TRAINING, index)
        start = time.perf_counter()
        tasks = suite.sample(sampling.meta_batch_size, rng)
        done = meta_iteration(agent, env, tasks, episodes=sampling.episodes, horizon=suite.horizon, rng=rng)
        seconds = time.perf_counter() - start
        steps = sum(rollout.num_steps for rollout in done.rollouts)
        return Iteration(steps, seconds, done.seconds, tasks, [flat(rollout) for rollout in done.rollouts])

    try:
        iterate(0)
        with peak_memory() as memory:
            iterations = [iterate(index + 1) for index in range(repeats)]
    finally:
        env.close()
    return Result(
        rates=[iteration.env_steps / iteration.seconds for iteration in iterations],
        env_steps=iterations[0].env_steps,
        parts={part: [iteration.parts[part] for iteration in iterations] for part in PARTS},
        peak_mib=memory.mib,
        physics=physics_shares(iterations) if isinstance(suite, MetaWorldTasks) else None,
    )


def flat(rollout: Rollout) -> Actions:
    """Return the actions of ``[M, K, T, A]`` as ``[T, M * K, A]``."""
    actions: Actions = rollout.actions.flatten(0, 1).transpose(0, 1).contiguous().numpy()
    return actions


def physics_shares(iterations: list[Iteration]) -> Physics:
    """Simulate the episodes of each iteration once more."""
    compiled = load() is not None
    as_stepped, limit = (
        [100 * physics_seconds(one, free=free, compiled=compiled) / one.seconds for one in iterations]
        for free in (False, True)
    )
    return Physics(as_stepped, limit)


def physics_seconds(iteration: Iteration, *, free: bool, compiled: bool) -> float:
    """Return the seconds of an iteration's physics, as the engine steps it or freely and in full."""
    seconds = 0.0
    for actions in iteration.actions:
        episodes = actions.shape[1] // len(iteration.tasks)
        given = drive([task for task in iteration.tasks for _ in range(episodes)], actions)
        physics = PoolPhysics(
            given.families, free=free, stepper="compiled" if compiled else "portable", reuse_forward=not free
        )
        try:
            physics.prepare(given)
            seconds += physics.run()
        finally:
            physics.close()
    return seconds


@dataclass
class Peak:
    """Most memory seen so far."""

    mib: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Poll the resident memory of this process and its children."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            peak.mib = max(peak.mib, sum(process.memory_info().rss for process in processes) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def row(name: str, result: Result) -> list[str]:
    """Format a workload's results."""
    shares = ["", ""] if result.physics is None else [spread(share, ".0f") for share in result.physics]
    return [
        name,
        f"{result.env_steps:,}",
        spread(result.rates, ",.0f"),
        *(f"{statistics.median(result.parts[part]):.2f}" for part in PARTS),
        *shares,
        f"{result.peak_mib:,.0f}",
    ]


def judge(result: Result) -> list[Bar]:
    """Compare the largest workload with the targets for two cores."""
    share = None if result.physics is None else statistics.median(result.physics.as_stepped)
    return [
        Bar(f"{JUDGED}: physics, % of the time", 60, share),
        Bar(f"{JUDGED}: env steps/s in all", 15_000, statistics.median(result.rates)),
        Bar(f"{JUDGED}: memory, MiB", 2048, result.peak_mib, at_most=True),
    ]


if __name__ == "__main__":
    run(main)
