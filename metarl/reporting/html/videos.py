"""Videos of episodes before and after adapting."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from metarl.reporting.html.run_data import Group
from metarl.reporting.video.encode import jpeg, mp4
from metarl.reporting.video.record import Clip, Film, View, film, find_task, measured_rollouts, outcome
from metarl.text import stage_name
from metarl.training import runs
from metarl.training.experiment import Experiment
from metarl.training.observers import Observer
from metarl.training.step_counts import evaluation_steps
from metarl.types import Task


@dataclass(frozen=True)
class Video:
    """An episode, embedded in the page."""

    stage: str  # before or after adapting
    outcome: str  # return, steps and success of the episode
    source: str  # an MP4 as a data URI
    poster: str  # the last frame as a data URI
    width: int
    height: int


@dataclass(frozen=True)
class Pair:
    """A task with its two videos."""

    task: str
    why: str  # reason for choosing this task
    before: Video
    after: Video


@dataclass(frozen=True)
class Choice:
    """A task to film, and the reason."""

    task: Task
    why: str


def choose(group: Group, names: Sequence[str]) -> list[Choice]:
    """Choose the named tasks, or those of greatest, median and least gain.

    Raises:
        MetarlError: if a name is no held-out task's.
    """
    if names:
        return [Choice(find_task(group.tasks, name, group.config.label), "chosen") for name in names]
    order = group.by_gain()
    places = {0: "greatest gain", len(order) // 2: "median gain", len(order) - 1: "least gain"}
    return [Choice(group.tasks[order[place]], why) for place, why in places.items()]


def open_first(group: Group) -> Experiment:
    """Open the agent of a group's first seed."""
    return runs.open_trained(group.runs[0].folder, report=lambda _: None)  # reported when it was read


def steps_of(experiment: Experiment, choices: Sequence[Choice]) -> int:
    """Return the vector steps of filming full episodes."""
    one = evaluation_steps(experiment, 1, experiment.config.evaluation.adaptation_steps)
    return len(choices) * one


def film_pairs(
    experiment: Experiment, choices: Sequence[Choice], observer: Observer, *, seed: int, view: View
) -> list[Pair]:
    """Film the adaptation to each task.

    Raises:
        MetarlError: if the environment, or this machine, cannot draw.
        Stopped: if the experiment was asked to stop.
    """
    experiment.observers = [observer]
    # only the first and the last measured rollout are filmed
    measured = measured_rollouts(experiment)
    ends = measured[0], measured[-1]
    env = experiment.make_env()
    try:
        with runs.stop_on_signals(experiment):
            pairs = []
            for choice in choices:
                filmed = film(experiment, env, choice.task, seed=seed, view=view, rollouts=ends)
                # encoded at once: raw frames of one task at a time
                pairs.append(pair(filmed, choice.why, experiment.suite.reports_success))
            return pairs
    finally:
        env.close()


def pair(filmed: Film, why: str, reports_success: bool) -> Pair:
    """Return a film as a pair of videos."""
    steps, trial = filmed.evaluation.adaptation_steps, filmed.evaluation.trial
    before = video(filmed.clips[0], stage_name(0, trial), reports_success)
    after = video(filmed.clips[-1], stage_name(steps, trial), reports_success)
    return Pair(filmed.task.id, why, before, after)


def video(clip: Clip, stage: str, reports_success: bool) -> Video:
    """Return a clip as a video."""
    last = clip.frames[-1]
    return Video(
        stage=stage,
        outcome=outcome(clip, reports_success),
        source=data_uri("video/mp4", mp4(clip.frames)),
        poster=data_uri("image/jpeg", jpeg(last)),
        width=last.shape[1],
        height=last.shape[0],
    )


def data_uri(kind: str, content: bytes) -> str:
    """Return content as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
