"""The progress of a comparison: a bar with time left on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from metarl.experiment import Stopped
from metarl.progress import SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_UPDATES, clock
from metarl.sb3.plan import Baseline
from metarl.types import Task


class ComparisonProgress:
    """A bar in seconds as they were estimated, so that its time left holds for steps of every sort."""

    def __init__(self, console: Console, results: int) -> None:
        self.finished = 0
        self._console = console
        self._results = results
        self._paces: Mapping[str, float] = {}
        self._stop = False
        self._bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            speed_estimate_period=300.0,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._done = self._total = self._unshown = 0.0
        self._start = self._last_update = time.monotonic()
        self._last_line = -SECONDS_BETWEEN_LINES

    def request_stop(self) -> None:
        """End before the next step."""
        self._stop = True

    def on_step(self, sort: str, slots: int) -> None:
        """Advance by a step of some slots.

        Raises:
            Stopped: if that was asked for.
        """
        if self._stop:
            raise Stopped
        self._unshown += slots * self._paces.get(sort, 0.0)
        now = time.monotonic()
        if now - self._last_update >= SECONDS_BETWEEN_UPDATES:
            self._last_update = now
            self._done += self._unshown
            self._bar.update(self._task, advance=self._unshown)
            self._unshown = 0.0

    def on_result(self, baseline: Baseline, task: Task) -> None:
        """Say what was finished."""
        self.finished += 1
        done = f"{baseline.label} ({self.finished} of {self._results})"
        self._bar.update(self._task, description=done)
        now = time.monotonic()
        last = self.finished == self._results
        if not self._console.is_terminal and (last or now - self._last_line >= SECONDS_BETWEEN_LINES):
            self._last_line = now
            line = f"{done}, {task.id}; about {clock(self._left(now))} left"
            self._console.print(line, markup=False, soft_wrap=True)

    def shown(self, paces: Mapping[str, float], total: float) -> ComparisonProgress:
        """Return itself, to be entered while a total of estimated seconds is worked off."""
        self._paces, self._total = paces, total
        self._start = time.monotonic()
        self._bar.reset(self._task, total=total)
        return self

    def __enter__(self) -> ComparisonProgress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands, or full if all went well."""
        if error is None:
            self._bar.update(self._task, completed=self._total)
        self._bar.stop()

    def _left(self, now: float) -> float:
        """Return the seconds left: as estimated, and later if the rest goes as what is done went."""
        rest = max(0.0, self._total - self._done)
        known = self._done > 0.05 * self._total
        return rest * (now - self._start) / self._done if known else rest
