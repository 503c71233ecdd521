"""The control loop in real time: its period at 50 and 200 steps a second, and the policy's latency.

Two policies of the sizes that are usual on a robot act on an environment that costs nothing: a perceptron of
64 × 64 units, and a GRU of 128. All their parameters are drawn; a trained policy takes the same time.

    python -m benchmarks.speed.control_loop --seconds 10 --real-time
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, quiet_sessions, wide_console
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.rl2 import RL2Config
from metarl.config import AgentConfig, SamplingConfig
from metarl.deploy.clock import Spread, WallClock
from metarl.deploy.environment import CheckedEnv
from metarl.deploy.episodes import Journal
from metarl.deploy.loop import Loop, Timing
from metarl.deploy.policy import Acting, Policy
from metarl.deploy.settings import SafetySettings
from metarl.envs.custom.from_gymnasium import from_gymnasium
from metarl.spaces import action_size
from metarl.system.threads import one_thread
from metarl.vector_env import Array

OBSERVATIONS, ACTIONS = 39, 4  # those of Meta-World's arm
POLICIES: dict[str, AgentConfig] = {
    "perceptron 64 × 64": MAMLTRPOConfig(hidden_sizes=(64, 64)),
    "GRU 128": RL2Config(cell="gru", memory_size=128),
}


class Still(gymnasium.Env[Array, Array]):
    """A robot that does nothing, at once."""

    def __init__(self) -> None:
        self.observation_space = Box(-1.0, 1.0, (OBSERVATIONS,), np.float64)
        self.action_space = Box(-1.0, 1.0, (ACTIONS,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Return zeros."""
        super().reset(seed=seed)
        return np.zeros(OBSERVATIONS), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
        """Return zeros."""
        return np.zeros(OBSERVATIONS), 0.0, False, False, {}


def main(
    *, seconds: float = 10.0, frequencies: tuple[float, ...] = (50.0, 200.0), real_time: bool = False
) -> None:
    """Run each policy at each frequency for some seconds, and print a table.

    Args:
        seconds: of each loop.
        frequencies: steps a second.
        real_time: before other processes (SCHED_FIFO), as on a robot; needs the right to.
    """
    table = Table(title="Milliseconds, median / 99 % / worst")
    for column in ("policy", "steps/s", "period", "late by more than 1 ms", "missed deadlines", "latency"):
        table.add_column(column)
    for name, config in POLICIES.items():
        for frequency in frequencies:
            with quiet_sessions(), priority(real_time):
                timing = keep_pace(config, frequency, seconds)
            late = np.mean([period > 1 / frequency + 1e-3 for period in timing.periods])
            table.add_row(
                name,
                f"{frequency:g}",
                described(timing.period),
                f"{100 * late:.1f} %",
                f"{timing.missed} of {len(timing.periods)}",
                described(timing.latency),
            )
    console = wide_console()
    console.print(table)
    console.print(machine())


@contextmanager
def priority(real_time: bool) -> Iterator[None]:
    """Run before all processes that have no such priority."""
    if not real_time:
        yield
        return
    before, given = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, given)


@one_thread()
def keep_pace(config: AgentConfig, frequency: float, seconds: float) -> Timing:
    """Run a loop in real time, writing every step to disk."""
    suite = from_gymnasium(
        Still,  # type: ignore[arg-type]  # Gymnasium's environments are invariant in their types
        sample=lambda rng: rng.uniform(),
        apply=lambda env, task: None,
        horizon=10,
        name="still",
    )
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    policy = Policy(agent.initial_actor(1, np.random.default_rng(0)))
    generator = torch.Generator().manual_seed(0)
    acting = Acting(policy, action_size(suite.action_space), generator, deterministic=False)
    unlimited = SafetySettings(max_missed=10**9)
    env = CheckedEnv(Still(), suite, unlimited, "as-trained")
    loop = Loop(env, WallClock(), frequency, unlimited)
    with tempfile.TemporaryDirectory() as folder:
        loop.run(acting, Journal(Path(folder) / "0000.jsonl"), max(2, round(seconds * frequency)))
    return loop.timing


def described(spread: Spread | None) -> str:
    """Return a spread in milliseconds."""
    return "" if spread is None else spread.describe()


if __name__ == "__main__":
    run(main)
