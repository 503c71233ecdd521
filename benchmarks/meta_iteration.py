"""Whole meta-iterations of MAML-TRPO on the workloads that peers were measured on, split into their parts.

Each workload runs in a process of its own, so that memory is its own; the first iteration, in which
environments are built and goals met for the first time, is not counted.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import psutil
import torch
import tyro
from rich.progress import track
from rich.table import Table

from metarl.experiment import TRAIN, meta_iteration, stream
from workloads import AGENT, WORKLOADS, machine, spread, wide_console

PARTS = ("sampling", "adaptation", "update")
SECONDS_BETWEEN_LOOKS = 0.05


class Iteration(NamedTuple):
    """One meta-iteration."""

    env_steps: int
    seconds: float
    """Wall-clock time of all of it."""
    parts: dict[str, float]
    """Seconds of each part."""


class Result(NamedTuple):
    """A workload's iterations and the memory they took."""

    iterations: list[Iteration]
    peak_mib: float


def main(
    *,
    workload: Literal["CW-NAV", "CW-ML10-H100", "CW-ML10-H500r2", "CW-ML10-FULL", "all"] = "all",
    repeats: int = 3,
) -> None:
    """Time whole meta-iterations.

    Args:
        workload: which one.
        repeats: iterations to measure, after one for warming up.
    """
    console = wide_console()
    console.print(machine())
    table = Table(
        title=f"meta-iterations of MAML-TRPO, median [least, greatest] of {repeats}",
        caption="outer step: all advantages, and the trust-region step; memory: the most resident at once,\n"
        "workers included; what processes share counts in each",
    )
    table.add_column("workload", no_wrap=True)
    for column in (
        "env steps",
        "env steps/s",
        "sampling, s",
        "adaptation, s",
        "outer step, s",
        "memory, MiB",
    ):
        table.add_column(column, justify="right")
    for name in track(list(WORKLOADS) if workload == "all" else [workload], transient=True):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            table.add_row(*row(name, alone.submit(measure, name, repeats).result()))
    console.print(table)


def measure(name: str, repeats: int) -> Result:
    """Run a workload: one iteration for warming up, then those that count."""
    workload = WORKLOADS[name]
    suite = workload.suite.build()
    agent = AGENT.build(suite, seed=0, device=torch.device("cpu"))
    sampling = workload.sampling
    env = suite.make_vector_env(sampling.meta_batch_size * sampling.episodes)

    def iterate(index: int) -> Iteration:
        rng = stream(0, TRAIN, index)
        start = time.perf_counter()
        tasks = suite.sample(sampling.meta_batch_size, rng)
        done = meta_iteration(agent, env, tasks, episodes=sampling.episodes, horizon=suite.horizon, rng=rng)
        seconds = time.perf_counter() - start
        return Iteration(sum(rollout.num_steps for rollout in done.rollouts), seconds, done.seconds)

    try:
        iterate(0)
        with peak_memory() as memory:
            iterations = [iterate(index + 1) for index in range(repeats)]
        return Result(iterations, memory.mib)
    finally:
        env.close()


@dataclass
class Peak:
    """The most memory seen so far."""

    mib: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Look again and again at the resident memory of this process and its children."""
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
    iterations = result.iterations
    return [
        name,
        f"{iterations[0].env_steps:,}",
        spread([iteration.env_steps / iteration.seconds for iteration in iterations], ",.0f"),
        *(spread([iteration.parts[part] for iteration in iterations], ".2f") for part in PARTS),
        f"{result.peak_mib:,.0f}",
    ]


if __name__ == "__main__":
    tyro.cli(main)
