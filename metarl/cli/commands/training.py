"""Training with progress and results on the console."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from metarl.cli.commands.evaluate import find_references
from metarl.cli.console import console, say, tell
from metarl.cli.progress import watch
from metarl.config import ExperimentConfig, to_json
from metarl.errors import RankLostError, Stopped
from metarl.reporting.evaluation_files import write_learning_curve
from metarl.reporting.evaluation_report import EvaluationReport, Shown
from metarl.reporting.figures.curves import measured_steps
from metarl.storage.files import write_text
from metarl.storage.metrics import read_metrics
from metarl.storage.run_checkpoints import split_checkpoint
from metarl.system.ranks import joined
from metarl.text import count
from metarl.training import runs
from metarl.training.divergence import DivergedError
from metarl.training.experiment import Experiment
from metarl.training.step_counts import most_env_steps
from metarl.types import Json


def start_run(config: ExperimentConfig, root: Path) -> None:
    """Start a run and train, with all ranks of it if torchrun has started several."""
    with joined(settings_of(to_json(config))) as ranks:
        if ranks is None:
            train(runs.start(config, root), new=True)
            return
        folder = root / (config.name or runs.default_name(config))
        # torchrun starts the same command again after a rank has died
        again = ranks.again and folder.is_dir()
        if ranks.is_first and not folder.exists():
            ranks.tell_begun()
        train(
            ranks.first_then_others(
                lambda: (
                    runs.resume(folder, say, ranks=ranks) if again else runs.start(config, root, ranks=ranks)
                ),
                lambda: runs.follow(folder, ranks),
            ),
            new=not again,
        )


def resume_run(path: Path, iterations: int | None, device: str | None) -> None:
    """Resume a run and train; see :func:`start_run`."""
    given = {"--resume": str(path), "--iterations": iterations, "--device": device}
    with joined(settings_of(given)) as ranks:
        resume = partial(runs.resume, path, say, iterations=iterations, device=device, ranks=ranks)
        if ranks is None:
            train(resume(), new=False)
            return
        folder, _ = split_checkpoint(path)
        train(ranks.first_then_others(resume, lambda: runs.follow(folder, ranks)), new=False)


def settings_of(values: Mapping[str, Json], group: str = "") -> dict[str, str]:
    """Return versions and settings by name, which all ranks must have in common."""
    found = {} if group else {name: importlib.metadata.version(name) for name in ("metarl-toolkit", "torch")}
    for name, value in values.items():
        found |= (
            settings_of(value, f"{group}{name}.") if isinstance(value, dict) else {group + name: str(value)}
        )
    return found


def train(experiment: Experiment, *, new: bool) -> None:
    """Run an experiment; delete a failed new one."""
    if not experiment.writes:
        with runs.stop_on_signals(experiment):
            experiment.run()
        return
    try:
        say(describe_run(experiment))
        with runs.stop_on_signals(experiment):
            with watch(experiment, console):
                evaluation = experiment.run()
            curve = draw_curve(experiment)
            folder, notices = experiment.folder, experiment.training_notices()
            physics = runs.physics(folder, experiment)
            shown = Shown(evaluation, references=find_references(experiment, evaluation.tasks, physics))
            report = EvaluationReport(experiment, tell, folder, physics)
            files = report.show_all(shown, "evaluation", notices)
    except Stopped:
        say(f"Stopped after iteration {experiment.saved_iteration}; {how_to_resume(experiment)}")
        raise
    except BaseException as error:
        # a failed run is kept only if it holds a checkpoint or a traceback
        if not keep_traceback(error, experiment.folder) and new:
            runs.discard(experiment)
        # a diverged agent would diverge again; a lost rank has its own advice
        if runs.has_checkpoints(experiment.folder) and not isinstance(error, DivergedError | RankLostError):
            say(f"Saved up to iteration {experiment.saved_iteration}; {how_to_resume(experiment)}")
        raise
    say(f"Wrote {', '.join(path.name for path in [*curve, *files])} in {experiment.folder}.")


def how_to_resume(experiment: Experiment) -> str:
    """Return the command that goes on with a run."""
    return f"resume it with: metarl train --resume {experiment.folder}"


def draw_curve(experiment: Experiment) -> list[Path]:
    """Write the learning curve, unless nothing was collected or measured during training."""
    folder = experiment.folder
    if not measured_steps(read_metrics(folder), "return"):
        return []
    return [write_learning_curve(folder, experiment.suite.name, experiment.agent.trial)]


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
        f"at most {most_env_steps(experiment):,} environment steps in all; "
        f"seed {config.seed}, {config.device}. Everything goes to {experiment.folder}."
    )


def keep_traceback(error: BaseException, folder: Path) -> bool:
    """Write a user's traceback to a file."""
    notes = getattr(error, "__notes__", [])
    if notes:
        path = folder / "error.log"
        write_text(path, "\n".join(notes) + "\n")
        say(f"The traceback is in {path}.")
    return bool(notes)
