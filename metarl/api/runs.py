"""Train, load and evaluate in a few lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from metarl.config import AgentConfig, ExperimentConfig, construct
from metarl.errors import MetarlError, unknown_name
from metarl.evaluation.record import Evaluation
from metarl.evaluation.summary import summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import MetaLearner, steps_to_adapt
from metarl.plugins import registry
from metarl.reporting.evaluation_files import write_evaluation, write_learning_curve
from metarl.settings import Seed, check_number
from metarl.tasks import TaskDistribution
from metarl.text import shown
from metarl.training import runs
from metarl.training.adapting import Adapted, adapt_to
from metarl.training.evaluation_reader import provenance
from metarl.training.experiment import Experiment
from metarl.training.observers import Observer
from metarl.types import Json, Task


@dataclass(frozen=True)
class Run:
    """A trained agent with suite, settings and folder."""

    experiment: Experiment
    evaluation: Evaluation | None
    """Final evaluation on every held-out task; None for a loaded run."""

    @property
    def folder(self) -> Path:
        """Where checkpoints, metrics and results are."""
        return self.experiment.folder

    @property
    def config(self) -> ExperimentConfig:
        """Every setting."""
        return self.experiment.config

    @property
    def agent(self) -> MetaLearner:
        """The agent as it was trained."""
        return self.experiment.agent

    @property
    def suite(self) -> TaskDistribution:
        """The tasks: ``run.suite.tasks("test")`` are those held out."""
        return self.experiment.suite

    def adapt(self, task: Task, steps: int | None = None, seed: int = 0) -> Adapted:
        """Return the agent adapted to a task.

        Args:
            task: one of ``suite.tasks("test")``.
            steps: adaptation steps, by default as many as training had, but one at least; of an agent with a
                memory, episodes.
            seed: of the episodes.
        """
        return adapt_to(self.experiment, task, steps_to_adapt(self.agent) if steps is None else steps, seed)

    def draw(self) -> Path:
        """Draw the learning curve; return its PNG file."""
        return write_learning_curve(self.folder, self.suite.name, self.agent.trial)


def train(
    what: str | ExperimentConfig,
    agent: str | AgentConfig | None = None,
    *,
    folder: str | os.PathLike[str] = "runs",
    observers: Sequence[Observer] = (),
    **settings: object,
) -> Run:
    """Train an agent, then evaluate it on held-out tasks.

    Args:
        what: a preset's or a suite's name, as on the command line, or a whole config.
        agent: another agent than the preset's, by name, or its config.
        folder: where the run gets a folder of its own.
        observers: follow steps and iterations, each with ``on_step`` and ``on_iteration``.
        settings: other settings of :class:`~metarl.config.ExperimentConfig`: iterations, seed, name, ….

    A run that fails before its first checkpoint leaves no folder.

    Raises:
        MetarlError: if there is nothing of that name, or a setting makes no sense.
    """
    if not isinstance(what, str | ExperimentConfig):
        raise MetarlError(f"Expected a preset's or a suite's name or an ExperimentConfig, got {shown(what)}.")
    if not isinstance(agent, str | AgentConfig | None):
        raise MetarlError(f"Expected an agent's name or its config, such as RL2Config(), got {shown(agent)}.")
    config = registry.configure(what, agent) if isinstance(what, str) else what
    _check_path("the folder of runs", folder)
    _check_observers(observers)
    if agent is not None and not isinstance(what, str):
        raise MetarlError(f"A config has an agent of its own and takes no other, but got {shown(agent)}.")
    known = set(ExperimentConfig.__dataclass_fields__)
    for name in settings.keys() - known:
        raise unknown_name("setting of an experiment", name, known)
    config = construct(type(config), {**vars(config), **settings})
    experiment = runs.start(config, Path(folder), observers)
    try:
        evaluation = experiment.run()
    except BaseException:
        runs.discard(experiment)  # without a checkpoint there is nothing to go on with
        raise
    notices = experiment.evaluation_notices(evaluation) | experiment.training_notices()
    physics = runs.physics(experiment.folder, experiment)
    about = {**provenance(experiment), "physics": physics, "notices": list[Json](notices.values())}
    summary = summarize(evaluation, make_rng(experiment.config.seed, Purpose.RESAMPLES))
    title = f"{experiment.suite.name}, held-out tasks"
    write_evaluation(experiment.folder, "evaluation", evaluation, summary, about, title)
    return Run(experiment, evaluation)


def _check_path(name: str, path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        raise MetarlError(f"Expected {name}, got {shown(path)}.")


def _check_observers(observers: object) -> None:
    methods = ("on_step", "on_iteration")
    if not isinstance(observers, Sequence) or not all(
        callable(getattr(each, name, None)) for each in observers for name in methods
    ):
        raise MetarlError(
            f"Expected a list of observers with on_step and on_iteration, got {shown(observers)}."
        )


def load(path: str | os.PathLike[str]) -> Run:
    """Open a trained run or its whole checkpoint, or raise MetarlError."""
    _check_path("a run's folder", path)
    return Run(runs.open_trained(Path(path), report=lambda _: None), None)


def evaluate(
    run: Run | str | os.PathLike[str],
    tasks: Sequence[Task] | None = None,
    *,
    seed: int = 0,
    adaptation_steps: int | None = None,
) -> Evaluation:
    """Measure an agent on held-out tasks.

    Args:
        run: what :func:`train` or :func:`load` returned, or a run's folder.
        tasks: by default all that are held out.
        seed: of the episodes, apart from the training's.
        adaptation_steps: most steps; by default as the run's own evaluation has.

    Returns:
        Returns and successes ``[tasks, adaptation steps + 1, episodes]``.

    Raises:
        MetarlError: if ``tasks`` is no list of tasks, a number is out of range, or the run cannot be opened.
    """
    check_number("seed", seed, Seed)
    experiment = (run if isinstance(run, Run) else load(run)).experiment
    measured = experiment.config.evaluation
    if adaptation_steps is not None:
        measured = replace(measured, adaptation_steps=adaptation_steps)
    given: object = experiment.suite.tasks("test") if tasks is None else tasks
    chosen = [task for task in given if isinstance(task, Task)] if isinstance(given, Sequence) else []
    if not isinstance(given, Sequence) or not chosen or len(chosen) < len(given):
        raise MetarlError(f'Expected a list of tasks, such as run.suite.tasks("test"), got {shown(given)}.')
    with closing(experiment.make_env()) as env:
        rng = make_rng(seed, Purpose.EVALUATION)
        return experiment.test(env, chosen, rng, measured.adaptation_steps)
