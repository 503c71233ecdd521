"""What ``metarl train`` does: meta-train an agent, or go on with a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from metarl.cli.commands.agent_option import split_agent
from metarl.cli.commands.evaluate import show_evaluation
from metarl.cli.console import console, say
from metarl.cli.progress import watch
from metarl.config import ExperimentConfig
from metarl.errors import Stopped, require
from metarl.plugins import entry_points, registry
from metarl.reporting.evaluation_files import write_learning_curve
from metarl.storage.files import write_text
from metarl.text import count
from metarl.training import runs
from metarl.training.experiment import Experiment

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class ResumeArguments:
    """Go on with a run that was stopped, exactly where a checkpoint left it."""

    resume: Path
    """Folder of the run, to go on from its newest whole checkpoint; or of one of its checkpoints,
    RUN/checkpoints/40, to go back to it and train on from there: what came after it is deleted."""
    iterations: int | None = None
    """Train to this iteration instead of the one that the run was started with."""
    device: str | None = None
    """Compute there from now on; on another device the numbers differ in their last digits."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(
            self.iterations is None or self.iterations >= 1, "iterations must be 1 or more", self.iterations
        )


def train_as_told(arguments: Sequence[str]) -> None:
    """Go on with the run that ``--resume`` names, or start the preset that comes first."""
    if any(word == "--resume" or word.startswith("--resume=") for word in arguments):
        resumed = tyro.cli(ResumeArguments, args=arguments, prog="metarl train")
        train(
            runs.resume(resumed.resume, say, iterations=resumed.iterations, device=resumed.device), new=False
        )
        return
    name, *options = arguments
    train(runs.start(configured(name, options, f"metarl train {name}"), RUNS), new=True)


def configured(preset: str, options: Sequence[str], prog: str) -> ExperimentConfig:
    """Return a preset's config with the agent and the settings that the options name.

    Raises:
        MetarlError: if there is no such preset or agent, or they do not go together.
    """
    agent, settings = split_agent(options)
    known = ", ".join(entry_points.names(entry_points.AGENTS))
    return tyro.cli(
        ExperimentConfig,
        default=registry.configure(preset, agent),
        args=settings,
        prog=prog,
        description=f"{described(preset)}\n\n--agent NAME takes another agent: {known}; or one of your own, "
        "my_file.py:MyConfig.",
    )


def described(preset: str) -> str:
    """Say what is trained on: a preset's own words, or those of a suite without one."""
    if preset in entry_points.names(entry_points.PRESETS):
        return str(registry.preset(preset).__doc__)
    return f"The suite {preset} with every setting's default."


def train(experiment: Experiment, *, new: bool) -> None:
    """Run an experiment to its end, showing its progress and what comes out; a new one may leave nothing."""
    try:
        say(describe_run(experiment))
        with runs.stop_on_signals(experiment):
            with watch(experiment, console):
                evaluation = experiment.run()
            curve = write_learning_curve(experiment.folder, experiment.suite.name)
            files = show_evaluation(
                experiment,
                evaluation,
                experiment.folder,
                "evaluation",
                runs.physics(experiment.folder, experiment.config.sampling.engine),
                notices=experiment.training_notices(),
            )
    except Stopped:
        say(
            f"Stopped after iteration {experiment.saved_iteration}; go on with: "
            f"metarl train --resume {experiment.folder}"
        )
        raise
    except BaseException as error:
        if not keep_traceback(error, experiment.folder) and new:
            runs.discard(experiment)
        raise
    say(f"Wrote {curve.name}, {', '.join(path.name for path in files)} in {experiment.folder}.")


def describe_run(experiment: Experiment) -> str:
    """Say in a sentence or two what a run is about to do."""
    config = experiment.config
    sampling, stages = config.sampling, experiment.agent.adaptation_steps + 1
    going_on = f" (going on after {experiment.iteration})" if experiment.iteration else ""
    return (
        f"Training {config.agent.kind} on {experiment.suite.name}: "
        f"{count(config.iterations, 'iteration')}{going_on} "
        f"of {sampling.meta_batch_size} tasks x {sampling.episodes} episodes x {stages} rollouts x "
        f"{experiment.suite.horizon} steps, at most {experiment.most_env_steps:,} environment steps in all; "
        f"seed {config.seed}, {config.device}. Everything goes to {experiment.folder}."
    )


def keep_traceback(error: BaseException, folder: Path) -> bool:
    """Write what an environment's own exception says to a file, where its author can read it."""
    notes = getattr(error, "__notes__", [])
    if notes:
        path = folder / "error.log"
        write_text(path, "\n".join(notes) + "\n")
        say(f"The environment's traceback is in {path}.")
    return bool(notes)
