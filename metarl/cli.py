"""The command line: ``metarl train``, ``metarl evaluate``, ``metarl list``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from metarl import registry, runs
from metarl.config import EvaluationConfig, ExperimentConfig, MeasurementConfig, check_device, to_json
from metarl.errors import EngineError, MetarlError, require, unknown_name
from metarl.evaluation import Evaluation, summarize
from metarl.experiment import TEST, Experiment, Stopped, stream
from metarl.progress import ProgressObserver
from metarl.results import write_evaluation, write_learning_curve
from metarl.tables import evaluation_table, family_table
from metarl.tasks import sample_evenly
from metarl.types import Json

RUNS = Path("runs")
console = Console(highlight=False)


@dataclass(frozen=True, kw_only=True)
class ResumeArguments:
    """Go on with a run that was stopped, exactly where its newest whole checkpoint left it."""

    resume: Path
    """Folder of the run."""
    iterations: int | None = None
    """Train to this iteration instead of the one that the run was started with."""


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
    """Folder for the results; by default "evaluations" beside the checkpoints."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(0 <= self.tasks, "tasks must be 0 or more", self.tasks)
        require(0 <= self.seed < 2**32, "seed must lie in 0..2**32-1", self.seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 for a mistake, or 130 for a run that was stopped."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    try:
        dispatch(sys.argv[1:] if arguments is None else list(arguments))
    except Stopped:
        return 130
    except MetarlError as error:
        say_error(str(error))
        return 2
    except OSError as error:
        say_error(f"{error.filename or 'The disk'}: {error.strerror}.")
        return 2
    return 0


def dispatch(arguments: list[str]) -> None:
    """Run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        console.print(usage(), highlight=False, markup=False)
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    COMMANDS[name](rest)


def train_command(arguments: list[str]) -> None:
    """Meta-train an agent, then evaluate it on held-out tasks."""
    if any(word == "--resume" or word.startswith("--resume=") for word in arguments):
        resumed = tyro.cli(ResumeArguments, args=arguments, prog="metarl train")
        train(lambda observer: runs.resume(resumed.resume, say, observer, resumed.iterations))
        return
    if not arguments or arguments[0].startswith("-"):
        console.print(train_usage(), highlight=False, markup=False)
        if not {"-h", "--help"} & set(arguments):
            raise MetarlError(f"metarl train needs a preset first: {', '.join(registry.names(registry.PRESETS))}.")
        return
    name, *options = arguments
    preset = registry.preset(name)
    config = tyro.cli(
        ExperimentConfig,
        default=preset(),
        args=options,
        prog=f"metarl train {name}",
        description=str(preset.__doc__),
    )
    train(lambda observer: runs.start(config, RUNS, observer))


def train(open_run: Callable[[ProgressObserver], Experiment]) -> None:
    """Run an experiment to its end, showing its progress and what comes out."""
    observer = ProgressObserver(console, "starting")
    experiment = open_run(observer)
    say(describe_run(experiment))
    observer.expect(experiment.vector_steps)
    try:
        with runs.stop_on_signals(experiment), observer:
            evaluation = experiment.run()
    except Stopped:
        say(f"Stopped after iteration {experiment.saved_iteration}; go on with: "
            f"metarl train --resume {experiment.folder}")
        raise
    except EngineError as error:
        keep_traceback(error, experiment.folder)
        raise
    curve = write_learning_curve(experiment.folder, experiment.suite.name)
    files = show_evaluation(experiment, evaluation, experiment.folder, "evaluation")
    say(f"Wrote {curve.name}, {', '.join(path.name for path in files)} in {experiment.folder}.")


def evaluate_command(arguments: list[str]) -> None:
    """Evaluate a trained agent on held-out tasks."""
    wanted = tyro.cli(EvaluateArguments, args=arguments, prog="metarl evaluate")
    check_device(wanted.device)
    checkpoint = runs.open_checkpoint(wanted.run, say)
    trained = registry.config_from_json(checkpoint.config)
    config = replace(
        trained,
        device=wanted.device,
        sampling=replace(trained.sampling, workers=wanted.workers),
        evaluation=EvaluationConfig(**{item.name: getattr(wanted, item.name) for item in fields(MeasurementConfig)}),
    )
    observer = ProgressObserver(console, "evaluating")
    experiment = Experiment(config, wanted.run, observer)
    experiment.restore(checkpoint)
    tasks = experiment.suite.tasks("test")
    rng = stream(wanted.seed, TEST, 1)
    chosen = sample_evenly(tasks, min(wanted.tasks, len(tasks)), rng) if wanted.tasks else tasks
    say(f"Evaluating {config.agent.kind} after {checkpoint.iteration} iterations on {len(chosen)} held-out tasks "
        f"of {experiment.suite.name}, seed {wanted.seed}.")
    env = experiment.make_env()
    try:
        with runs.stop_on_signals(experiment), observer:
            evaluation = experiment.test(env, chosen, rng)
    finally:
        env.close()
    stem = f"iteration{checkpoint.iteration}-seed{wanted.seed}"
    files = show_evaluation(experiment, evaluation, wanted.output or wanted.run / "evaluations", stem)
    say(f"Wrote {', '.join(str(path) for path in files)}.")


def list_command(arguments: list[str]) -> None:
    """List the suites, agents and presets that there are."""
    tyro.cli(ListArguments, args=arguments, prog="metarl list")
    table = Table(box=None, pad_edge=False)
    for column in ("", "name", "what it is", "source"):
        table.add_column(column)
    for group, find in LISTS.items():
        for name in registry.names(f"metarl.{group}"):
            try:
                found = find(name)
                about, source = (found.__doc__ or "").strip().split("\n")[0], getattr(found, "source", "")
            except MetarlError as error:
                about, source = str(error), ""
            table.add_row(group[:-1], name, about, source)
    console.print(table)


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
        f"Training {config.agent.kind} on {experiment.suite.name}: {config.iterations} iterations{going_on} of "
        f"{sampling.meta_batch_size} tasks x {sampling.episodes} episodes x {stages} rollouts x "
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


def keep_traceback(error: EngineError, folder: Path) -> None:
    """Write what an environment's own exception says to a file, where its author can read it."""
    notes = getattr(error, "__notes__", [])
    if notes:
        path = folder / "error.log"
        path.write_text("\n".join(notes) + "\n", encoding="utf-8")
        say(f"The environment's traceback is in {path}.")


def usage() -> str:
    """Return the help of the whole program."""
    lines = ["usage: metarl COMMAND [OPTIONS]", "", "Meta-reinforcement learning on simulated robots.", ""]
    lines += [f"  {name:<10}{str(command.__doc__).splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "metarl COMMAND --help tells more."])


def train_usage() -> str:
    """Return the help of ``metarl train`` without a preset."""
    lines = [
        "usage: metarl train PRESET [OPTIONS]",
        "       metarl train --resume RUN [--iterations INT]",
        "",
        "Meta-train an agent, then evaluate it on held-out tasks. Presets:",
        "",
    ]
    for name in registry.names(registry.PRESETS):
        lines.append(f"  {name:<10}{str(registry.preset(name).__doc__).splitlines()[0]}")
    return "\n".join([*lines, "", "metarl train PRESET --help lists every option of a preset."])


def say(message: str) -> None:
    """Print a sentence."""
    console.print(message, markup=False, soft_wrap=True)


def say_error(message: str) -> None:
    """Print what went wrong to standard error, as one sentence."""
    Console(stderr=True, highlight=False).print(f"metarl: {message}", markup=False, soft_wrap=True)
