"""The command line: ``metarl train``, ``metarl evaluate``, ``metarl list``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.logging import RichHandler

from metarl import __version__, registry, runs
from metarl.config import EvaluationConfig, ExperimentConfig, MeasurementConfig, to_json
from metarl.errors import MetarlError, require, unknown_name
from metarl.evaluation import Evaluation, summarize
from metarl.experiment import TEST, Experiment, Stopped, stream
from metarl.progress import ProgressObserver, watch
from metarl.results import write_evaluation, write_learning_curve
from metarl.tables import evaluation_table, family_table, list_table
from metarl.tasks import sample_evenly
from metarl.types import Json, Task

RUNS = Path("runs")
WANT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)
console = Console(highlight=False)


@dataclass(frozen=True, kw_only=True)
class ResumeArguments:
    """Go on with a run that was stopped, exactly where its newest whole checkpoint left it."""

    resume: Path
    """Folder of the run."""
    iterations: int | None = None
    """Train to this iteration instead of the one that the run was started with."""
    device: str | None = None
    """Compute there from now on; on another device the numbers differ in their last digits."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(
            self.iterations is None or self.iterations >= 1, "iterations must be 1 or more", self.iterations
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(MeasurementConfig):
    """Measure a trained agent on tasks it was never trained on, before and after adapting to them."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run (its newest whole checkpoint is taken), or one checkpoint's folder."""
    tasks: int = 0
    """Held-out tasks, as evenly over the families as can be; 0 takes every one."""
    seed: int = 0
    """Seed of the evaluation, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: int = 0
    """Worker processes or threads; 0 takes one a core."""
    output: Path | None = None
    """Folder for the results; by default "evaluations" in the run's folder, or in a lone checkpoint's."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(0 <= self.tasks, "tasks must be 0 or more", self.tasks)
        require(0 <= self.seed < 2**32, "seed must lie in 0..2**32-1", self.seed)
        require(0 <= self.workers <= 1024, "workers must lie in 0..1024", self.workers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 for a mistake, or 130 for a run that was stopped."""
    logging.basicConfig(
        format="%(message)s", handlers=[RichHandler(console=console, show_path=False, show_time=False)]
    )
    logging.getLogger("metarl").setLevel(logging.INFO)
    try:
        with sigterm_as_interrupt():
            dispatch(sys.argv[1:] if arguments is None else list(arguments))
    except Stopped:
        return 130
    except KeyboardInterrupt:
        say("Stopped before anything was computed.")
        return 130
    except MetarlError as error:
        say_error(str(error))
        return 2
    except OSError as error:
        say_error(f"{error.filename or 'The disk'}: {error.strerror or error}.")
        return 2
    except WANT_OF_MEMORY as error:
        say_error(f"There is not enough memory for this: {str(error).splitlines()[0]}")
        return 2
    return 0


def dispatch(arguments: list[str]) -> None:
    """Run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        show_usage()
        return
    if arguments[0] == "--version":
        say(f"metarl {__version__}")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    COMMANDS[name](rest)


def train_command(arguments: list[str]) -> None:
    """Meta-train an agent, then evaluate it on held-out tasks."""
    if any(word == "--resume" or word.startswith("--resume=") for word in arguments):
        resumed = tyro.cli(ResumeArguments, args=arguments, prog="metarl train")
        train(
            runs.resume(resumed.resume, say, iterations=resumed.iterations, device=resumed.device), new=False
        )
        return
    if {"-h", "--help"} & set(arguments[:1]):
        show_train_usage()
        return
    if not arguments or arguments[0].startswith("-"):
        presets = ", ".join(registry.names(registry.PRESETS))
        raise MetarlError(f"metarl train needs a preset first, one of {presets}: metarl train point")
    name, *options = arguments
    preset = registry.preset(name)
    config = tyro.cli(
        ExperimentConfig,
        default=preset(),
        args=options,
        prog=f"metarl train {name}",
        description=str(preset.__doc__),
    )
    train(runs.start(config, RUNS), new=True)


def train(experiment: Experiment, *, new: bool) -> None:
    """Run an experiment to its end, showing its progress and what comes out; a new one may leave nothing."""
    say(describe_run(experiment))
    try:
        with runs.stop_on_signals(experiment):
            with watch(experiment, console):
                evaluation = experiment.run()
            curve = write_learning_curve(experiment.folder, experiment.suite.name)
            files = show_evaluation(experiment, evaluation, experiment.folder, "evaluation")
    except Stopped:
        say(
            f"Stopped after iteration {experiment.saved_iteration}; go on with: "
            f"metarl train --resume {experiment.folder}"
        )
        raise
    except (MetarlError, *WANT_OF_MEMORY) as error:
        if not keep_traceback(error, experiment.folder) and new:
            runs.discard(experiment)
        raise
    say(f"Wrote {curve.name}, {', '.join(path.name for path in files)} in {experiment.folder}.")


def evaluate_command(arguments: list[str]) -> None:
    """Evaluate a trained agent on held-out tasks."""
    wanted = tyro.cli(EvaluateArguments, args=arguments, prog="metarl evaluate")
    measured = {item.name: getattr(wanted, item.name) for item in fields(MeasurementConfig)}
    experiment = runs.open_trained(
        wanted.run, say, EvaluationConfig(**measured), device=wanted.device, workers=wanted.workers
    )
    tasks = experiment.suite.tasks("test")
    rng = stream(wanted.seed, TEST, 1)
    chosen = sample_evenly(tasks, min(wanted.tasks, len(tasks)), rng) if wanted.tasks else tasks
    stem = f"iteration{experiment.iteration}-seed{wanted.seed}"
    with results_folder(wanted.output or experiment.folder / "evaluations", stem) as folder:
        say(
            f"Evaluating {experiment.config.agent.kind} after {experiment.iteration} iterations on "
            f"{len(chosen)} held-out tasks of {experiment.suite.name}, seed {wanted.seed}."
        )
        evaluation = measure(experiment, chosen, rng)
        files = show_evaluation(experiment, evaluation, folder, stem)
    say(f"Wrote {', '.join(str(path) for path in files)}.")


def measure(experiment: Experiment, tasks: Sequence[Task], rng: np.random.Generator) -> Evaluation:
    """Evaluate an experiment's agent, showing the progress."""
    observer = ProgressObserver(console, "evaluating")
    steps = experiment.config.evaluation.adaptation_steps
    observer.expect(experiment.evaluation_steps(len(tasks), steps))
    experiment.observer = observer
    env = experiment.make_env()
    try:
        with runs.stop_on_signals(experiment), observer:
            return experiment.test(env, tasks, rng)
    except Stopped:
        say("Stopped; nothing was written.")
        raise
    finally:
        env.close()


@contextmanager
def results_folder(folder: Path, stem: str) -> Iterator[Path]:
    """Make the folder of results before they are computed, and take it back if none come.

    Raises:
        MetarlError: if there are results of that name, or the folder cannot be made.
    """
    path = folder / f"{stem}.json"
    if path.exists():
        raise MetarlError(f"{path} exists already; choose another folder with --output, or another --seed.")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise MetarlError(f"The results cannot be written to {folder}; choose another folder with --output.")
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds results, and stays
            folder.rmdir()


def list_command(arguments: list[str]) -> None:
    """List the suites, agents and presets that there are."""
    tyro.cli(ListArguments, args=arguments, prog="metarl list")
    for group, find in LISTS.items():
        rows = [(name, describe_entry(find, name)) for name in registry.names(f"metarl.{group}")]
        console.print(list_table(group, rows))


def describe_entry(find: Callable[[str], object], name: str) -> str:
    """Say what an entry point offers, and where it was published; or why it does not load."""
    try:
        found = find(name)
    except MetarlError as error:
        return str(error)
    source = getattr(found, "source", "")
    return first_line(found) + (f" {source}." if source else "")


@dataclass(frozen=True)
class ListArguments:
    """List the suites, agents and presets that there are."""


LISTS: dict[str, Callable[[str], object]] = {
    "presets": registry.preset,
    "suites": registry.suite,
    "agents": registry.agent,
}
COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "list": list_command,
}


