"""A robot with models and initial states for tasks, shared by the engines of locomotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import mujoco
from gymnasium.spaces import Box

from metarl.envs.engines.arrays import Vector
from metarl.envs.engines.threads.features import Array, Layout
from metarl.envs.engines.threads.model_changes import Fields
from metarl.envs.locomotion.robots import Moment, Outcome, evaluate, find_robot
from metarl.envs.locomotion.starts import LocomotionFamily, Start, Starts
from metarl.errors import MetarlError, unknown_name
from metarl.types import Task


class LocomotionTasks:
    """A robot and its tasks' models; an unknown robot or option raises ``MetarlError``.

    ``default_tasks`` say how many parameters a task has; each slot draws from a generator of its own.
    """

    def __init__(self, family: LocomotionFamily, default_tasks: Sequence[Task], num_slots: int) -> None:
        self.family = family
        self.robot = find_robot(family.robot)
        self.options = self.robot.options(family.options)
        # Gymnasium's environment gives model, spaces and initial state
        env = self.robot.environment(**family.options)
        self.model: mujoco.MjModel = env.model
        self.observation_space, self.action_space = (
            cast(Box, env.observation_space),
            cast(Box, env.action_space),
        )
        self.frame_skip = env.frame_skip
        self.starts = Starts(env, self.robot, self.options, num_slots)
        self.num_parameters = len(default_tasks[0].parameters)
        self._fields: dict[tuple[float, ...], Fields] = {}
        self.accept(default_tasks)

    @property
    def expanded(self) -> list[str]:
        """Model fields of each world's own."""
        return sorted({name for fields in self._fields.values() for name in fields})

    def accept(self, tasks: Sequence[Task]) -> None:
        """Make the model fields of some tasks; raise ``MetarlError`` if a task does not fit."""
        self._fields = {task.parameters: self._fields_of(task) for task in tasks}

    def start(self, slot: int, task: Task, seed: int | None, layout: Layout) -> Start:
        """Draw a slot's initial state; see :meth:`.Starts.draw`."""
        return self.starts.draw(slot, seed, self._fields[task.parameters], layout)

    def masses(self, start: Start) -> Array:
        """Return bodies' masses, ``[nbody]``, kilograms."""
        masses: Array = start.state.fields.get("body_mass", self.model.body_mass)
        return masses

    def judge(
        self, moment: Moment, *, before: Vector, actions: Vector, seconds: Vector, parameters: Vector
    ) -> Outcome:
        """Return the outcome of a step, in NumPy or torch.

        ``before`` is ``tracked`` of the moment before ``moment``; shapes are ``actions [A, worlds]``,
        ``seconds [worlds]`` of the step, ``parameters [P, worlds]``.
        """
        outcome = evaluate(
            self.robot,
            self.options,
            moment,
            before=before,
            actions=actions,
            seconds=seconds,
            initial_height=self.starts.height,
        )
        if self.family.reward is None:
            return outcome
        return outcome._replace(reward=self.family.reward(outcome.quantities, parameters))

    def _fields_of(self, task: Task) -> Fields:
        if task.family != self.family.name:
            raise unknown_name("family of this environment", task.family, [self.family.name])
        if len(task.parameters) != self.num_parameters:
            raise MetarlError(
                f"Expected {self.num_parameters} parameters, got {len(task.parameters)} in task {task.id!r}."
            )
        if self.family.dynamics is None:
            return {}
        known = self._fields.get(task.parameters)
        return self.starts.fields(self.family.dynamics(task.parameters)) if known is None else known
