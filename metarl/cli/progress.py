"""Progress of every command: a bar, or lines without a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from metarl.cli.console import console as standard
from metarl.cli.console import say
from metarl.errors import Stopped
from metarl.training import runs
from metarl.training.divergence import naming_agent
from metarl.training.experiment import Experiment
from metarl.training.step_counts import remaining_vector_steps

SECONDS_BETWEEN_LINES = 20.0
SECONDS_BETWEEN_UPDATES = 0.2


class Progress:
    """Progress display that observes an experiment.

    Args:
        total: amount of work, in the unit of :meth:`advance`; None while it is unknown.
        iterations: number of the last iteration, for a training.
    """

    def __init__(
        self, console: Console, headline: str, total: float | None = None, iterations: int = 0
    ) -> None:
        self._console = console
        self._bar = _Bar(console, headline)
        self._task = self._bar.add_task("", total=total, speed="")
        self._total, self._iterations = total, iterations
        self._done = 0.0
        self._env_steps = 0
        self._start = self._last_update = time.monotonic()
        self._last_line = -SECONDS_BETWEEN_LINES
        self._metrics: dict[str, float] = {}  # the newest of each

    def on_step(self, episodes: int) -> None:
        """Advance by one vector step of ``episodes`` episodes."""
        self.advance(1.0, episodes)
        # a training's lines are those of its iterations
        if not self._iterations and time.monotonic() - self._start >= SECONDS_BETWEEN_LINES:
            self.report(self._bar.headline, f"{self._bar.headline}: {self.pace()}")

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Show the numbers of an iteration."""
        self._metrics |= metrics
        where = f"iteration {iteration} of {self._iterations}"
        env_steps = f"{metrics['env_steps']:,.0f} env steps, " if "env_steps" in metrics else ""
        line = f"{where}: {describe(metrics)}; {env_steps}{self.pace()}"
        held_out = any(name.startswith("test/") for name in metrics)
        last = iteration == self._iterations
        self.report(f"{where}: {describe(self._metrics)}", line, force=held_out or last)

    def on_notice(self, sentence: str) -> None:
        """Print a notice, above a terminal's bar."""
        self._print(f"Notice: {sentence}")

    def expect(self, total: float) -> None:
        """Set the amount of work; start the clock."""
        self._total, self._start = total, time.monotonic()
        self._done, self._env_steps = 0.0, 0
        self._bar.reset(self._task, total=total, speed="")

    def advance(self, amount: float, env_steps: int = 0) -> None:
        """Count finished work and its environment steps."""
        now = time.monotonic()
        if self._done == 0.0:
            self._start = now
        self._done += amount
        self._env_steps += env_steps
        if now - self._last_update >= SECONDS_BETWEEN_UPDATES:
            self._last_update = now
            self._draw()

    def report(self, headline: str, line: str, *, force: bool = False) -> None:
        """Show a headline, or occasional lines without terminal."""
        self._bar.headline = headline
        now = time.monotonic()
        if not self._console.is_terminal and (force or now - self._last_line >= SECONDS_BETWEEN_LINES):
            self._last_line = now
            self._print(line)

    def pace(self) -> str:
        """Describe speed, share done and time left."""
        elapsed = max(1e-9, time.monotonic() - self._start)
        share = min(1.0, self._done / self._total) if self._total else 0.0
        left = clock(elapsed * (1 - share) / share) if share else "an unknown time"
        speed = f"{self._env_steps / elapsed:,.0f} steps/s, " if self._env_steps else ""
        return f"{speed}{share:.0%} done, {left} left"

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar; full if all went well."""
        if error is None and self._total:
            self._done = self._total
        self._draw()
        self._bar.stop()

    def _draw(self) -> None:
        elapsed = max(1e-9, time.monotonic() - self._start)
        speed = f"{self._env_steps / elapsed:,.0f} steps/s" if self._env_steps else ""
        self._bar.update(self._task, completed=self._done, speed=speed)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


class _Bar(Bar):
    """Terminal bar below a line of text."""

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
        yield Text(self.headline, no_wrap=True, overflow="crop")
        yield from super().get_renderables()


def watch(experiment: Experiment, console: Console | None = None) -> Progress:
    """Return the progress of a training, its observer."""
    progress = Progress(
        console or Console(highlight=False),
        "starting",
        remaining_vector_steps(experiment),
        experiment.config.iterations,
    )
    experiment.observers = [progress]
    return progress


@contextmanager
def showing(experiment: Experiment, headline: str, vector_steps: int) -> Iterator[None]:
    """Show the progress of ``vector_steps``; signals stop it."""
    progress = Progress(standard, headline, vector_steps)
    experiment.observers = [progress]
    try:
        with runs.stop_on_signals(experiment), progress, naming_agent(experiment.config.agent):
            yield
    except Stopped:
        say("Stopped; unfinished results are not written.")
        raise


def describe(metrics: dict[str, float]) -> str:
    """Describe an iteration's results, before -> after adapting."""
    parts = [
        _stages(metrics, "return", "train/return", "{:.1f}"),
        _stages(metrics, "success", "train/success", "{:.0%}"),
        _stages(metrics, "held-out return", "test/return", "{:.1f}"),
        _stages(metrics, "held-out success", "test/success", "{:.0%}"),
    ]
    return ", ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """Return a duration as ``h:mm:ss``."""
    return str(timedelta(seconds=round(seconds)))


def _stages(metrics: dict[str, float], label: str, name: str, form: str) -> str:
    values: list[str] = []
    while (key := f"{name}/step_{len(values)}") in metrics:
        values.append(form.format(metrics[key]))
    return f"{label} {' -> '.join(values)}" if values else ""
