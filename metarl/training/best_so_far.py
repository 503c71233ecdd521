"""The best return on held-out tasks: which checkpoint is spared, and when training ends early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metarl.config import ExperimentConfig
from metarl.errors import MetarlError
from metarl.storage.metrics import Row, held_out_return, read_metrics


class BestSoFar:
    """Highest return on held-out tasks in the rows of a run until now."""

    def __init__(self) -> None:
        self.iteration: int | None = None  # where it was measured; None before the first evaluation
        self.waited = 0  # evaluations since then, none of them better
        self._highest = -math.inf

    def rate(self, row: Row) -> None:
        """Compare a row's return, if it was evaluated."""
        rated = held_out_return(row)
        if rated is None:
            return
        self.waited += 1
        if self.iteration is None or rated > self._highest:
            self._highest, self.iteration, self.waited = rated, int(row["iteration"]), 0


def ended_early(path: Path, config: ExperimentConfig) -> bool:
    """Return whether a run's patience ended its training.

    Of a file of ``metarl evaluate``, which has no metrics, any run with a patience counts.
    """
    patience = config.evaluation.patience
    if patience == 0 or path.is_file():
        return patience > 0
    best = BestSoFar()
    try:
        for row in read_metrics(path):
            best.rate(row)
    except MetarlError:  # not begun yet
        return False
    return best.waited >= patience


def as_planned(
    paths: Sequence[Path], configs: Sequence[ExperimentConfig], most: int = 0
) -> list[ExperimentConfig]:
    """Return seeds' configs with the iterations that they were to train for.

    A run that ended early records where it ended. It was to train for as many iterations as the others of
    its kind, and for ``most`` at least.
    """
    planned = max([most, *(config.iterations for config in configs)])
    return [
        replace(config, iterations=planned) if ended_early(path, config) else config
        for path, config in zip(paths, configs, strict=True)
    ]
