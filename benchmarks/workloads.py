"""Shared parts of the benchmarks: published workloads, fair repetition, bars, the machine.

Run by itself, it describes the machine.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import SamplingConfig, SuiteConfig
from metarl.envs.metaworld.suite import ML10Config
from metarl.envs.toy.point import PointConfig

ResultT = TypeVar("ResultT")


AGENT = MAMLTRPOConfig(
    hidden_sizes=(64, 64),
    activation="tanh",
    discount=0.99,
    gae_lambda=1.0,
    inner_lr=0.1,
    adaptation_steps=1,
    max_kl=0.01,
    cg_iters=10,
)
"""Settings under which the peers were measured; the baseline is linear."""


@dataclass(frozen=True)
class Workload:
    """A meta-iteration: one meta-batch, sampled before and after one inner step, and one update."""

    suite: SuiteConfig
    episodes: int
    """Episodes of each of 20 tasks, before the inner step and again after it."""

    @property
    def sampling(self) -> SamplingConfig:
        """Sampling of a meta-batch."""
        return SamplingConfig(meta_batch_size=20, episodes=self.episodes)


WORKLOADS = {
    "CW-NAV": Workload(PointConfig(horizon=100), episodes=10),
    "CW-ML10-H100": Workload(ML10Config(horizon=100), episodes=10),
    "CW-ML10-H500r2": Workload(ML10Config(horizon=500), episodes=2),
    "CW-ML10-FULL": Workload(ML10Config(horizon=500), episodes=10),
}
"""Workloads by the names under which other packages' numbers are known."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Describe the machine; a load far above zero at the start spoils every number."""
    versions = " ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "mujoco", "metaworld", "gymnasium", "numpy")
    )
    return (
        f"{cores()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {torch.get_num_threads()} torch threads, {versions}"
    )


def in_turn(contenders: Mapping[str, Callable[[], ResultT]], repeats: int) -> dict[str, list[ResultT]]:
    """Run every contender once a repeat, each repeat starting with the next one.

    Drift (of the clock, of the load) then hits all alike, and results of one repeat may be compared.
    """
    names = list(contenders)
    results: dict[str, list[ResultT]] = {name: [] for name in names}
    for repeat in range(repeats):
        for place in range(len(names)):
            name = names[(repeat + place) % len(names)]
            results[name].append(contenders[name]())
    return results


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide measurements of the same repeat."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def spread(values: Sequence[float], pattern: str) -> str:
    """Format the median, and the least and the greatest value."""
    middle, low, high = (format(v, pattern) for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} [{low}, {high}]"


class Bar(NamedTuple):
    """A measured number that must reach a target."""

    what: str
    wanted: float
    measured: float | None
    """None if it could not be measured."""
    at_most: bool = False
    """Whether less is better."""

    @property
    def verdict(self) -> str:
        """Whether the target is reached."""
        if self.measured is None:
            return "not measured"
        return (
            "yes"
            if (self.measured <= self.wanted if self.at_most else self.measured >= self.wanted)
            else "NO"
        )


def bars_table(bars: Sequence[Bar]) -> Table:
    """Return targets beside measurements."""
    table = Table(title="what must be reached, by the median")
    for column in ("", "wanted", "measured", "reached"):
        table.add_column(column, justify="left" if not column else "right")
    for bar in bars:
        measured = "" if bar.measured is None else _number(bar.measured)
        wanted = f"{'at most' if bar.at_most else 'at least'} {_number(bar.wanted)}"
        table.add_row(bar.what, wanted, measured, bar.verdict)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def wide_console() -> Console:
    """Return a console that does not wrap tables in a file."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=140)


@contextmanager
def quiet_sessions() -> Iterator[None]:
    """Keep the log of adaptation sessions silent, as hundreds of them run."""
    logger = logging.getLogger("metarl.deploy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


if __name__ == "__main__":
    print(machine())
