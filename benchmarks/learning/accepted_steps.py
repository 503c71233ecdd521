"""Share of trust-region steps that the line search accepts, on ``point`` with short episodes.

    .venv/bin/python -m benchmarks.learning.accepted_steps --iterations 20 --seeds 1 2

Every agent with a trust region trains with the preset's settings and horizons of a few steps, which give few
transitions to estimate the Fisher matrix from. A refused step teaches nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, wide_console
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import SamplingConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.plugins.entry_points import AGENTS, names
from metarl.plugins.registry import agent
from metarl.presets.toy import point
from metarl.training.meta_iteration import meta_iteration

TRUST_REGION = tuple(name for name in names(AGENTS) if issubclass(agent(name), MAMLTRPOConfig))
BAR = 0.9


@dataclasses.dataclass(frozen=True)
class Training:
    """Length, seeds and settings of each agent's training."""

    iterations: int
    seeds: Sequence[int]
    settings: Mapping[str, int]
    """Settings of the agent, instead of the preset's."""


def main(
    *,
    iterations: Annotated[int, Ge(1)] = 20,
    seeds: tuple[int, ...] = (1, 2),
    horizons: tuple[int, ...] = (1, 2, 5, 10, 20),
    agents: tuple[str, ...] = TRUST_REGION,
    stride: int | None = None,
) -> None:
    """Train each agent for some meta-iterations and count the accepted steps.

    Args:
        iterations: meta-iterations of each run.
        seeds: seeds of the runs.
        horizons: steps of an episode.
        agents: names of agents with a trust region.
        stride: ``curvature_stride`` instead of the preset's.
    """
    strange = [name for name in agents if name not in TRUST_REGION]
    require(not strange, f"Expected agents with a trust region: {', '.join(TRUST_REGION)}", strange)
    for name, values in (("seeds", seeds), ("horizons", horizons), ("agents", agents)):
        require(len(values) > 0, f"{name} must have a value at least", "empty")
    console = wide_console()
    console.print(machine())
    training = Training(iterations, seeds, {} if stride is None else {"curvature_stride": stride})
    shares = {name: [accepted(name, horizon, training) for horizon in horizons] for name in agents}
    table = Table(title=f"share of accepted steps, {iterations} iterations x {len(seeds)} seeds")
    table.add_column("agent")
    for horizon in horizons:
        table.add_column(f"horizon {horizon}", justify="right")
    for name, row in shares.items():
        table.add_row(name, *(f"{share:.0%}" for share in row))
    console.print(table)
    console.print(f"least {min(map(min, shares.values())):.0%} (bar: at least {BAR:.0%})")


def accepted(name: str, horizon: int, training: Training) -> float:
    """Return the share of accepted steps over all seeds."""
    steps = [step for seed in training.seeds for step in line_searches(name, horizon, seed, training)]
    return sum(steps) / len(steps)


def line_searches(name: str, horizon: int, seed: int, training: Training) -> list[float]:
    """Train one agent on ``point``; return 1 for each accepted step and 0 for each refused one."""
    config = point(name)
    suite = PointConfig(horizon=horizon).build()
    learner = dataclasses.replace(config.agent, **training.settings).build(
        suite, seed=seed, device=torch.device("cpu"), sampling=SamplingConfig()
    )
    tasks, episodes = config.sampling.meta_batch_size, config.sampling.episodes
    steps = []
    with contextlib.closing(suite.make_vector_env(tasks * episodes)) as env:
        for iteration in range(1, training.iterations + 1):
            rng = make_rng(seed, Purpose.TRAINING, iteration)
            batch = suite.sample(tasks, rng)
            done = meta_iteration(learner, env, batch, episodes=episodes, horizon=horizon, rng=rng)
            steps.append(done.metrics["step_accepted"])
    return steps


if __name__ == "__main__":
    run(main)
