"""``metarl export``: save an adapted policy as a file of stable-baselines3's PPO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from metarl.action_map import MapsActions
from metarl.cli.console import say
from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.video.record import find_task
from metarl.sb3.export import save, to_ppo
from metarl.settings import Seed, Settings, Workers
from metarl.text import count
from metarl.training import runs
from metarl.training.adapting import adapt_to


@dataclass(frozen=True, kw_only=True)
class ExportArguments(Settings):
    """Adapt to a held-out task, and save the policy as a zip that stable_baselines3.PPO.load opens."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run (its newest whole checkpoint is taken), or one checkpoint's folder."""
    task: str
    """Id of a held-out task; a family's name takes the first of its tasks."""
    output: Path
    """The file."""
    adaptation_steps: Annotated[int, Ge(0), Le(100)] | None = None
    """Adaptation steps; by default as many as the run's evaluation has; 0 saves the unadapted policy."""
    seed: Seed = 0
    """Of the episodes that adaptation learns from, and of PPO's value network."""
    workers: Workers = 0
    """Worker processes or threads; 0 takes one a core."""


def export_command(arguments: list[str]) -> None:
    """Adapt to a task and save the policy for stable-baselines3."""
    options = tyro.cli(ExportArguments, args=arguments, prog="metarl export")
    if options.output.exists():
        raise MetarlError(f"{options.output} exists already; choose another file with --output.")
    if options.output.suffix == ".onnx":
        raise MetarlError(
            f"Expected a file of stable-baselines3, .zip, got {options.output}: ONNX is not written."
        )
    if not options.output.absolute().parent.is_dir():
        raise MetarlError(f"There is no folder {options.output.parent} for {options.output.name}.")
    experiment = runs.open_trained(options.run, say, workers=options.workers)
    task = find_task(experiment.suite.tasks("test"), options.task, experiment.suite.name)
    measured = experiment.config.evaluation
    steps = measured.adaptation_steps if options.adaptation_steps is None else options.adaptation_steps
    to_ppo(
        experiment.agent.initial_actor(1, make_rng(0, Purpose.FILM)), 0, experiment.suite
    )  # refuses before anything is computed
    say(
        f"Adapting {experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} to "
        f"{task.id}: {count(steps, 'step')} of {count(measured.adaptation_episodes, 'episode')} each, "
        f"seed {options.seed}."
    )
    # adapt, then write the policy of this one task
    adapted = adapt_to(experiment, task, steps, options.seed)
    save(to_ppo(adapted.actor, 0, experiment.suite, seed=options.seed), options.output)
    say(f'Wrote {options.output}; stable_baselines3.PPO.load("{options.output}", env=...) goes on training.')
    suite = experiment.suite
    # PPO's file holds no rescaling of actions, so say how to get it
    if isinstance(suite, MapsActions) and suite.action_map is not None and suite.action_map.rescaled.any():
        say(
            f"It acts in {suite.action_space}, which the suite's environments rescale; an environment of "
            "your own does so inside gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)."
        )
