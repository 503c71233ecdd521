"""``metarl watch``: film an adaptation, for a window or an MP4."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from metarl.cli.console import say
from metarl.cli.progress import showing
from metarl.errors import MetarlError, require
from metarl.reporting.video.encode import FRAMES_PER_SECOND, mp4, side_by_side
from metarl.reporting.video.record import (
    Clip,
    Film,
    View,
    check_drawable,
    film,
    find_task,
    measured_rollouts,
    outcome,
)
from metarl.reporting.video.window import Window
from metarl.settings import Seed, Settings, Workers
from metarl.storage.files import check_writable, write_whole
from metarl.text import count, stage_name
from metarl.training import runs
from metarl.training.experiment import Experiment
from metarl.training.step_counts import evaluation_steps
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv


@dataclass(frozen=True, kw_only=True)
class WatchArguments(Settings):
    """See an agent adapt to a held-out task: the first measured episode before adapting and after it."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, checkpoint or trained result.
    Of a run its newest whole checkpoint is taken."""
    task: str = ""
    """Held-out task; left empty, the first of all.
    Its number from 0, its id, or a family for its first task."""
    steps: Annotated[int, Ge(0), Le(100)] = 0
    """Adaptation steps; 0 as in the run's evaluation.
    One where that has none."""
    output: Path | None = None
    """MP4 file; by default one named after the task in "videos" in the run's folder."""
    overwrite: bool = False
    """Replace a file that is there already."""
    window: bool = False
    """Show every episode in a window while running.
    A file is written only where --output names one."""
    camera: str | None = None
    """Camera by name; by default the suite's choice."""
    size: int = 480
    """Pixels along a side."""
    seed: Seed = 0
    """Seed of the episodes, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: Workers = 0
    """Worker processes or threads; 0 uses every core."""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = self.output is None or self.output.suffix.lower() == ".mp4"
        require(named, "The output must be a file that ends in .mp4", self.output)


def watch_command(arguments: list[str]) -> None:
    """Watch an agent adapt to a held-out task, in a window or as an MP4."""
    options = tyro.cli(WatchArguments, args=arguments, prog="metarl watch")
    view = View(camera=options.camera, size=options.size)
    experiment = open_for(options)
    tasks = experiment.suite.tasks("test")
    task = find_task(tasks, options.task, experiment.suite.name) if options.task else tasks[0]
    # a window alone writes no file
    path = None if options.window and options.output is None else output_path(experiment, task, options)
    with closing(experiment.make_env()) as env:
        check_drawable(env, task, view)
        window = Window(f"metarl: {task.id}", experiment.request_stop) if options.window else None
        say(introduction(experiment, task, chosen=bool(options.task)))
        with closing(window) if window is not None else nullcontext():
            on_frame = live(window, experiment) if window else None
            filmed = watch(experiment, env, task, options.seed, view, on_frame)
            show(experiment, filmed, path, window)


def introduction(experiment: Experiment, task: Task, *, chosen: bool) -> str:
    """Describe what is going to be seen."""
    suite, tasks = experiment.suite.name, experiment.suite.tasks("test")
    families = ", ".join(sorted({each.family for each in tasks}))
    choice = (
        ""
        if chosen
        else f"{suite} has {count(len(tasks), 'held-out task')}, {tasks[0].id} to {tasks[-1].id} "
        f"({families}); choose one with --task. This is the first.\n"
    )
    steps = experiment.config.evaluation.adaptation_steps
    return (
        f"{choice}{experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} adapts to "
        f"{task.id} of {suite}: {experience(experiment, steps)}."
    )


def experience(experiment: Experiment, steps: int) -> str:
    """Describe the experience that the agent learns from before the last episode."""
    if experiment.agent.trial == "sequential":
        return count(steps, "episode") + " in one trial, then the last"
    episodes = experiment.config.evaluation.adaptation_episodes
    return f"{count(steps, 'step')}, {count(episodes, 'episode')} each"


def open_for(options: WatchArguments) -> Experiment:
    """Open the trained agent with some adaptation steps."""
    experiment = runs.open_trained(options.run, say, device=options.device, workers=options.workers)
    evaluation = experiment.config.evaluation
    steps = options.steps or max(1, evaluation.adaptation_steps)
    experiment.config = replace(experiment.config, evaluation=replace(evaluation, adaptation_steps=steps))
    return experiment


def output_path(experiment: Experiment, task: Task, options: WatchArguments) -> Path:
    """Return the file to write; MetarlError if it exists or cannot be written."""
    path = options.output or experiment.folder / "videos" / f"{task.id.replace('/', '-')}.mp4"
    if path.exists() and not options.overwrite:
        raise MetarlError(f"{path} exists already; choose another --output, or --overwrite it.")
    check_writable(path)
    return path


def watch(
    experiment: Experiment,
    env: TaskVectorEnv,
    task: Task,
    seed: int,
    view: View,
    on_frame: Callable[[Clip], None] | None,
) -> Film:
    """Film the adaptation, all rollouts of it for a window."""
    measured = measured_rollouts(experiment)
    steps = evaluation_steps(experiment, 1, experiment.config.evaluation.adaptation_steps)
    rollouts = range(measured[-1] + 1) if on_frame else (measured[0], measured[-1])
    with showing(experiment, f"filming {task.id}", steps):
        return film(experiment, env, task, seed=seed, view=view, rollouts=rollouts, on_frame=on_frame)


def live(window: Window, experiment: Experiment) -> Callable[[Clip], None]:
    """Return a callback that shows new frames."""
    measured = measured_rollouts(experiment)

    def show_frame(clip: Clip) -> None:
        adapted = sum(rollout <= clip.rollout for rollout in measured) - 1
        learning = "" if clip.rollout in measured else ", learning from this"
        stage = stage_name(adapted, experiment.agent.trial) + learning
        lines = [stage, f"step {clip.steps}, return {clip.total:.1f}"]
        window.show(side_by_side([clip.frames[-1:]], [lines])[0])

    return show_frame


def show(experiment: Experiment, filmed: Film, path: Path | None, window: Window | None) -> None:
    """Write the film; repeat it in the window."""
    # the first and the last measured episode, beside one another
    before, after = filmed.clips[0], filmed.clips[-1]
    stages, reports = (
        ((0, before), (filmed.evaluation.adaptation_steps, after)),
        experiment.suite.reports_success,
    )
    trial = filmed.evaluation.trial
    captions = [[stage_name(stage, trial), outcome(clip, reports)] for stage, clip in stages]
    for name, said in captions:
        say(f"{name}: {said}")
    frames = side_by_side([before.frames, after.frames], captions)
    if path is not None:
        write_whole(path, mp4(frames))
        say(f"Wrote {path}.")
    if window is not None:
        window.repeat(frames, FRAMES_PER_SECOND)
