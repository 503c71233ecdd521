"""Records of evaluations: returns and successes of each task, stage and episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from metarl.errors import MetarlError, require
from metarl.evaluation.statistics import Values
from metarl.meta_learner import Trial
from metarl.rollouts.tally import Counts
from metarl.text import count
from metarl.types import Json, Rollout, Task
from metarl.vector_env import Array

Successes = npt.NDArray[np.bool_]
HELD_STEPS = 10  # steps at the end of an episode over which a held success lasts
KINDS = ("success", "success_last", "success_held")
"""Kinds of success: at any step, at the last step, and held for the last ten steps."""
EXPERIENCE = "experience_episodes"  # axis name of an agent with a memory


@dataclass(frozen=True)
class Evaluation:
    """Returns and successes of n measured episodes per task and adaptation step."""

    tasks: tuple[Task, ...]
    returns: Array
    """``[tasks, adaptation steps + 1, n]``, undiscounted."""
    successes: Successes | None
    """``[tasks, adaptation steps + 1, n]``, solved at any step; None where the suite does not say."""
    env_steps: int
    """Environment steps taken, including the adaptation's."""
    counts: Counts = field(default_factory=Counts, compare=False)
    """Counts behind the notices; not kept in files."""
    trial: Trial = "parallel"
    """Whether a step adapts from separate episodes (parallel) or is one more of a trial (sequential)."""
    last: Successes | None = None
    """``[tasks, adaptation steps + 1, n]``, solved at the last step; None if not recorded."""
    held: Successes | None = None
    """``[tasks, adaptation steps + 1, n]``, solved at each of the last ten steps; None if not recorded."""
    experience: tuple[int, ...] = ()
    """Episodes of experience before each stage, where these are not 0, 1, 2, …; not kept in files."""

    @property
    def adaptation_steps(self) -> int:
        """Number of adaptation steps measured."""
        return int(self.returns.shape[1]) - 1

    @property
    def task_returns(self) -> Array:
        """Mean return of each task and step, ``[tasks, adaptation steps + 1]``."""
        return np.asarray(np.mean(self.returns, axis=2), np.float64)

    @property
    def task_successes(self) -> Array | None:
        """Success rate of each task and step, ``[tasks, adaptation steps + 1]``."""
        return None if self.successes is None else np.mean(self.successes, axis=2)

    def rates(self, kind: str) -> Array | None:
        """Return each task's share of episodes with a kind of success, ``[tasks, adaptation steps + 1]``.

        It is None where the suite, or an evaluation of an early version, does not say.
        """
        flags = dict(zip(KINDS, (self.successes, self.last, self.held), strict=True))[kind]
        return None if flags is None else np.mean(flags, axis=2)

    def only(self, family: str) -> Evaluation:
        """Return the part of one family's tasks."""
        chosen = np.array([task.family == family for task in self.tasks])
        return replace(
            self,
            tasks=tuple(task for task in self.tasks if task.family == family),
            returns=self.returns[chosen],
            successes=part_of(self.successes, chosen),
            last=part_of(self.last, chosen),
            held=part_of(self.held, chosen),
        )

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        return {
            "tasks": [task.to_json() for task in self.tasks],
            "returns": self.returns.tolist(),
            "successes": None if self.successes is None else self.successes.tolist(),
            **({} if self.last is None else {"successes_last": self.last.tolist()}),
            **({} if self.held is None else {"successes_held": self.held.tolist()}),
            "env_steps": self.env_steps,
            **({"trial": self.trial} if self.trial != "parallel" else {}),
        }


def evaluation_from_json(data: Mapping[str, Json]) -> Evaluation:
    """Return the evaluation that :meth:`Evaluation.to_json` wrote.

    Raises:
        MetarlError: if it did not write this.
    """
    tasks, env_steps = data.get("tasks"), data.get("env_steps")
    if not isinstance(tasks, list) or not isinstance(env_steps, int):
        raise MetarlError("An evaluation needs a list of tasks and a number of env_steps; here they are not.")
    return Evaluation(
        tasks=tuple(Task.from_json(task) for task in tasks if isinstance(task, dict)),
        returns=np.array(data["returns"], np.float64),
        successes=_flags(data["successes"]),
        env_steps=env_steps,
        trial="sequential" if data.get("trial") == "sequential" else "parallel",
        # evaluations of early versions have neither
        last=_flags(data.get("successes_last")),
        held=_flags(data.get("successes_held")),
    )


def part_of(
    flags: Successes | None, tasks: Successes | slice, stages: Sequence[int] = ()
) -> Successes | None:
    """Return a kind of success of some tasks, and of some stages if any are named."""
    if flags is None:
        return None
    return flags[tasks][:, list(stages)] if stages else flags[tasks]