def describe_run(experiment: Experiment) -> str:
    """Say in a sentence or two what a run is about to do."""
    config = experiment.config
    sampling, stages = config.sampling, experiment.agent.adaptation_steps + 1
    steps = sampling.meta_batch_size * sampling.episodes * stages * experiment.suite.horizon
    going_on = f" (going on after {experiment.iteration})" if experiment.iteration else ""
    return (
        f"Training {config.agent.kind} on {experiment.suite.name}: {config.iterations} iterations{going_on} "
        f"of {sampling.meta_batch_size} tasks x {sampling.episodes} episodes x {stages} rollouts x "
        f"{experiment.suite.horizon} steps, at most {steps * config.iterations:,} environment steps in all; "
        f"seed {config.seed}, {config.device}. Everything goes to {experiment.folder}."
    )


def show_evaluation(experiment: Experiment, evaluation: Evaluation, folder: Path, stem: str) -> list[Path]:
    """Print an evaluation's tables and write its files."""
    summary = summarize(evaluation, stream(experiment.config.seed, TEST, 2))
    title = f"{experiment.suite.name}, held-out tasks"
    console.print(evaluation_table(evaluation, summary, title))
    if len({task.family for task in evaluation.tasks}) > 1:
        console.print(family_table(evaluation))
    about: dict[str, Json] = {"iteration": experiment.iteration, "config": to_json(experiment.config)}
    return write_evaluation(folder, stem, evaluation, summary, about, title)


def keep_traceback(error: BaseException, folder: Path) -> bool:
    """Write what an environment's own exception says to a file, where its author can read it."""
    notes = getattr(error, "__notes__", [])
    if notes:
        path = folder / "error.log"
        path.write_text("\n".join(notes) + "\n", encoding="utf-8")
        say(f"The environment's traceback is in {path}.")
    return bool(notes)


def show_usage() -> None:
    """Print the help of the whole program."""
    say("usage: metarl COMMAND [OPTIONS]\n\nMeta-reinforcement learning on simulated robots.\n")
    console.print(list_table("commands", [(name, first_line(command)) for name, command in COMMANDS.items()]))
    say("\nmetarl COMMAND --help tells more; metarl --version tells the version.")


def show_train_usage() -> None:
    """Print the help of ``metarl train`` without a preset."""
    say(
        "usage: metarl train PRESET [OPTIONS]\n"
        "       metarl train --resume RUN [--iterations INT] [--device STR]\n\n"
        "Meta-train an agent, then evaluate it on held-out tasks.\n"
    )
    presets = registry.names(registry.PRESETS)
    console.print(list_table("presets", [(name, describe_entry(registry.preset, name)) for name in presets]))
    say("\nmetarl train PRESET --help lists every option of a preset.")


def first_line(documented: object) -> str:
    """Return the first line of a docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, where that can be said: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(message: str) -> None:
    """Print a sentence."""
    console.print(message, markup=False, soft_wrap=True)


def say_error(message: str) -> None:
    """Print what went wrong to standard error, as one sentence."""
    Console(stderr=True, highlight=False).print(f"metarl: {message}", markup=False, soft_wrap=True)
