"""Cost of every registered agent's adaptation and outer step, each in a new process.

The process is new, so that its peak memory is that agent's. All agents have the workloads' settings and read
episodes of the same observations, drawn by their own policies; an agent that does not adapt in training reads
one rollout instead of two.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from rich.table import Table

from benchmarks.speed.synthetic import advantages_of, plain_pass, plain_policy, synthetic_rollouts, timed
from benchmarks.workloads import AGENT, in_turn, ratios, spread
from metarl.config import AgentConfig, SamplingConfig, construct
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.learning.advantages import make_batch
from metarl.meta_learner import never
from metarl.plugins.registry import agent

MAML = "maml-trpo"
RNG = np.random.default_rng(0)
"""Generator for agents that draw; these do not."""


class Work(NamedTuple):
    """An agent and the size of its outer step."""

    agent: str
    shape: tuple[int, int, int]
    """Tasks, episodes of each and their steps, in every rollout."""
    inner_steps: int | None = None
    """Adaptation steps in training; None for as many as the agent has by default."""


class Costs(NamedTuple):
    """Measurements of one agent."""

    rollouts: int
    """Number of rollouts that its update reads."""
    seconds: dict[str, list[float]]
    """Seconds of ``adapt``, ``update`` and ``plain``, a plain pass over all those rollouts."""
    data: float
    """MiB of the process before the first update, the rollouts among it."""
    peak: float
    """Most MiB of the process, at the end of the first update."""


def measure(work: Work, repeats: int) -> Costs:
    """Measure an agent in this process, which should be new."""
    config = configured(work)
    suite = MetaWorldTasks(name="sizes", train=(), test=(), horizon=work.shape[-1])
    learner = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    rollouts = synthetic_rollouts(learner, work.shape)
    actor, state = learner.initial_actor(work.shape[0], RNG), learner.state()
    held = psutil.Process().memory_info().rss / 2**20
    learner.update(rollouts, (), RNG, never)
    # Linux counts the peak a few pages late
    peak = max(held, peak_memory())
    policy = plain_policy()
    theta = policy.initial_params(torch.Generator().manual_seed(0))
    batches = [make_batch(rollout, advantages_of(rollout)) for rollout in rollouts]

    def update() -> None:
        learner.load_state(state)
        learner.update(rollouts, (), RNG, never)

    actions = {
        "adapt": timed(lambda: learner.adapt(actor, rollouts[0], RNG)),
        "update": timed(update),
        "plain": timed(lambda: plain_pass(policy, theta, batches)),
    }
    in_turn(actions, 1 if repeats else 0)
    return Costs(len(rollouts), in_turn(actions, repeats), held, peak)


def configured(work: Work) -> AgentConfig:
    """Return the agent's config with those of the workloads' settings that it has."""
    config = agent(work.agent)
    known = {field.name for field in dataclasses.fields(config)}
    shared = {"hidden_sizes", "activation", "discount", "gae_lambda", "max_kl", "cg_iters"} & known
    settings: dict[str, object] = {name: getattr(AGENT, name) for name in shared}
    if work.inner_steps is not None:
        settings["adaptation_steps"] = work.inner_steps
    return construct(config, settings)


def measure_apart(work: Work, repeats: int) -> Costs:
    """Measure an agent in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, work, repeats).result()


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MiB.

    Linux's own count begins with the program; that of ``getrusage`` with the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def costs_table(costs: Mapping[str, Costs]) -> Table:
    """Return time in plain passes, and memory, with a row for each agent."""
    table = Table(
        title="every agent's adaptation and outer step",
        caption="in plain passes, forward and backward, over the rollouts that the update reads: "
        "median [least, greatest]; memory is the process's, and of the first update beyond what it found",
    )
    table.add_column("agent")
    for column in ("rollouts", "adapt", "update", "update, ms", "peak MiB", "update MiB"):
        table.add_column(column, justify="right")
    for name, cost in costs.items():
        seconds = cost.seconds
        table.add_row(
            name,
            str(cost.rollouts),
            spread(ratios(seconds["adapt"], seconds["plain"]), ".2f"),
            spread(ratios(seconds["update"], seconds["plain"]), ".1f"),
            spread([1000 * value for value in seconds["update"]], ".0f"),
            f"{cost.peak:.0f}",
            f"{cost.peak - cost.data:.0f}",
        )
    return table


def memory_table(grown: Mapping[str, Mapping[int, Costs]]) -> Table:
    """Return the update's memory by the number of inner steps, with a row for each agent."""
    table = Table(
        title="memory of the update by inner steps, MiB",
        caption="beyond what the process held before, the rollouts among it; in brackets for each rollout, "
        "of which there is one more than inner steps: it must not grow",
    )
    table.add_column("agent")
    steps = sorted({step for costs in grown.values() for step in costs})
    for step in steps:
        table.add_column(str(step), justify="right")
    for name, costs in grown.items():
        taken = {step: cost.peak - cost.data for step, cost in costs.items()}
        table.add_row(name, *(f"{taken[s]:.0f} ({taken[s] / costs[s].rollouts:.0f})" for s in steps))
    return table