def _flags(values: Json) -> Successes | None:
    return None if values is None else np.array(values, np.bool_)


@dataclass(frozen=True)
class Axis:
    """Axis of the stages of an evaluation."""

    name: str  # column name, such as ``"adaptation_steps"``
    label: str  # label in figures
    short: str  # heading of a narrow column
    values: tuple[int, ...]  # stages, such as ``(0, 1, 2)`` adaptation steps

    def stage(self, index: int) -> str:
        """Describe a stage, as ``"2 adaptation steps"`` or ``"1 episode of experience"``."""
        number = self.values[index]
        if self.name == EXPERIENCE:
            return f"{count(number, 'episode')} of experience"
        return count(number, "adaptation step")


def steps_axis(evaluation: Evaluation) -> Axis:
    """Return the axis of an evaluation: adaptation steps or episodes of experience."""
    steps = tuple(range(evaluation.adaptation_steps + 1))
    if evaluation.trial == "sequential":
        values = evaluation.experience or steps
        return Axis(EXPERIENCE, "Episodes of experience on the task", "episodes", values)
    return Axis("adaptation_steps", "Adaptation steps", "steps", steps)


def scores_of(evaluations: Sequence[Evaluation], step: int, quantity: str) -> Values | None:
    """Return scores ``[S, T]`` of S seeds on T tasks after ``step`` adaptation steps.

    ``quantity`` is ``"return"`` or one of :data:`KINDS`; None comes back where successes are not known.
    """
    found = [part.task_returns if quantity == "return" else part.rates(quantity) for part in evaluations]
    known = [values[:, step] for values in found if values is not None]
    return np.stack(known) if len(known) == len(found) else None


def check_same_tasks(evaluations: Sequence[Evaluation]) -> None:
    """Check that evaluations share tasks and steps.

    Raises:
        MetarlError: if there are none, or their tasks or numbers of adaptation steps differ.
    """
    require(len(evaluations) > 0, "At least one evaluation is needed", "none")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.tasks != first.tasks:
            raise MetarlError(
                "Evaluations are compared task by task, but they are not of the same tasks: "
                f"{len(first.tasks)} from {first.tasks[0].id!r} on, and {len(other.tasks)} from "
                f"{other.tasks[0].id!r} on."
            )
        require(
            other.adaptation_steps == first.adaptation_steps,
            f"Evaluations are compared after equally many adaptation steps, here {first.adaptation_steps}",
            other.adaptation_steps,
        )


def from_rollouts(
    tasks: Sequence[Task], stages: Sequence[Rollout], other_steps: int, trial: Trial = "parallel"
) -> Evaluation:
    """Return the evaluation of ``stages``; ``other_steps`` were taken beside them."""
    successes = [stage.success.cpu().numpy() for stage in stages if stage.success is not None]
    streaks = [ends for stage in stages if (ends := _ends(stage)) is not None]
    last, held = zip(*streaks, strict=True) if len(streaks) == len(stages) else ((), ())
    return Evaluation(
        tasks=tuple(tasks),
        returns=np.stack([stage.episode_returns.double().cpu().numpy() for stage in stages], axis=1),
        successes=np.stack(successes, axis=1) if len(successes) == len(stages) else None,
        env_steps=other_steps + sum(stage.num_steps for stage in stages),
        trial=trial,
        last=np.stack(last, axis=1) if last else None,
        held=np.stack(held, axis=1) if held else None,
    )


def _ends(rollout: Rollout) -> tuple[Successes, Successes] | None:
    """Return which episodes ``[M, K]`` are solved at the end, and held for ten steps.

    An episode of fewer than ten steps holds a success that it has at all of them.
    """
    if rollout.success_streak is None:
        return None
    streak = rollout.success_streak
    held = streak >= rollout.mask.sum(dim=2).clamp(max=HELD_STEPS)
    return (streak > 0).cpu().numpy(), held.cpu().numpy()


def join(parts: Sequence[Evaluation]) -> Evaluation:
    """Join evaluations of different tasks, or of agents one after another."""
    return Evaluation(
        tasks=tuple(task for part in parts for task in part.tasks),
        returns=np.concatenate([part.returns for part in parts]),
        successes=_joined([part.successes for part in parts]),
        env_steps=sum(part.env_steps for part in parts),
        counts=sum((part.counts for part in parts), Counts()),
        trial=parts[0].trial,
        last=_joined([part.last for part in parts]),
        held=_joined([part.held for part in parts]),
    )


def _joined(parts: Sequence[Successes | None]) -> Successes | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
