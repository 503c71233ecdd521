"""``metarl export``: save a policy as an ONNX graph, or as a file of stable-baselines3's PPO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from metarl.action_map import MapsActions
from metarl.cli.console import say
from metarl.errors import MetarlError, require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Actor
from metarl.reporting.video.record import find_task
from metarl.sb3.export import save, to_ppo
from metarl.settings import Seed, Settings, Workers
from metarl.spaces import one_line
from metarl.storage.files import check_writable
from metarl.text import count, listed
from metarl.training import runs
from metarl.training.adapted_agent import AdaptedAgent, continuing
from metarl.training.adapting import adapt_to
from metarl.training.experiment import Experiment
from metarl.types import Task


@dataclass(frozen=True, kw_only=True)
class ExportArguments(Settings):
    """Save a policy as an ONNX graph, or as a zip that stable_baselines3.PPO.load opens."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, checkpoint, result or session.
    Of a run its newest whole checkpoint is taken; sessions are those of metarl adapt."""
    output: Path
    """FILE.onnx for ONNX Runtime, any other for stable-baselines3."""
    task: str = ""
    """Held-out task to adapt to.
    Its number from 0, its id, or a family for its first task. Without one the policy is saved as it is:
    unadapted, or as metarl adapt left it."""
    adaptation_steps: Annotated[int, Ge(0), Le(100)] | None = None
    """Adaptation steps, or episodes of agents with memory.
    By default as many as the run's evaluation has."""
    seed: Seed = 0
    """Seed of adaptation's episodes and PPO's value network."""
    workers: Workers = 0
    """Worker processes or threads; 0 uses every core."""


def export_command(arguments: list[str]) -> None:
    """Save a policy for ONNX Runtime or stable-baselines3."""
    options = tyro.cli(ExportArguments, args=arguments, prog="metarl export")
    if options.output.exists():
        raise MetarlError(f"{options.output} exists already; choose another file with --output.")
    steps = options.adaptation_steps
    require(bool(options.task) or not steps, "Expected --task, the task to adapt to in so many steps", steps)
    if not options.output.absolute().parent.is_dir():
        raise MetarlError(f"There is no folder {options.output.parent} for {options.output.name}.")
    check_writable(options.output)
    experiment = runs.open_trained(options.run, say, workers=options.workers)
    tasks = experiment.suite.tasks("test")
    task = find_task(tasks, options.task, experiment.suite.name) if options.task else None
    export = export_onnx if options.output.suffix == ".onnx" else export_ppo
    export(experiment, task, options)


def export_onnx(experiment: Experiment, task: Task | None, options: ExportArguments) -> None:
    """Save a policy's step as an ONNX graph."""
    try:
        from metarl.deploy.onnx_file import write_onnx  # noqa: PLC0415  # an extra
        from metarl.deploy.onnx_policy import REWARD, policy_model  # noqa: PLC0415  # likewise
    except ModuleNotFoundError as error:
        raise MetarlError(
            f"ONNX files need the package {error.name}, which is missing: pip install 'metarl-toolkit[onnx]'."
        ) from error
    suite = experiment.suite
    policy_model(unadapted(experiment), suite, {})  # refuses before anything is computed
    actor = adapted(experiment, task, options)
    adapted_to = task.id if task is not None else adapted_before(experiment)
    checked = write_onnx(experiment, actor, task or suite.tasks("test")[0], options.output, adapted_to)
    say(
        f"Wrote {options.output}, which takes {listed(checked.inputs)}. Its actions differ from PyTorch's by "
        f"{checked.difference:.1g} at most in {checked.steps} steps of {count(checked.episodes, 'episode')}."
    )
    bonus = experiment.config.success_bonus
    if bonus and any(name.startswith(REWARD) for name in checked.inputs):
        say(f"The reward that it takes is {bonus:g} more after a step with success, as in training.")


def export_ppo(experiment: Experiment, task: Task | None, options: ExportArguments) -> None:
    """Save a policy as stable-baselines3's PPO."""
    suite = experiment.suite
    to_ppo(unadapted(experiment), 0, suite)  # refuses before anything is computed
    save(to_ppo(adapted(experiment, task, options), 0, suite, seed=options.seed), options.output)
    say(f'Wrote {options.output}; stable_baselines3.PPO.load("{options.output}", env=...) goes on training.')
    # PPO's file holds no rescaling of actions, so say how to get it
    if isinstance(suite, MapsActions) and suite.action_map is not None and suite.action_map.rescaled.any():
        say(
            f"It acts in {one_line(suite.action_space)}, which the suite's environments rescale; an "
            "environment of your own does so inside gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)."
        )


def unadapted(experiment: Experiment) -> Actor:
    """Return the policy that the run opens with."""
    return experiment.agent.initial_actor(1, make_rng(0, Purpose.FILM))


def adapted(experiment: Experiment, task: Task | None, options: ExportArguments) -> Actor:
    """Return the policy of one task, adapted to it; without a task the one that the run opens with."""
    if task is None:
        return unadapted(experiment)
    measured, sequential = experiment.config.evaluation, experiment.agent.trial == "sequential"
    steps = measured.adaptation_steps if options.adaptation_steps is None else options.adaptation_steps
    each = f"{count(steps, 'step')} of {count(measured.adaptation_episodes, 'episode')} each"
    say(
        f"Adapting {experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} to "
        f"{task.id}: {count(steps, 'episode') if sequential else each}, seed {options.seed}."
    )
    found = adapt_to(experiment, task, steps, options.seed)
    return continuing(found.actor, experiment.agent.trial, found.experience)


def adapted_before(experiment: Experiment) -> str:
    """Return which session the agent has adapted in; empty if in none."""
    return experiment.folder.name if isinstance(experiment.agent, AdaptedAgent) else ""
