"""Gymnasium's MuJoCo robots on threads: the physics of all slots in one batch, the rest as array arithmetic.

Bit for bit the episodes of Gymnasium's own environments, without their Python. A task may change the model of
its world, and what the robot is paid for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.envs.locomotion_columns import bind
from metarl.envs.locomotion_robots import (
    Moment,
    Outcome,
    Quantities,
    centre_of_mass,
    evaluate,
    find_robot,
    observe,
    whereabouts,
)
from metarl.envs.locomotion_starts import LocomotionFamily, Starts
from metarl.envs.physics.batched import BatchedPhysics, StepperName, WorldState
from metarl.envs.physics.model_changes import Fields
from metarl.envs.physics.worlds import Finish
from metarl.envs.reset_arguments import seeds_of_slots, split_options
from metarl.envs.sawyer.arrays import Vector, vector
from metarl.errors import MetarlError, require, unknown_name
from metarl.tasks import Array, Picture, TaskVectorEnv, check_fits, check_slot
from metarl.types import Task

logger = logging.getLogger(__name__)

Slots: TypeAlias = "Sequence[int] | npt.NDArray[np.int64]"


class LocomotionVectorEnv(TaskVectorEnv):
    """A :class:`~metarl.tasks.TaskVectorEnv` over MuJoCo worlds that are stepped on threads.

    A slot draws its initial noise as Gymnasium's environment would: from a generator that a seed starts anew,
    and that without one goes on. A world whose numbers become NaN or huge is truncated at that step with
    reward 0 and its last sound observation, logged and counted.

    Args:
        family: the robot, and what the tasks change.
        default_tasks: what the slots run in turn until ``set_tasks`` is called; None for Gymnasium's own
            environment, a task without parameters.
        num_envs: slots.
        num_threads: threads; 0 for one a core that this process may use. Results do not depend on it.
        horizon: steps after which an episode is truncated.
        stepper: "compiled", "portable" (Python threads, the same bits), or "auto" for the first that works.

    Raises:
        MetarlError: on a robot or an option that Gymnasium does not have, or a number that makes no sense.
        EngineError: if the compiled stepper is asked for and cannot be built.
    """

    def __init__(
        self,
        family: LocomotionFamily,
        *,
        default_tasks: Sequence[Task] | None = None,
        num_envs: int,
        num_threads: int = 0,
        horizon: int = 1000,
        stepper: StepperName = "auto",
    ) -> None:
        self.closed = True  # until there is something to close
        require(num_envs >= 1, "num_envs must be 1 or more", num_envs)
        require(num_threads >= 0, "num_threads must be 0 or more", num_threads)
        require(horizon >= 1, "horizon must be 1 or more", horizon)
        tasks = (Task(family.name, (), family.name),) if default_tasks is None else default_tasks
        require(len(tasks) > 0, "default_tasks must name at least one task", "empty")
        self._family, self._horizon = family, horizon
        self._robot = find_robot(family.robot)
        self._options = self._robot.options(family.options)
        env = self._robot.environment(**family.options)
        self._frame_skip = env.frame_skip
        self._starts = Starts(env, self._robot, self._options, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space = env.observation_space
        self.single_action_space = env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.diverged = 0
        """Episodes that were cut because their physics diverged."""
        self._num_parameters = len(tasks[0].parameters)
        self._fields: dict[tuple[float, ...], Fields] = {}
        self._fields = self._fields_of(tasks)
        self._tasks = [tasks[slot % len(tasks)] for slot in range(num_envs)]
        self._running = list(self._tasks)
        self._physics = BatchedPhysics(
            [env.model],
            [0] * num_envs,
            stepper=stepper,
            num_threads=num_threads,
            finish=Finish.RNE if self._robot.feels_contacts else Finish.NOTHING,
        )
        self.closed = False
        self._columns = bind(self._physics, self._robot, self._options)
        self._expand()
        self._seconds = np.full(num_envs, env.dt)
        self._masses = np.repeat(env.model.body_mass[:, None], num_envs, axis=1)
        self._body_mass = env.model.body_mass
        self._parameters = np.zeros((self._num_parameters, num_envs))
        self._live = np.zeros(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        self._observations = np.zeros(self.observation_space.shape or ())

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Let slot i run ``tasks[i]`` from its next reset on; slots past the last task stop and stay idle.

        Raises:
            MetarlError: on more tasks than slots, none, a task of another family, with another number of
                parameters, or with parameters that no model can be made of.
        """
        self._check_open()
        check_fits(tasks, self.num_envs)
        self._fields = self._fields_of(tasks)
        self._expand()
        self._tasks = list(tasks)
        self._live[len(tasks) :] = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, object] | None = None,
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in all slots that have a task, or in those that ``options["reset_mask"]`` names.

        Returns:
            Observations ``[N, O]`` of all slots, and Gymnasium's infos of those that started.

        Raises:
            TypeError: if the mask is no bool array.
            ValueError: if the mask has a wrong shape or no True, or there is not one seed a slot.
        """
        self._check_open()
        mask, _ = split_options(options, self.num_envs)
        seeds = seeds_of_slots(seed, self.num_envs)
        slots = [slot for slot in range(len(self._tasks)) if mask[slot]]
        if not slots:
            return self._observations.copy(), {}
        self._live[slots] = False  # should anything below be interrupted
        self._physics.set_state(slots, [self._start(slot, seeds[slot]) for slot in slots])
        moment = self._moment(slots)
        self._observations[slots] = np.asarray(observe(self._robot, self._options, moment)).T
        self._live[slots] = True
        return self._observations.copy(), self._infos(
            whereabouts(self._robot, moment, self._starts.height), slots
        )

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot.

        Args:
            actions: ``[N, A]``; float32 actions have a float32 cost, as in Gymnasium.

        Returns:
            Observations ``[N, O]``, rewards ``[N]``, terminated ``[N]``, truncated ``[N]``, and Gymnasium's
            infos, ``[N]`` each.

        Raises:
            MetarlError: if the actions have a wrong shape.
        """
        self._check_open()
        if np.shape(actions) != self.action_space.shape:
            raise MetarlError(f"Actions {self.action_space.shape} were wanted; {np.shape(actions)} came.")
        given = np.asarray(actions)
        if given.dtype != np.float32:
            given = given.astype(np.float64)
        live = self._live.copy()
        before = np.array(self._tracked(self._physics.features.T, range(self.num_envs)))
        self._physics.step(self._frame_skip, ctrl=given.astype(np.float64), mask=live)
        self._steps[live] += 1
        diverged = live & self._physics.diverged
        self._report(diverged)
        slots = np.flatnonzero(live & ~diverged)
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        infos: dict[str, object] = {}
        if len(slots):
            outcome = self._evaluate(slots, before[:, slots], given[slots].T)
            rewards[slots], terminated[slots] = np.asarray(outcome.reward), np.asarray(outcome.terminated)
            infos = self._infos(outcome.quantities, slots)
        truncated = diverged | (live & ~terminated & (self._steps >= self._horizon))
        self._live &= ~(terminated | truncated)
        flags = cast("Array", terminated), cast("Array", truncated)
        return self._observations.copy(), rewards, *flags, infos

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return what a camera of the robot's model sees of a slot, ``[height, width, 3]``.

        Args:
            slot: 0 to ``num_envs - 1``; one that never ran shows the model's initial state.
            camera: by the model's name; None for ``"track"``, which follows the robot.
            width: pixels.
            height: pixels.

        Raises:
            MetarlError: if there is no such slot or camera, or the size makes no sense.
            EngineError: if there is no OpenGL; it says what to install.
        """
        self._check_open()
        check_slot(slot, self.num_envs)
        [state] = self._physics.get_state([slot])
        return self._starts.picture(state, camera or "track", width, height)

    def close_extras(self, **_: object) -> None:
        """End the threads."""
        self._starts.close()
        self._physics.close()

    def _fields_of(self, tasks: Sequence[Task]) -> dict[tuple[float, ...], Fields]:
        """Return the model fields of each task, by its parameters; what is known already is kept."""
        fields: dict[tuple[float, ...], Fields] = {}
        for task in tasks:
            if task.family != self._family.name:
                raise unknown_name("family of this environment", task.family, [self._family.name])
            if len(task.parameters) != self._num_parameters:
                raise MetarlError(
                    f"{self._num_parameters} parameters were wanted; task {task.id!r} has "
                    f"{len(task.parameters)}."
                )
            key = task.parameters
            known = fields.get(key, self._fields.get(key))
            if known is None:
                known = (
                    {} if self._family.dynamics is None else self._starts.fields(self._family.dynamics(key))
                )
            fields[key] = known
        return fields

    def _expand(self) -> None:
        for name in sorted({name for fields in self._fields.values() for name in fields}):
            self._physics.expand(name)

    def _start(self, slot: int, seed: int | None) -> WorldState:
        """Give a slot its task, and return the state that it starts from."""
        task = self._tasks[slot]
        self._running[slot] = task
        self._parameters[:, slot] = task.parameters
        self._steps[slot] = 0
        state, timestep = self._starts.draw(
            slot, seed, self._fields[task.parameters], self._physics.layout(0)
        )
        self._seconds[slot] = timestep * self._frame_skip
        self._masses[:, slot] = state.fields.get("body_mass", self._body_mass)
        return state

    def _moment(self, slots: Slots) -> Moment:
        features = self._physics.features
        rows = features.T if len(slots) == self.num_envs else features[slots].T
        moment = Moment(*(vector(rows[columns]) for columns in self._columns))
        return moment._replace(tracked=self._tracked(rows, slots))

    def _tracked(self, rows: Array, slots: Slots) -> Vector:
        """Return the coordinates whose change is the velocity, ``[axes, n]``."""
        tracked = vector(rows[self._columns.tracked])
        if self._robot.tracks == "mass":
            tracked = centre_of_mass(tracked, vector(self._masses[:, slots]))
        return tracked[: len(self._robot.axes)]

    def _evaluate(self, slots: Slots, before: Array, actions: Array) -> Outcome:
        """Write what some slots show after a step, and return their outcome, ``[n]`` each."""
        moment = self._moment(slots)
        self._observations[slots] = np.asarray(observe(self._robot, self._options, moment)).T
        outcome = evaluate(
            self._robot,
            self._options,
            moment,
            before=vector(before),
            actions=vector(actions),
            seconds=vector(self._seconds[slots]),
            initial_height=self._starts.height,
        )
        if self._family.reward is None:
            return outcome
        parameters = vector(self._parameters[:, slots])
        return outcome._replace(reward=self._family.reward(outcome.quantities, parameters))

    def _infos(self, quantities: Quantities, slots: Slots) -> dict[str, object]:
        """Spread numbers of some slots over all, with masks, as Gymnasium's vector environments do."""
        named = np.zeros(self.num_envs, np.bool_)
        named[slots] = True
        infos: dict[str, object] = {}
        for name, values in quantities.items():
            numbers = np.moveaxis(np.array(values), -1, 0)
            if len(slots) < self.num_envs:
                numbers, some = np.zeros((self.num_envs, *numbers.shape[1:]), numbers.dtype), numbers
                numbers[slots] = some
            infos[name], infos[f"_{name}"] = numbers, named.copy()
        return infos

    def _report(self, diverged: npt.NDArray[np.bool_]) -> None:
        for slot in np.flatnonzero(diverged):
            self.diverged += 1
            task, step = self._running[slot], self._steps[slot]
            logger.warning("The physics of task %s diverged at step %d; its episode is cut.", task.id, step)

    def _check_open(self) -> None:
        if self.closed:
            raise MetarlError("This vector environment is closed: build a new one.")
