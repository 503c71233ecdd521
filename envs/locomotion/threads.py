"""Gymnasium's MuJoCo robots on threads, with observations and rewards by array arithmetic.

These are, bit for bit, the episodes of Gymnasium's own environments without their Python. A task may change
the model of its world, and what the robot is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.arrays import vector
from metarl.envs.engines.reset_arguments import seeds_of_slots
from metarl.envs.engines.slot_engine import SlotEngine, check_slots, log_diverged
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName, WorldState
from metarl.envs.locomotion.columns import bind, finish_of, moment_of, tracked
from metarl.envs.locomotion.models import LocomotionTasks
from metarl.envs.locomotion.robots import Moment, Outcome, Quantities, observe, whereabouts
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.errors import require
from metarl.types import Task
from metarl.vector_env import Array, Picture, check_slot

Flags: TypeAlias = npt.NDArray[np.bool_]
Slots: TypeAlias = "Sequence[int] | npt.NDArray[np.int64]"


class LocomotionVectorEnv(SlotEngine):
    """:class:`~metarl.vector_env.TaskVectorEnv` over threaded MuJoCo worlds.

    A slot draws its initial noise as Gymnasium's environment would: from a generator that a seed starts anew,
    and that without one goes on. A world with NaN or huge numbers is truncated at that step with reward 0 and
    its last sound observation, logged and counted. Without ``default_tasks`` it is Gymnasium's own
    environment, a task without parameters; ``num_threads`` and ``stepper`` are :class:`.SawyerVectorEnv`'s.
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
        tasks = (Task(family.name, (), family.name),) if default_tasks is None else default_tasks
        check_slots(tasks, num_envs, horizon)
        require(num_threads >= 0, "num_threads must be 0 or more", num_threads)
        # models and initial states, shared with the other engines
        self._models = LocomotionTasks(family, tasks, num_envs)
        robot, model = self._models.robot, self._models.model
        super().__init__(
            self._models.observation_space,
            self._models.action_space,
            tasks=tasks,
            num_envs=num_envs,
            horizon=horizon,
        )
        self.diverged = 0  # episodes that were cut because their physics diverged
        self._running = list(self._tasks)
        # one model for all worlds; fields that tasks change are a world's own
        self._physics = BatchedPhysics(
            [model], [0] * num_envs, stepper=stepper, num_threads=num_threads, finish=finish_of(robot)
        )
        self.closed = False
        self._columns = bind(self._physics, robot, self._models.options)
        self._expand()
        # inputs of the rewards: seconds of a step, body masses, parameters
        self._seconds = np.full(num_envs, model.opt.timestep * self._models.frame_skip)
        self._masses = np.repeat(model.body_mass[:, None], num_envs, axis=1)
        self._parameters = np.zeros((self._models.num_parameters, num_envs))
        # all slots are idle until the first reset
        self._live: Flags = np.zeros(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        self._observations = np.zeros(self.observation_space.shape or ())

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in slots that have a task, or in those of ``options["reset_mask"]``.

        Infos are Gymnasium's, of those that started.
        """
        slots, seeds = self._to_start(options), seeds_of_slots(seed, self.num_envs)
        if not slots:
            return self._observations.copy(), {}
        self._live[slots] = False  # should anything below be interrupted
        self._physics.set_state(slots, [self._start(slot, seeds[slot]) for slot in slots])
        moment = self._moment(slots)
        self._show(moment, slots)
        self._live[slots] = True
        places = whereabouts(self._models.robot, moment, self._models.starts.height)
        return self._observations.copy(), self._infos(places, slots)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot by ``actions [N, A]``; infos are Gymnasium's, ``[N]`` each."""
        self._check_shape(np.shape(actions))
        # float32 stays as it is: costs are computed in the type that Gymnasium would have
        given = np.asarray(actions)
        if given.dtype != np.float32:
            given = given.astype(np.float64)
        live = self._live.copy()
        rows = vector(self._physics.features.T)
        # positions before the step, as velocities are their change
        before = np.array(tracked(self._columns, self._models.robot, rows, vector(self._masses)))
        self._physics.step(self._models.frame_skip, ctrl=given.astype(np.float64), mask=live)
        self._steps[live] += 1
        # worlds that diverged are cut, without a reward
        diverged = live & self._physics.diverged
        self.diverged += log_diverged(diverged, self._running, self._steps)
        # observations and rewards of the others, in one piece of array arithmetic
        slots = np.flatnonzero(live & ~diverged)
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        infos: dict[str, object] = {}
        if len(slots):
            outcome = self._evaluate(slots, before[:, slots], given[slots].T)
            rewards[slots], terminated[slots] = np.asarray(outcome.reward), np.asarray(outcome.terminated)
            infos = self._infos(outcome.quantities, slots)
        # a slot ends by falling, at the horizon or by diverging
        truncated = diverged | (live & ~terminated & (self._steps >= self._horizon))
        self._live &= ~(terminated | truncated)
        flags = cast("Array", terminated), cast("Array", truncated)
        return self._observations.copy(), rewards, *flags, infos

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a slot's picture by a camera of the robot's model, ``[height, width, 3]``.

        A slot that never ran shows the model's initial state; None is the camera that follows the robot.
        """
        self._check_open()
        check_slot(slot, self.num_envs)
        [state] = self._physics.get_state([slot])
        return self._models.starts.picture(state, camera or "track", width, height)

    def close_extras(self, **_: object) -> None:
        """End the threads."""
        self._models.starts.close()
        self._physics.close()

    def _accept(self, tasks: Sequence[Task]) -> None:
        self._models.accept(tasks)
        self._expand()

    def _expand(self) -> None:
        for name in self._models.expanded:
            self._physics.expand(name)

    def _start(self, slot: int, seed: int | None) -> WorldState:
        """Give a slot its task; return the state from which it begins."""
        task = self._tasks[slot]
        self._running[slot] = task
        self._parameters[:, slot] = task.parameters
        self._steps[slot] = 0
        start = self._models.start(slot, task, seed, self._physics.layout(0))
        self._seconds[slot] = start.timestep * self._models.frame_skip
        self._masses[:, slot] = self._models.masses(start)
        return start.state

    def _moment(self, slots: Slots) -> Moment:
        features, masses = self._physics.features.T, self._masses
        if len(slots) < self.num_envs:
            features, masses = self._physics.features[slots].T, masses[:, slots]
        return moment_of(self._columns, self._models.robot, vector(features), vector(masses))

    def _show(self, moment: Moment, slots: Slots) -> None:
        shown = observe(self._models.robot, self._models.options, moment)
        self._observations[slots] = np.asarray(shown).T

    def _evaluate(self, slots: Slots, before: Array, actions: Array) -> Outcome:
        """Write slots' observations after a step; return outcomes, ``[n]`` each."""
        moment = self._moment(slots)
        self._show(moment, slots)
        return self._models.judge(
            moment,
            before=vector(before),
            actions=vector(actions),
            seconds=vector(self._seconds[slots]),
            parameters=vector(self._parameters[:, slots]),
        )

    def _infos(self, quantities: Quantities, slots: Slots) -> dict[str, object]:
        """Spread some slots' numbers over all, with masks as Gymnasium adds them."""
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
