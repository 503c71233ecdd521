"""``metarl sweep``: train or resume several seeds and combine them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from annotated_types import Ge, Le

from metarl.cli.commands.options import configured
from metarl.cli.commands.train import RUNS, preset_first
from metarl.cli.console import console, say
from metarl.cli.progress import Progress
from metarl.errors import MetarlError, Stopped, require
from metarl.evaluation.summary import summarize_seeds
from metarl.reporting.aggregate import combine
from metarl.reporting.tables import aggregate_table, evaluation_table, seed_table
from metarl.settings import Settings, Workers
from metarl.storage.locks import locked
from metarl.tasks import check_disjoint
from metarl.text import count
from metarl.training import runs
from metarl.training.evaluation_reader import read_evaluation
from metarl.training.notices import kept_notices
from metarl.training.sweep import SeedRun, Sweep, last_line

COMBINING_SECONDS = 600.0  # longest wait for another process's combining, seconds


@dataclass(frozen=True, kw_only=True)
class SweepArguments(Settings):
    """Train several seeds of a preset; all other options are those of metarl train PRESET.

    The same command in several processes, or machines that share the folder, shares the seeds out.
    """

    seeds: Annotated[int, Ge(1), Le(1000)] = 5
    """How many, from --seed on."""
    parallel: Workers = 0
    """Runs at once; 0 for one a core.
    The results do not depend on it."""


def sweep_command(arguments: list[str]) -> None:
    """Train or resume several seeds, and combine them."""
    if {"-h", "--help"} & set(arguments[:1]):
        tyro.cli(SweepArguments, args=["--help"], prog="metarl sweep PRESET")
    arguments = preset_first(arguments, "metarl sweep", "metarl sweep point --seeds 3")
    preset, *words = arguments
    prog = f"metarl sweep {preset}"
    sweep_options, options = tyro.cli(SweepArguments, args=words, prog=prog, return_unknown_args=True)
    config = configured(preset, options, prog)
    require(config.seed + sweep_options.seeds <= 2**32, "All seeds must lie in 0..2**32-1", config.seed)
    check_disjoint(config.build_suite())  # once, before every seed finds out
    seeds = range(config.seed, config.seed + sweep_options.seeds)
    sweep = Sweep(config, preset, options, seeds, RUNS)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    failed = train_all(sweep, sweep_options.parallel)
    if sweep.elsewhere:
        theirs = ", ".join(str(run.seed) for run in sweep.elsewhere)
        say(f"Other processes train seed {theirs}; the last to end combines all.")
    else:
        with locked(sweep.folder, patience=COMBINING_SECONDS):
            sweep.write_index(always=True)  # two processes may have written in turn
            finished = [run for run in sweep.runs if run.finished]
            if finished:
                show(sweep, finished)
    if failed:
        raise MetarlError(describe_failures(failed, len(sweep.runs)))


def train_all(sweep: Sweep, parallel: int, resume: str = "") -> dict[SeedRun, int]:
    """Train unfinished seeds; return the failures' exit codes.

    Args:
        parallel: runs at a time; 0 for one a core.
        resume: option with which the same command goes on after a stop, if it needs one.
    """
    parallel = parallel or len(os.sched_getaffinity(0))
    done = sum(run.finished for run in sweep.runs)
    begun = sum(run.iteration > 0 and not run.finished for run in sweep.runs)
    say(
        f"Sweeping {count(len(sweep.runs), 'seed')} of {sweep.config.agent.kind} on {sweep.config.label}, "
        f"at most {parallel} at a time; {done} finished and {begun} begun before. "
        f"Everything goes to {sweep.folder}."
    )
    iterations = len(sweep.runs) * sweep.config.iterations
    try:
        with runs.stop_on_signals(sweep), Progress(console, "starting", iterations) as progress:
            look = follow(sweep, progress)
            failed = sweep.run(parallel, look)
            # once more at the end, so that the last results are shown
            look()
            return failed
    except Stopped:
        again = f"start the same command again{f' with {resume}' if resume else ''} to resume"
        say(f"Stopped, and every run with its newest checkpoint; {again}.")
        raise


def follow(sweep: Sweep, progress: Progress) -> Callable[[], None]:
    """Return a function that updates the progress."""
    kinds: list[str] = []
    done = 0

    def look() -> None:
        nonlocal kinds, done
        states = [state(sweep, run) for run in sweep.runs]
        before, kinds = kinds, [text.split()[0] for text in states]
        text = "; ".join(f"seed {run.seed}: {text}" for run, text in zip(sweep.runs, states, strict=True))
        progress.report(text, text, force=kinds != before)
        before_now, done = done, sum(run.iteration for run in sweep.runs)
        progress.advance(done - before_now)

    return look


def state(sweep: Sweep, run: SeedRun) -> str:
    """Return the state of a seed in words."""
    if run in sweep.running:
        return f"iteration {run.iteration} of {sweep.config.iterations}"
    if run in sweep.elsewhere and not run.finished:
        return "elsewhere"
    return "finished" if run.finished else "stopped" if run.iteration > 0 else "waiting"


def show(sweep: Sweep, finished: Sequence[SeedRun]) -> None:
    """Combine the finished seeds, and print the results."""
    measured = [read_evaluation(run.folder) for run in finished]
    evaluations = [each.evaluation for each in measured]
    summary = summarize_seeds(evaluations, np.random.default_rng(0))
    seeds = count(len(finished), "seed")
    title = f"{sweep.config.label}, {sweep.config.agent.kind}, {seeds}, held-out tasks"
    console.print(evaluation_table(evaluations[0], summary, title, seeds=len(evaluations)))
    if len(finished) > 1:
        # a table by seed says something only if there are several
        names = [f"seed {run.seed}" for run in finished]
        console.print(seed_table(dict(zip(names, evaluations, strict=True))))
    console.print(aggregate_table(summary, evaluations[0].trial))
    for run, each in zip(finished, measured, strict=True):
        for sentence in kept_notices(each.about):
            say(f"Notice of seed {run.seed}: {sentence}")
    files = combine([run.folder for run in finished], sweep.folder, title)
    say(f"Wrote {', '.join(path.name for path in files)} in {sweep.folder}.")


def describe_failures(failed: dict[SeedRun, int], count: int) -> str:
    """Return the failed seeds, with reasons and logs."""
    seeds = "; ".join(
        f"seed {run.seed} (exit code {code}, {last_line(run.log)!r}, see {run.log})"
        for run, code in failed.items()
    )
    return f"{len(failed)} of {count} seeds failed: {seeds}. Start the same command again to resume them."
