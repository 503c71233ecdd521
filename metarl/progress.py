"""What a person sees while a run goes on: a bar with time left on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from metarl.experiment import Experiment

SECONDS_BETWEEN_LINES = 20.0
SECONDS_BETWEEN_UPDATES = 0.2
"""Of the bar: its time left is estimated from the updates of the last minute, and an update takes time."""


class ProgressObserver:
    """Shows a run's progress; measured in steps of the vector environment."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._bar = _Bar(console, what)
        self._task = self._bar.add_task("", total=None, speed="")
        self._newest: dict[str, float] = {}
        """Each metric's last value; those of held-out tasks do not come with every iteration."""
        self._iterations = 0
        self._total = 0
        self._steps = 0
        self._shown_steps = 0
        self._env_steps = 0
        self._start = self._last_update = time.monotonic()
        self._last_line = -SECONDS_BETWEEN_LINES

    def expect(self, vector_steps: int, iterations: int = 0) -> None:
        """Tell how many steps of the vector environment are to come, and the number of the last iteration."""
        self._iterations, self._total = iterations, vector_steps
        self._bar.update(self._task, total=vector_steps)

    def on_step(self, episodes: int) -> None:
        """Advance by one step of ``episodes`` episodes."""
        now = time.monotonic()
        if self._steps == 0:
            self._start = now
        self._steps += 1
        self._env_steps += episodes
        if now - self._last_update >= SECONDS_BETWEEN_UPDATES:
            self._last_update = now
            self._update_bar(self._steps, now)

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Show the iteration's numbers: above the bar, or as a line where there is no terminal."""
        where = f"iteration {iteration} of {self._iterations}"
        self._newest |= metrics
        self._bar.headline = f"{where}: {describe(self._newest)}"
        now = time.monotonic()
        last = iteration == self._iterations
        if not self._console.is_terminal and (last or now - self._last_line >= SECONDS_BETWEEN_LINES):
            self._last_line = now
            self._console.print(
                f"{where}: {describe(metrics)}; {self._pace(metrics, now)}", markup=False, soft_wrap=True
            )

    def on_notice(self, sentence: str) -> None:
        """Show a notice, on a terminal above the bar."""
        self._console.print(f"Notice: {sentence}", markup=False, soft_wrap=True)

    def __enter__(self) -> ProgressObserver:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands, or full if all went well: episodes may have ended early."""
        self._update_bar(self._total if error is None else self._steps, time.monotonic())
        self._bar.stop()

    def _update_bar(self, steps: int, now: float) -> None:
        speed = f"{self._env_steps / max(1e-9, now - self._start):,.0f} steps/s"
        self._bar.update(self._task, advance=steps - self._shown_steps, speed=speed)
        self._shown_steps = steps

    def _pace(self, metrics: dict[str, float], now: float) -> str:
        """Say how far the run is, how fast it goes and how long it will take."""
        elapsed = max(1e-9, now - self._start)
        share = min(1.0, self._steps / self._total) if self._total else 0.0
        left = clock(elapsed * (1 - share) / share) if share else "an unknown time"
        speed = self._env_steps / elapsed
        return f"{metrics['env_steps']:,.0f} env steps, {speed:,.0f} steps/s, {share:.0%} done, {left} left"


def watch(experiment: Experiment, console: Console | None = None) -> ProgressObserver:
    """Let a run show its progress while the observer that is returned is entered."""
    observer = ProgressObserver(console or Console(highlight=False), "starting")
    observer.expect(experiment.vector_steps, experiment.config.iterations)
    experiment.observer = observer
    return observer


class _Bar(Progress):
    """A bar with a line of text above it; on anything but a terminal it shows nothing."""

    def __init__(self, console: Console, headline: str) -> None:
        self.headline = headline
        super().__init__(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            speed_estimate_period=60.0,
            disable=not console.is_terminal,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the line, then the bar."""
        yield Text(self.headline, no_wrap=True, overflow="crop")
        yield from super().get_renderables()


def describe(metrics: dict[str, float]) -> str:
    """Say an iteration's returns and successes, before -> after adapting, in few words."""
    parts = [
        _stages(metrics, "return", "train/return", "{:.1f}"),
        _stages(metrics, "success", "train/success", "{:.0%}"),
        _stages(metrics, "held-out return", "test/return", "{:.1f}"),
        _stages(metrics, "held-out success", "test/success", "{:.0%}"),
    ]
    return ", ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """Write a duration as ``h:mm:ss``."""
    return str(timedelta(seconds=round(seconds)))


def _stages(metrics: dict[str, float], label: str, name: str, form: str) -> str:
    values: list[str] = []
    while (key := f"{name}/step_{len(values)}") in metrics:
        values.append(form.format(metrics[key]))
    return f"{label} {' -> '.join(values)}" if values else ""
