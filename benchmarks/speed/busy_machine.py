"""Whole ML1 meta-iterations of two builds in turn, on a quiet machine and beside a busy process.

Give the folder of another checkout, such as ``git worktree add ../former COMMIT``. Each build runs in a
process of its own with this environment's packages, and the two take turns, iteration by iteration, so that
both meet the same disturbance. Three settings, at equal steps:

    quiet       nothing else runs
    busy        one process keeps a core busy, at equal priority
    niced       the same, while training runs under ``nice -n 10``

The table gives environment steps a second, median [least, greatest], and the median of the pairs' ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from rich.progress import track
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import Bar, bars_table, machine, spread, wide_console

HERE = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("busy_machine_worker.py")
NICENESS = 10


class Setting(NamedTuple):
    """Other load on the machine."""

    name: str
    busy: bool
    """Whether another process keeps a core busy."""
    niceness: int
    """Niceness of training."""
    wanted: float
    """Least ratio of this build's speed to the other's."""


SETTINGS = (
    Setting("quiet", busy=False, niceness=0, wanted=0.98),
    Setting("busy, equal priority", busy=True, niceness=0, wanted=1.2),
    Setting(f"busy, nice -n {NICENESS}", busy=True, niceness=NICENESS, wanted=5.0),
)


def main(former: Path, /, *, repeats: int = 7, busy_processes: int = 1) -> None:
    """Compare whole meta-iterations with those of another checkout.

    Args:
        former: the other checkout.
        repeats: pairs of iterations in each setting, after one for warming up.
        busy_processes: processes that each keep a core busy.
    """
    console = wide_console()
    console.print(machine())
    table = Table(title=f"ML1 meta-iterations, env steps/s, median [least, greatest] of {repeats}")
    for column in ("setting", "former build", "this build", "this / former"):
        table.add_column(column, justify="left" if column == "setting" else "right", no_wrap=True)
    bars = []
    for setting in track(SETTINGS, transient=True):
        with busy(busy_processes) if setting.busy else nullcontext():
            rates = measure((former.resolve(), HERE), setting.niceness, repeats)
        ratios = [ours / theirs for theirs, ours in zip(*rates, strict=True)]
        table.add_row(setting.name, *(spread(rate, ",.0f") for rate in rates), spread(ratios, ".2f"))
        bars.append(Bar(f"{setting.name}: this / former", setting.wanted, statistics.median(ratios)))
    console.print(table)
    console.print(bars_table(bars))


def measure(checkouts: Sequence[Path], niceness: int, repeats: int) -> list[list[float]]:
    """Return each checkout's steps per second, iteration by iteration in turn."""
    workers = [start(checkout, niceness) for checkout in checkouts]
    try:
        for worker in workers:
            iterate(worker)
        rates: list[list[float]] = [[] for _ in workers]
        for _ in range(repeats):
            for worker, found in zip(workers, rates, strict=True):
                found.append(iterate(worker))
        return rates
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def start(checkout: Path, niceness: int) -> subprocess.Popen[str]:
    """Start a build's worker, in the build's own environment, which waits for commands."""
    python = str(checkout / ".venv" / "bin" / "python")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.Popen(
        ["nice", "-n", str(niceness), python, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env={**environment, "PYTHONPATH": str(checkout)},
    )


def iterate(worker: subprocess.Popen[str]) -> float:
    """Run one meta-iteration in a worker; return its environment steps per second."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("iterate\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep ``count`` cores busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    run(main)
