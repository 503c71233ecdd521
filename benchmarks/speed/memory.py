"""Resident memory over a whole run on ``point``: log, evaluations and checkpoints included.

Growth is the slope of a least-squares line through the second half of the run, where caches and pools have
filled. Its standard error takes the iterations for independent, which resident memory is not quite.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import scipy.stats
import torch
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, wide_console
from metarl.presets.toy import point
from metarl.training.experiment import Experiment


def main(*, iterations: int = 200, every: int = 20) -> None:
    """Measure whether resident memory grows.

    Args:
        iterations: meta-iterations of the run.
        every: iterations between the rows that are printed.
    """
    console = wide_console()
    console.print(machine())
    torch.set_num_threads(1)  # the tensors are small, and this run need not wait for a second core
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        Experiment(dataclasses.replace(point(), iterations=iterations), Path(folder), [watch]).run()
    table = Table(title="resident memory of a run on point")
    for column in ("iteration", "MiB"):
        table.add_column(column, justify="right")
    for iteration, kibibytes in enumerate(watch.kibibytes):
        if iteration % every == 0:
            table.add_row(str(iteration), f"{kibibytes / 1024:.1f}")
    console.print(table)
    slope, error = growth(np.array(watch.kibibytes[iterations // 2 :]))
    console.print(
        f"growth over the second half: {slope:.2f} ± {error:.2f} KiB per iteration (standard error)"
    )


class Watch:
    """Observer that notes the resident memory after every iteration."""

    def __init__(self) -> None:
        self.kibibytes: list[float] = []
        self._process = psutil.Process()

    def on_step(self, episodes: int) -> None:
        """Do nothing."""

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Note the resident memory."""
        self.kibibytes.append(self._process.memory_info().rss / 1024)


def growth(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the least-squares slope of values at 0, 1, 2, … and its standard error."""
    line = scipy.stats.linregress(np.arange(len(values)), values)
    return float(line.slope), float(line.stderr)


if __name__ == "__main__":
    run(main)
