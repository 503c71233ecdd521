"""The best return on held-out tasks: which checkpoint is spared, and when training ends early."""

from __future__ import annotations

import math

from metarl.storage.metrics import Row, held_out_return


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
