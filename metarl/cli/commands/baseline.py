"""``metarl baseline``: stable-baselines3 at equal budget on the same held-out tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from metarl.baselines.comparison import Comparison
from metarl.baselines.plan import Baseline, ComparisonConfig
from metarl.cli.console import console, say
from metarl.cli.progress import Progress, clock
from metarl.errors import Stopped
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.baseline_files import baseline_table, caption_of, rows, short, write_comparison
from metarl.reporting.table import Column, Row, Table
from metarl.sb3.vec_env import bounded
from metarl.settings import Workers
from metarl.storage.files import check_writable
from metarl.storage.locks import locked
from metarl.tasks import sample_evenly
from metarl.text import count
from metarl.training import runs
from metarl.types import Task


@dataclass(frozen=True, kw_only=True)
class BaselineArguments(ComparisonConfig):
    """Compare a trained agent with PPO and SAC on held-out tasks, at equal budget; resumes."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, checkpoint or trained result.
    Of a run its newest whole checkpoint is taken."""
    tasks: Annotated[int, Ge(0)] = 5
    """Held-out tasks, evenly over families; 0 for all."""
    workers: Workers = 0
    """Worker processes or threads; 0 uses every core."""
    output: Path | None = None
    """Folder for results; by default RUN/baselines."""


def baseline_command(arguments: list[str]) -> None:
    """Compare a trained agent with PPO and SAC at equal budget."""
    options = tyro.cli(BaselineArguments, args=arguments, prog="metarl baseline")
    config = ComparisonConfig(**{item.name: getattr(options, item.name) for item in fields(ComparisonConfig)})
    experiment = runs.open_trained(options.run, say, workers=options.workers)
    bounded(experiment.suite.action_space)  # refuses before a folder is made
    held_out = experiment.suite.tasks("test")
    number = min(options.tasks or len(held_out), len(held_out))
    rng = make_rng(config.seed, Purpose.EVALUATION)
    tasks = sample_evenly(held_out, number, rng) if options.tasks else held_out
    folder = options.output or experiment.folder / "baselines"
    check_writable(folder, folder=True)
    comparison = Comparison(experiment, tasks, config, folder)
    say(
        f"Comparing {experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} with "
        f"{count(len(comparison.baselines) - 1, 'baseline')} on {count(len(tasks), 'held-out task')} of "
        f"{experiment.suite.name}, seed {config.seed}. Everything goes to {folder}."
    )
    folder.mkdir(parents=True, exist_ok=True)
    # two processes must not write to the same results
    with locked(folder):
        compute(comparison)
        table = rows(comparison)
        title = f"{experiment.suite.name}, held-out tasks"
        console.print(baseline_table(table, title, caption_of(comparison)))
        files = write_comparison(comparison, table, title)
    say(f"Wrote {', '.join(path.name for path in files)} and the results of each agent in {folder}.")


def compute(comparison: Comparison) -> None:
    """Compute the missing results; Ctrl-C keeps finished ones."""
    pending = comparison.pending
    if not pending:
        say("Nothing is missing: all results were computed before.")
        return
    progress, finished = Progress(console, "measuring speeds"), 0
    seconds_per_step: dict[str, float] = {}

    def on_step(phase: str, slots: int) -> None:
        progress.advance(slots * seconds_per_step.get(phase, 0.0), slots)

    def on_result(baseline: Baseline, task: Task) -> None:
        nonlocal finished
        finished += 1
        done = f"{baseline.label} ({finished} of {len(pending)})"
        progress.report(done, f"{done}, {task.id}; {progress.pace()}", force=finished == len(pending))

    with runs.stop_on_signals(comparison), comparison.open_runner(on_step) as runner:
        try:
            # speeds first, so that the bar can show seconds instead of steps of unequal cost
            seconds_per_step |= comparison.seconds_per_step(runner)
            console.print(plan_table(comparison, seconds_per_step))
            progress.expect(sum(comparison.seconds(b, seconds_per_step) for b in comparison.baselines))
            with progress:
                comparison.run(runner, on_result)
        except Stopped:
            say(f"Stopped; {finished} of {len(pending)} results are new and kept: start it again.")
            raise


def plan_table(comparison: Comparison, seconds_per_step: Mapping[str, float]) -> Table:
    """Return the pending work with its time."""
    rows, total = [], 0.0
    for baseline in comparison.baselines:
        if steps := comparison.pending_steps(baseline):
            seconds = comparison.seconds(baseline, seconds_per_step)
            rows.append(Row(baseline.label, (steps.total(), seconds)))
            total += seconds
    rows.append(Row("all", (None, total), emphasis=True))
    return Table("agent", (Column("env steps", short), Column("about", clock)), tuple(rows), "to be done")
