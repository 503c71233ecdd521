"""Training with progress and results on the console."""

from __future__ import annotations

from pathlib import Path

from metarl.cli.commands.evaluate import find_references
from metarl.cli.console import console, say, tell
from metarl.cli.progress import watch
from metarl.errors import Stopped
from metarl.reporting.evaluation_files import write_learning_curve
from metarl.reporting.evaluation_report import EvaluationReport, Shown
from metarl.storage.files import write_text
from metarl.text import count
from metarl.training import runs
from metarl.training.experiment import Experiment


def train(experiment: Experiment, *, new: bool) -> None:
    """Run an experiment; delete a new one that fails."""
    try:
        say(describe_run(experiment))
        with runs.stop_on_signals(experiment):
            with watch(experiment, console):
                evaluation = experiment.run()
            curve = write_learning_curve(experiment.folder, experiment.suite.name, experiment.agent.trial)
            folder, notices = experiment.folder, experiment.training_notices()
            physics = runs.physics(folder, experiment.config.sampling.engine)
            shown = Shown(evaluation, references=find_references(experiment, evaluation.tasks, physics))
            report = EvaluationReport(experiment, tell, folder, physics)
            files = report.show_all(shown, "evaluation", notices)
    except Stopped:
        resume = f"metarl train --resume {experiment.folder}"
        say(f"Stopped after iteration {experiment.saved_iteration}; resume it with: {resume}")
        raise
    except BaseException as error:
        # a failed run is kept only if it holds a checkpoint or a traceback
        if not keep_traceback(error, experiment.folder) and new:
            runs.discard(experiment)
        raise
    say(f"Wrote {curve.name}, {', '.join(path.name for path in files)} in {experiment.folder}.")


def describe_run(experiment: Experiment) -> str:
    """Describe a run in a sentence or two."""
    config = experiment.config
    sampling, stages = config.sampling, experiment.agent.adaptation_steps + 1
    going_on = f" (going on after {experiment.iteration})" if experiment.iteration else ""
    return (
        f"Training {config.agent.kind} on {experiment.suite.name}: "
        f"{count(config.iterations, 'iteration')}{going_on} "
        f"of {count(sampling.meta_batch_size, 'task')} x {count(sampling.episodes, 'episode')} x "
        f"{count(stages, 'rollout')} x {count(experiment.suite.horizon, 'step')}, "
        f"at most {experiment.most_env_steps:,} environment steps in all; "
        f"seed {config.seed}, {config.device}. Everything goes to {experiment.folder}."
    )


def keep_traceback(error: BaseException, folder: Path) -> bool:
    """Write the traceback of a user's code to a file."""
    notes = getattr(error, "__notes__", [])
    if notes:
        path = folder / "error.log"
        write_text(path, "\n".join(notes) + "\n")
        say(f"The traceback is in {path}.")
    return bool(notes)
