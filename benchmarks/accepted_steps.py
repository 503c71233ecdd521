"""Share of trust-region steps that the line search accepts, on ``point`` with short episodes.

    .venv/bin/python benchmarks/accepted_steps.py --iterations 20 --seeds 1 2

Every agent with a trust region trains with the preset's settings and horizons of a few steps, where few
transitions are there to estimate the Fisher matrix from. A step that is refused teaches nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import tyro
from rich.table import Table

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import ExperimentConfig
from metarl.errors import MetarlError, require
from metarl.experiment import TRAIN, meta_iteration, stream
from metarl.registry import AGENTS, agent, names, preset
from workloads import machine, wide_console

TRUST_REGION = tuple(name for name in names(AGENTS) if issubclass(agent(name), MAMLTRPOConfig))
BAR = 0.9


def main(
    *,
    iterations: int = 20,
    seeds: tuple[int, ...] = (1, 2),
    horizons: tuple[int, ...] = (1, 2, 5, 10, 20),
    agents: tuple[str, ...] = TRUST_REGION,
    stride: int | None = None,
) -> None:
    """Train each agent for some meta-iterations and count the accepted steps.

    Args:
        iterations: meta-iterations of each run.
        seeds: of the runs.
        horizons: steps of an episode.
        agents: names of agents with a trust region.
        stride: ``curvature_stride`` instead of the preset's.
    """
    require(iterations >= 1, "iterations must be 1 or more", iterations)
    console = wide_console()
    console.print(machine())
    table = Table(title=f"accepted steps, {iterations} iterations x {len(seeds)} seeds")
    table.add_column("agent")
    for horizon in horizons:
        table.add_column(f"T = {horizon}", justify="right")
    shares = []
    for name in agents:
        row = [accepted(name, horizon, iterations, seeds, stride) for horizon in horizons]
        table.add_row(name, *(f"{share:.0%}" for share in row))
        shares += row
    console.print(table)
    console.print(f"least: {min(shares):.0%} (bar: {BAR:.0%})")


def accepted(name: str, horizon: int, iterations: int, seeds: Sequence[int], stride: int | None) -> float:
    """Return the share of accepted steps over all seeds."""
    return sum(count_accepted(name, horizon, iterations, seed, stride) for seed in seeds) / (
        iterations * len(seeds)
    )


def count_accepted(name: str, horizon: int, iterations: int, seed: int, stride: int | None) -> int:
    """Train one agent on ``point``; return how many steps were accepted."""
    config: ExperimentConfig = preset("point")(name)
    suite = dataclasses.replace(config.suite, horizon=horizon).build()
    settings = config.agent if stride is None else dataclasses.replace(config.agent, curvature_stride=stride)
    learner = settings.build(suite, seed=seed, device=torch.device("cpu"))
    sampling = config.sampling
    env = suite.make_vector_env(sampling.meta_batch_size * sampling.episodes, engine=sampling.engine)
    count = 0
    for iteration in range(iterations):
        rng = stream(seed, TRAIN, iteration)
        tasks = suite.sample(sampling.meta_batch_size, rng)
        done = meta_iteration(learner, env, tasks, episodes=sampling.episodes, horizon=suite.horizon, rng=rng)
        count += int(done.metrics["step_accepted"])
    env.close()
    return count


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except MetarlError as error:
        raise SystemExit(str(error)) from error
