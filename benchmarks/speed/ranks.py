"""Whole meta-iterations by two ranks of one thread each, and by one process of two threads on the same cores.

    .venv/bin/python -m benchmarks.speed.ranks

They run in turn, each in processes of its own, and must end with the same weights. Communication is the time
of the messages, without the waiting for the slower rank. The last table has the bytes that a rank receives in
an iteration, and their growth with ranks: episodes go to all ranks, sums are of every chunk's share.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import (
    AGENT,
    WORKLOADS,
    Bar,
    bars_table,
    in_turn,
    machine,
    ratios,
    spread,
    wide_console,
)
from metarl.config import ExperimentConfig
from metarl.functional.random_streams import Purpose, make_rng
from metarl.system.ranks import Traffic, joined
from metarl.system.sharing import sharing
from metarl.system.threads import use_threads
from metarl.training.experiment import Experiment
from metarl.training.meta_iteration import meta_iteration
from metarl.training.replicas import digest

HERE = Path(__file__).resolve().parents[2]
ALONE, RANKS = "one process, two threads", "two ranks, one thread each"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@dataclass(frozen=True)
class Measured:
    """Means of a process's iterations after the first."""

    seconds: float
    waiting: float
    transfer: float
    exchanges: float
    received_bytes: float
    rollout_bytes: int
    parameters: int
    chunks: int
    weights: str
    """Sum of the agent after the last iteration."""


def main(
    *, workload: str = "CW-ML10-H100", iterations: int = 2, repeats: int = 1, worker: bool = False
) -> None:
    """Compare two ranks with one process.

    Args:
        workload: a name of benchmarks/workloads.py.
        iterations: of each process, after one for warming up.
        repeats: of both, in turn.
        worker: measure in this process, and print the result as JSON.
    """
    if worker:
        measure(workload, iterations)
        return
    console = wide_console()
    console.print(machine())
    options = (
        "-m",
        "benchmarks.speed.ranks",
        "--worker",
        "--workload",
        workload,
        "--iterations",
        str(iterations),
    )
    contenders: dict[str, Callable[[], Measured]] = {
        ALONE: lambda: started(options),
        RANKS: lambda: started((*TORCHRUN, *options)),
    }
    measured = in_turn(contenders, repeats)
    alone, ranks = measured[ALONE], measured[RANKS]
    if len({each.weights for each in (*alone, *ranks)}) != 1:
        raise SystemExit("Expected the same weights from both, got others.")
    table = Table(title=f"{workload}, seconds of a meta-iteration, median [least, greatest] of {repeats}")
    for column in ("", "whole", "waiting", "messages"):
        table.add_column(column, justify="left" if not column else "right")
    for name, runs in measured.items():
        parts = ([r.seconds for r in runs], [r.waiting for r in runs], [r.transfer for r in runs])
        table.add_row(name, *(spread(part, ".3f") for part in parts))
    console.print(table)
    faster = ratios([each.seconds for each in alone], [each.seconds for each in ranks])
    share = statistics.median(ratios([r.transfer for r in ranks], [r.seconds for r in ranks]))
    console.print(
        bars_table(
            [
                Bar("iterations of two ranks to those of one process", 0.95, statistics.median(faster)),
                Bar("share of communication", 0.03, share, at_most=True),
            ]
        )
    )
    console.print(growth(ranks[0]))


def started(arguments: tuple[str, ...]) -> Measured:
    """Run a worker, and return what its first rank has printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measure(workload: str, iterations: int) -> None:
    """Train without writing anything, with the other ranks if there are any."""
    chosen = WORKLOADS[workload]
    config = ExperimentConfig(suite=chosen.suite, agent=AGENT, sampling=chosen.sampling)
    experiment = Experiment(config, Path())
    agent, suite, sampling = experiment.agent, experiment.suite, config.sampling
    seconds, traffic, rollout_bytes = [0.0], Traffic(), 0
    with joined({}) as ranks:
        experiment.share_among(ranks)
        threads = 2 if ranks is None else 1
        with use_threads(threads), sharing(ranks, experiment.num_envs), closing(experiment.make_env()) as env:
            for iteration in range(iterations + 1):
                if ranks is not None and iteration <= 1:
                    ranks.traffic = Traffic()
                rng = make_rng(0, Purpose.TRAINING, iteration)
                tasks = suite.sample(sampling.meta_batch_size, rng)
                done = meta_iteration(
                    agent, env, tasks, episodes=sampling.episodes, horizon=suite.horizon, rng=rng
                )
                seconds.append(sum(done.seconds.values()))
            traffic = traffic if ranks is None else ranks.traffic
            rollout_bytes = sum(
                value.nbytes for rollout in done.rollouts for value in rollout.tensors().values()
            )
            chunks = len(agent.task_slices(done.rollouts[-1])) if hasattr(agent, "task_slices") else 1
        result = Measured(
            seconds=statistics.mean(seconds[2:]),
            waiting=traffic.waiting / iterations,
            transfer=traffic.transfer / iterations,
            exchanges=traffic.exchanges / iterations,
            received_bytes=traffic.received_bytes / iterations,
            rollout_bytes=rollout_bytes,
            parameters=sum(value.numel() for value in agent.state().tensors.values()),
            chunks=chunks,
            weights=digest(agent).hex(),
        )
        if ranks is None or ranks.is_first:
            print(json.dumps(asdict(result)), flush=True)


def growth(measured: Measured) -> Table:
    """Return the bytes that a rank receives in an iteration, by the number of ranks."""
    table = Table(title=f"bytes that a rank receives in an iteration; {measured.exchanges:.0f} exchanges")
    for column in ("ranks", "episodes", f"sums of {measured.parameters:,} parameters", "both, MB"):
        table.add_column(column, justify="right")
    episodes = measured.rollout_bytes / 2
    sums = max(0.0, measured.received_bytes - episodes)  # of 2 ranks
    slots = -(-measured.chunks // 2)
    for ranks in (2, 4, 8, 16, 64):
        of_episodes = measured.rollout_bytes * (ranks - 1) / ranks
        # every rank's message is as long as the longest
        of_sums = sums * (ranks - 1) * -(-measured.chunks // ranks) / slots
        table.add_row(
            str(ranks), f"{of_episodes:,.0f}", f"{of_sums:,.0f}", f"{(of_episodes + of_sums) / 1e6:.1f}"
        )
    table.caption = f"measured with 2 ranks: {measured.received_bytes:,.0f}"
    return table


if __name__ == "__main__":
    run(main)
