"""``metarl sweep``: train several seeds of one experiment, or go on with them, and put them together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from metarl import registry, runs
from metarl.commands.train import RUNS, configured, suite_first
from metarl.console import console, say
from metarl.errors import MetarlError, require
from metarl.evaluation import summarize_seeds
from metarl.evaluation_files import read_evaluation
from metarl.experiment import Stopped
from metarl.locks import locked
from metarl.notices import kept_notices
from metarl.seeds import combine
from metarl.sweep import SeedRun, Sweep, last_line
from metarl.tables import aggregate_table, evaluation_table, seed_table
from metarl.tasks import check_disjoint
from metarl.wording import count

SECONDS_BETWEEN_LINES = 20.0


@dataclass(frozen=True, kw_only=True)
class SweepArguments:
    """Train several seeds of a preset; all other options are those of metarl train PRESET."""

    seeds: int = 5
    """How many, from --seed on."""
    parallel: int = 0
    """Runs at a time; 0 for one a core. The results do not depend on it."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(1 <= self.seeds <= 1000, "seeds must lie in 1..1000", self.seeds)
        require(0 <= self.parallel <= 1024, "parallel must lie in 0..1024", self.parallel)


def sweep_command(arguments: list[str]) -> None:
    """Train several seeds, go on with those that were stopped, and put them together."""
    if {"-h", "--help"} & set(arguments[:1]):
        tyro.cli(SweepArguments, args=["--help"], prog="metarl sweep PRESET")
    arguments = suite_first(arguments)
    if not arguments or arguments[0].startswith("-"):
        presets = ", ".join(registry.names(registry.PRESETS))
        raise MetarlError(
            f"metarl sweep needs a preset first, one of {presets}: metarl sweep point --seeds 3"
        )
    preset, *words = arguments
    prog = f"metarl sweep {preset}"
    wanted, options = tyro.cli(SweepArguments, args=words, prog=prog, return_unknown_args=True)
    config = configured(preset, options, prog)
    require(config.seed + wanted.seeds <= 2**32, "All seeds must lie in 0..2**32-1", config.seed)
    check_disjoint(config.suite.build())  # once, before every seed finds out
    sweep = Sweep(config, preset, options, wanted.seeds, RUNS)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with locked(sweep.folder):
        parallel = wanted.parallel or len(os.sched_getaffinity(0))
        failed = train_all(sweep, parallel)
        finished = [run for run in sweep.runs if run.finished]
        if finished:
            show(sweep, finished)
    if failed:
        raise MetarlError(describe_failures(failed, len(sweep.runs)))


def train_all(sweep: Sweep, parallel: int) -> dict[SeedRun, int]:
    """Train what is not finished, showing the progress; return what failed."""
    done = sum(run.finished for run in sweep.runs)
    begun = sum(run.started and not run.finished for run in sweep.runs)
    say(
        f"Sweeping {len(sweep.runs)} seeds of {sweep.config.agent.kind} on {sweep.config.suite.label}, "
        f"at most {parallel} at a time; {done} finished and {begun} begun before. "
        f"Everything goes to {sweep.folder}."
    )
    try:
        with runs.stop_on_signals(sweep), SweepProgress(sweep).shown() as progress:
            return sweep.run(parallel, progress.look)
    except Stopped:
        say("Stopped, and every run with its newest checkpoint; start the same command again to go on.")
        raise


def show(sweep: Sweep, finished: Sequence[SeedRun]) -> None:
    """Put the finished seeds together, print what they say and where it is written."""
    measured = [read_evaluation(run.folder) for run in finished]
    evaluations = [each.evaluation for each in measured]
    summary = summarize_seeds(evaluations, np.random.default_rng(0))
    seeds = count(len(finished), "seed")
    title = f"{sweep.config.suite.label}, {sweep.config.agent.kind}, {seeds}, held-out tasks"
    console.print(evaluation_table(evaluations[0], summary, title, seeds=len(evaluations)))
    if len(finished) > 1:
        names = [f"seed {run.seed}" for run in finished]
        console.print(seed_table(dict(zip(names, evaluations, strict=True))))
    console.print(aggregate_table(summary))
    for run, each in zip(finished, measured, strict=True):
        for sentence in kept_notices(each.about):
            say(f"Notice of seed {run.seed}: {sentence}")
    files = combine([run.folder for run in finished], sweep.folder, title)
    say(f"Wrote {', '.join(path.name for path in files)} in {sweep.folder}.")


def describe_failures(failed: dict[SeedRun, int], count: int) -> str:
    """Say in a sentence which seeds failed, why, and where to read more."""
    seeds = "; ".join(
        f"seed {run.seed} (exit code {code}, {last_line(run.log)!r}, see {run.log})"
        for run, code in failed.items()
    )
    return f"{len(failed)} of {count} seeds failed: {seeds}. Start the same command again to go on with them."


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
