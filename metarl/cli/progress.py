"""What a person sees while a run goes on: a bar with time left on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from metarl.baselines.plan import Baseline
from metarl.cli.console import console, say
from metarl.errors import Stopped
from metarl.training.experiment import Experiment
from metarl.training.sweep import SeedRun, Sweep
from metarl.types import Task

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


class SweepProgress:
    """A bar for each seed on a terminal; elsewhere a line now and then."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._total = sweep.config.iterations
        self._bars = Progress(
            TextColumn("seed {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar_of = {
            run: self._bars.add_task(str(run.seed), total=self._total, state="", start=False)
            for run in sweep.runs
        }
        self._states = {run: self._state(run) for run in sweep.runs}
        self._last_line = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[SweepProgress]:
        """Show the bars for as long as it is entered."""
        with self._bars:
            self.look()
            yield self
            self.look()

    def look(self) -> None:
        """Bring the bars up to date, and tell of seeds that began or ended."""
        states = {run: self._state(run) for run in self._sweep.runs}
        for run, bar in self._bar_of.items():
            if states[run] == "running" and self._states[run] != "running":
                self._bars.start_task(bar)
            self._bars.update(bar, completed=run.iteration, state=states[run])
        changed = [run for run, state in states.items() if state != self._states[run]]
        self._states = states
        now = time.monotonic()
        if not console.is_terminal and (changed or now - self._last_line >= SECONDS_BETWEEN_LINES):
            self._last_line = now
            say("; ".join(self._describe(run) for run in self._sweep.runs))

    def _state(self, run: SeedRun) -> str:
        if run in self._sweep.running:
            return "running"
        return "finished" if run.finished else "stopped" if run.started else "waiting"

    def _describe(self, run: SeedRun) -> str:
        state = self._states[run]
        if state == "running":
            return f"seed {run.seed}: iteration {run.iteration} of {self._total}"
        return f"seed {run.seed}: {state}"


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
