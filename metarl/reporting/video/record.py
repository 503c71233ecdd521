"""Films of an adaptation to one task, seen as an evaluation runs it.

The evaluation is given an environment that looks at one of its slots after each reset and step, and is
otherwise the environment itself, so the film shows the measured episode.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from metarl.errors import MetarlError, require, unknown_name
from metarl.evaluation.record import Evaluation
from metarl.functional.random_streams import Purpose, make_rng
from metarl.settings import Settings
from metarl.text import count
from metarl.training.experiment import Experiment
from metarl.training.step_counts import evaluation_steps
from metarl.types import Task
from metarl.vector_env import Array, Picture, Renderable, TaskVectorEnv

MAX_FRAMES = 64  # number of frames of an episode, about; of a longer one every second, third, … step is seen
SLOT = 0  # filmed slot: the first of a task's episodes


@dataclass(frozen=True, kw_only=True)
class View(Settings):
    """Camera and size of the view."""

    camera: str | None = None
    """Camera's name; None for the suite's choice."""
    size: Annotated[int, Ge(32), Le(2048)] = 480
    """Pixels along a side."""


@dataclass
class Clip:
    """Frames and result of one episode."""

    rollout: int  # rollout of the evaluation, counted from 0
    frames: list[Picture] = field(default_factory=list)  # frames of the whole episode
    steps: int = 0
    total: float = 0.0  # return up to the last step
    solved_at: int | None = None  # first step after which the task was solved


@dataclass(frozen=True)
class Film:
    """An adaptation to one task."""

    task: Task
    clips: tuple[Clip, ...]  # clips of the filmed rollouts, in their order
    evaluation: Evaluation  # measurements on the task; the clips show the first of its episodes


def film(
    experiment: Experiment,
    env: TaskVectorEnv,
    task: Task,
    *,
    seed: int,
    view: View,
    rollouts: Container[int],
    on_frame: Callable[[Clip], None] | None = None,
) -> Film:
    """Film an agent's evaluation on one held-out task.

    The episodes are those that ``experiment.test`` runs with the same random numbers, which are a function of
    the seed and the task. Seen are those of ``rollouts``, see :func:`measured_rollouts`; ``on_frame`` is
    called for each new frame, the last of the given clip.

    Raises:
        MetarlError: if the environment, or this machine, cannot draw.
    """
    tasks = list(experiment.suite.tasks("test"))
    every = -(-experiment.suite.horizon // MAX_FRAMES)
    filmed = FilmedEnv(env, view, rollouts, every, on_frame)
    evaluation = experiment.test(filmed, [task], make_rng(seed, Purpose.FILM, tasks.index(task)))
    return Film(task, tuple(filmed.clips), evaluation)


def check_drawable(env: TaskVectorEnv, task: Task, view: View) -> None:
    """Draw one picture of a task.

    Raises:
        MetarlError: if the environment, or this machine, cannot draw it.
    """
    filmed = FilmedEnv(env, view, (0,), 1)
    filmed.set_tasks([task])
    filmed.reset(seed=[0] * env.num_envs)


def measured_rollouts(experiment: Experiment) -> list[int]:
    """Return which rollouts of an evaluation on one task are measured.

    The others are experience for adaptation, if it does not learn from the measured episodes.
    """
    steps = experiment.config.evaluation.adaptation_steps
    rollouts = evaluation_steps(experiment, 1, steps) // experiment.suite.horizon
    return list(range(0, rollouts, (rollouts - 1) // steps if steps else 1))


def find_task(tasks: Sequence[Task], name: str, suite: str) -> Task:
    """Find a task by id or number, counted from 0, or the first of a family.

    Raises:
        MetarlError: if there is none; names the nearest.
    """
    if name.isdecimal():
        wanted = f"The number of a held-out task of {suite} must be 0 to {len(tasks) - 1}"
        require(int(name) < len(tasks), wanted, name)
        return tasks[int(name)]
    for task in tasks:
        if name in (task.id, task.family):
            return task
    known = {task.family for task in tasks} if "/" not in name else {task.id for task in tasks}
    raise unknown_name(f"held-out task of {suite}", name, known)


def outcome(clip: Clip, reports_success: bool) -> str:
    """Return the result of an episode in words."""
    said = f"return {clip.total:.1f}"
    if not reports_success:
        return f"{said} in {count(clip.steps, 'step')}"
    return f"{said}, " + (
        f"not solved in {count(clip.steps, 'step')}"
        if clip.solved_at is None
        else f"solved at step {clip.solved_at}"
    )


class FilmedEnv(TaskVectorEnv):
    """Wrapper that renders one slot after each step.

    ``every`` is the number of steps from one frame to the next; each reset begins the next rollout, from 0,
    of which those in ``rollouts`` are seen. The caller closes ``env``.

    Raises:
        MetarlError: if the environment cannot be drawn.
    """

    def __init__(
        self,
        env: TaskVectorEnv,
        view: View,
        rollouts: Container[int],
        every: int,
        on_frame: Callable[[Clip], None] | None = None,
    ) -> None:
        if not isinstance(env, Renderable):
            raise MetarlError(
                "These environments cannot be drawn: their vector environment, "
                f"{type(env).__name__}, has no method render_slot."
            )
        self.metadata = env.metadata
        self.num_envs = env.num_envs
        self.single_observation_space, self.observation_space = (
            env.single_observation_space,
            env.observation_space,
        )
        self.single_action_space, self.action_space = env.single_action_space, env.action_space
        self.clips: list[Clip] = []
        self._env, self._eye = env, env
        self._view, self._filmed, self._every, self._on_frame = view, rollouts, every, on_frame
        self.rollout = -1  # number of the one that is running
        self._clip: Clip | None = None  # clip of the running episode, if filmed

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Set the environment's tasks."""
        self._env.set_tasks(tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Begin the next clip."""
        observations, infos = self._env.reset(
            seed=seed,  # type: ignore[arg-type]  # Gymnasium's base class forgets a seed for each slot
            options=options,
        )
        self.rollout += 1
        self._clip = Clip(self.rollout) if self.rollout in self._filmed else None
        if self._clip is not None:
            self.clips.append(self._clip)
            self._look(self._clip)
        return observations, infos

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step the environment, and render."""
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        if self._clip is not None:
            self._follow(self._clip, rewards, infos.get("success"), bool(terminated[SLOT] or truncated[SLOT]))
        return observations, rewards, terminated, truncated, infos

    @property
    def restarts(self) -> int:
        """Number of lost workers with restarted episodes."""
        return self._env.restarts

    def _follow(self, clip: Clip, rewards: Array, success: Array | None, ends: bool) -> None:
        clip.steps += 1
        clip.total += float(rewards[SLOT])
        if clip.solved_at is None and success is not None and bool(np.asarray(success)[SLOT]):
            clip.solved_at = clip.steps
        if ends or clip.steps % self._every == 0:
            self._look(clip)
        if ends:
            self._clip = None

    def _look(self, clip: Clip) -> None:
        size = self._view.size
        picture = self._eye.render_slot(SLOT, camera=self._view.camera, width=size, height=size)
        # the first picture of all is in the first clip; a film has one size
        if self.clips[0].frames and self.clips[0].frames[0].shape != picture.shape:
            first, now = (shape[:2] for shape in (self.clips[0].frames[0].shape, picture.shape))
            raise MetarlError(
                f"Expected pictures of one size, {first} as the first, got {now} after "
                f"{count(clip.steps, 'step')}; let the environment draw itself in the same size each time."
            )
        clip.frames.append(picture)
        if self._on_frame is not None:
            self._on_frame(clip)
