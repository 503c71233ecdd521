"""``metarl explain``: what adaptation does inside a policy, and which of it matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from metarl.analysis.layers import explainable, layers_of
from metarl.analysis.measure import Inside, inside_steps, look_inside
from metarl.analysis.summary import explain, to_json
from metarl.cli.commands.evaluate import choose_tasks, results_folder
from metarl.cli.console import console, say
from metarl.cli.progress import showing
from metarl.errors import require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.explanation_files import write_explanation
from metarl.reporting.explanation_tables import explanation_tables
from metarl.text import count
from metarl.training import runs
from metarl.training.evaluation_reader import provenance
from metarl.training.experiment import Experiment
from metarl.types import Task


@dataclass(frozen=True, kw_only=True)
class ExplainArguments:
    """Look inside an adaptation: what it moves in the policy, and what each layer's part of it is worth.

    Adapts to held-out tasks and writes tables, figures and every number into the run's folder.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run (its newest whole checkpoint is taken), or one checkpoint's folder."""
    tasks: int = 0
    """Held-out tasks, as evenly over the families as can be; 0 takes every one."""
    task: tuple[str, ...] = ()
    """Ids of held-out tasks to take instead of so many; a family's name stands for the first of its tasks."""
    adaptation_steps: int = 0
    """Adaptation steps; 0 takes as many as the run's evaluation."""
    episodes: int = 0
    """Episodes of each task that each variant of the policy is measured on; 0 takes as many as the run's
    evaluation."""
    seed: int = 0
    """Seed of the episodes, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: int = 0
    """Worker processes or threads; 0 takes one a core."""
    output: Path | None = None
    """Folder for the results; by default "explanations" in the run's folder, or in a lone checkpoint's."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(
            self.tasks >= 0 and self.tasks != 1, "tasks must be 2 or more, or 0 for every one", self.tasks
        )
        require(
            0 <= self.adaptation_steps <= 100,
            "adaptation_steps must lie in 1..100, or be 0 for the run's own",
            self.adaptation_steps,
        )
        require(
            0 <= self.episodes <= 10_000,
            "episodes must lie in 1..10000, or be 0 for the run's own",
            self.episodes,
        )
        require(0 <= self.seed < 2**32, "seed must lie in 0..2**32-1", self.seed)
        require(0 <= self.workers <= 1024, "workers must lie in 0..1024", self.workers)
        require(not (self.tasks and self.task), "Either --tasks or --task is wanted", "both")


def explain_command(arguments: list[str]) -> None:
    """Look inside an adaptation: what it moves in the policy, and what each layer is worth."""
    wanted = tyro.cli(ExplainArguments, args=arguments, prog="metarl explain")
    experiment = open_for(wanted)
    rng = make_rng(wanted.seed, Purpose.EXPLANATION)
    layers = layers_of(explainable(experiment.agent.initial_actor(1, rng)).params)
    tasks = choose_tasks(experiment, wanted.task, wanted.tasks, rng)
    require(len(tasks) > 1, "Explaining compares tasks, so two or more are needed", count(len(tasks), "task"))
    steps = experiment.config.evaluation.adaptation_steps
    stem = f"iteration{experiment.iteration}-seed{wanted.seed}"
    with results_folder(wanted.output or experiment.folder / "explanations", [stem]) as folder:
        say(
            f"Explaining how {experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} "
            f"adapts to {len(tasks)} held-out tasks of {experiment.suite.name}: {count(steps, 'step')}, "
            f"{count(len(layers), 'layer')} to adapt alone and to leave out, seed {wanted.seed}."
        )
        inside = look(experiment, tasks, layers, rng)
        explanation = explain(inside, steps, make_rng(wanted.seed, Purpose.RESAMPLES))
        content = {**provenance(experiment), **to_json(explanation)}
        for table in explanation_tables(content):
            console.print(table)
        title = f"{experiment.suite.name}, {experiment.config.agent.kind}: adapting to held-out tasks"
        files = write_explanation(folder, stem, explanation, content, title)
    say(f"Wrote {', '.join(path.name for path in files)} in {folder}.")


def open_for(wanted: ExplainArguments) -> Experiment:
    """Open the trained agent, with the numbers that were asked for.

    Raises:
        MetarlError: as :func:`metarl.training.runs.open_trained`.
    """
    experiment = runs.open_trained(wanted.run, say, device=wanted.device, workers=wanted.workers)
    evaluation = experiment.config.evaluation
    changed = replace(
        evaluation,
        adaptation_steps=wanted.adaptation_steps or max(1, evaluation.adaptation_steps),
        episodes=wanted.episodes or evaluation.episodes,
    )
    experiment.config = replace(experiment.config, evaluation=changed)
    return experiment


def look(
    experiment: Experiment, tasks: Sequence[Task], layers: Sequence[str], rng: np.random.Generator
) -> Inside:
    """Look inside, showing the progress."""
    config, horizon = experiment.config.evaluation, experiment.suite.horizon
    env = experiment.make_env()
    try:
        with showing(
            experiment, "explaining", inside_steps(config, layers, len(tasks), env.num_envs, horizon)
        ):
            return look_inside(
                experiment.agent, env, tasks, config, horizon=horizon, rng=rng, on_step=experiment.on_step
            )
    finally:
        env.close()
