"""``metarl explain``: measure which layers adaptation changes, and the gain of each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from annotated_types import Ge, Le

from metarl.analysis.layers import explainable, layers_of
from metarl.analysis.measure import AdaptationTrace, trace_adaptation, trace_steps
from metarl.analysis.summary import explain, to_json
from metarl.cli.commands.evaluate import choose_tasks, results_folder
from metarl.cli.console import console, say
from metarl.cli.progress import showing
from metarl.errors import require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.explanation_files import write_explanation
from metarl.reporting.explanation_tables import explanation_tables
from metarl.settings import Seed, Settings, Workers
from metarl.text import count
from metarl.training import runs
from metarl.training.evaluation_reader import provenance
from metarl.training.experiment import Experiment
from metarl.types import Task


@dataclass(frozen=True, kw_only=True)
class ExplainArguments(Settings):
    """Measure each layer's change by adapting, and gain.

    Adapts to held-out tasks and writes tables, figures and every number into the run's folder.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, checkpoint or trained result.
    Of a run its newest whole checkpoint is taken."""
    tasks: Annotated[int, Ge(0)] = 0
    """Held-out tasks, evenly over families; 0 for all."""
    task: tuple[str, ...] = ()
    """Ids of held-out tasks, instead of a number.
    A family's name takes the first of its tasks."""
    adaptation_steps: Annotated[int, Ge(0), Le(100)] = 0
    """Adaptation steps; 0 as in the run's evaluation.
    One where that has none."""
    episodes: Annotated[int, Ge(0), Le(10_000)] = 0
    """Episodes per task and variant of the policy.
    0 takes as many as the run's evaluation."""
    seed: Seed = 0
    """Seed of the episodes, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: Workers = 0
    """Worker processes or threads; 0 uses every core."""
    output: Path | None = None
    """Folder for the results; by default "explanations" in the run's folder, or in a lone checkpoint's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not (self.tasks and self.task), "Either --tasks or --task may be given", "both")
        require(self.tasks != 1, "tasks must be 2 or more, or 0 for every one", self.tasks)


def explain_command(arguments: list[str]) -> None:
    """Measure each layer's change by adapting, and gain."""
    options = tyro.cli(ExplainArguments, args=arguments, prog="metarl explain")
    experiment = open_for(options)
    rng = make_rng(options.seed, Purpose.EXPLANATION)
    # refuse agents without visible layers before anything is computed
    actor = experiment.agent.initial_actor(1, rng)
    layers = layers_of(explainable(actor, experiment.config.agent.kind).params)
    tasks = choose_tasks(experiment, options.task, options.tasks, rng)
    require(len(tasks) > 1, "Explaining compares tasks, so two or more are needed", count(len(tasks), "task"))
    steps = experiment.config.evaluation.adaptation_steps
    stem = f"iteration{experiment.iteration}-seed{options.seed}"
    with results_folder(options.output or experiment.folder / "explanations", [stem]) as folder:
        say(
            f"Explaining how {experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} "
            f"adapts to {len(tasks)} held-out tasks of {experiment.suite.name}: {count(steps, 'step')}, "
            f"{count(len(layers), 'layer')} to adapt alone and to leave out, seed {options.seed}."
        )
        trace = look(experiment, tasks, layers, rng)
        explanation = explain(trace, steps, make_rng(options.seed, Purpose.RESAMPLES))
        content = {**provenance(experiment), **to_json(explanation)}
        for table in explanation_tables(content):
            console.print(table)
        title = f"{experiment.suite.name}, {experiment.config.agent.kind}: adapting to held-out tasks"
        files = write_explanation(folder, stem, explanation, content, title)
    say(f"Wrote {', '.join(path.name for path in files)} in {folder}.")


def open_for(options: ExplainArguments) -> Experiment:
    """Open the trained agent with the options' numbers."""
    experiment = runs.open_trained(options.run, say, device=options.device, workers=options.workers)
    evaluation = experiment.config.evaluation
    steps = options.adaptation_steps or max(1, evaluation.adaptation_steps)
    changed = replace(evaluation, adaptation_steps=steps, episodes=options.episodes or evaluation.episodes)
    experiment.config = replace(experiment.config, evaluation=changed)
    return experiment


def look(
    experiment: Experiment, tasks: Sequence[Task], layers: Sequence[str], rng: np.random.Generator
) -> AdaptationTrace:
    """Trace the adaptation, showing the progress."""
    config, horizon = experiment.config.evaluation, experiment.suite.horizon
    with closing(experiment.make_env()) as env:
        steps = trace_steps(config, layers, len(tasks), env.num_envs, horizon)
        with showing(experiment, "explaining", steps):
            return trace_adaptation(
                experiment.agent, env, tasks, config, horizon=horizon, rng=rng, on_step=experiment.on_step
            )
