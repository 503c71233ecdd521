"""What a person sees while a run goes on: a bar with time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 20.0
COLUMNS = (("return", "train/return/step_{}", "{:.1f}"), ("success", "train/success/step_{}", "{:.0%}"))


class ProgressObserver:
    """Shows a run's progress; measured in steps of the vector environment."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None, speed="")
        self._env_steps = 0
        self._start = time.monotonic()
        self._last_line = -SECONDS_BETWEEN_LINES

    def expect(self, vector_steps: int) -> None:
        """Tell how many steps of the vector environment there will be."""
        self._bar.update(self._task, total=vector_steps)

    def on_step(self, episodes: int) -> None:
        """Advance by one step of ``episodes`` episodes."""
        self._env_steps += episodes
        speed = self._env_steps / max(1e-9, time.monotonic() - self._start)
        self._bar.update(self._task, advance=1, speed=f"{speed:,.0f} steps/s")

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Show the iteration's numbers: beside the bar, or as a line where there is no terminal."""
        line = f"iteration {iteration}: {describe(metrics)}"
        self._bar.update(self._task, description=line)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._console.print(f"{line}, {metrics['env_steps']:,.0f} env steps in {now - self._start:.0f} s")

    def __enter__(self) -> ProgressObserver:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


def describe(metrics: dict[str, float]) -> str:
    """Say an iteration's returns and successes, before -> after adapting, in few words."""
    parts = []
    for name, pattern, form in COLUMNS:
        values = []
        while (key := pattern.format(len(values))) in metrics:
            values.append(form.format(metrics[key]))
        if values:
            parts.append(f"{name} {' → '.join(values)}")
    return ", ".join(parts) if parts else "held-out tasks measured"
