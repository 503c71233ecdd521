"""Meta-World on threads: the physics of all slots in one batch, observations and rewards as array arithmetic.

Bit for bit the episodes of Meta-World's own environments, without their Python. A reset restores a state that
Meta-World itself produced once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.metaworld_env import action_space, observation_space
from metarl.envs.physics.batched import BatchedPhysics, StepperName
from metarl.envs.physics.reset_bank import Constants, ResetBank, Snapshot
from metarl.envs.physics.sawyer import EXPANDED, FRAME_SKIP, MocapArms
from metarl.envs.reset_arguments import split_options
from metarl.envs.sawyer.arrays import Vector, vector
from metarl.envs.sawyer.catalog import TASKS
from metarl.envs.sawyer.constants import constants_of
from metarl.envs.sawyer.observation import FRAME_SIZE, OBSERVATION_SIZE, frame, observe
from metarl.envs.sawyer.task import Outcome, SawyerTask, evaluate, latch
from metarl.errors import MetarlError, require, unknown_name
from metarl.tasks import Array, TaskVectorEnv, check_fits
from metarl.types import Task

logger = logging.getLogger(__name__)

Indices: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


def episode_constants(env: SawyerXYZEnv, family: str) -> Constants:
    """Return what a reset fixes for the rewards."""
    return {"reward": constants_of(env, TASKS[family])}


@dataclass
class _Group:
    """The slots of one family."""

    task: SawyerTask
    slots: Indices
    width: int
    """How many features the family has."""
    constants: Array
    """What the resets of these slots fixed, ``[C, n]``."""


class SawyerVectorEnv(TaskVectorEnv):
    """A :class:`~metarl.tasks.TaskVectorEnv` over MuJoCo worlds that are stepped on threads.

    Nothing in a Meta-World episode is random, so a seed changes nothing. A world whose numbers become NaN or
    huge is truncated at that step with reward 0 and its last sound observation, logged and counted.

    Args:
        families: every family that a task may be of.
        default_tasks: what the slots run in turn until ``set_tasks`` is called.
        num_envs: slots.
        num_threads: threads; 0 for one a core that this process may use. Results do not depend on it.
        horizon: steps after which an episode is truncated.
        stepper: "compiled", "portable" (Python threads, the same bits), or "auto" for the first that works.
        cache: folder in which the states after resets are kept; None keeps them in memory only.

    Raises:
        MetarlError: on a family that Meta-World does not have, or a number that makes no sense.
        EngineError: if the compiled stepper is asked for and cannot be built.
    """

    def __init__(
        self,
        *,
        families: Sequence[str],
        default_tasks: Sequence[Task],
        num_envs: int,
        num_threads: int = 0,
        horizon: int,
        stepper: StepperName = "auto",
        cache: Path | None = None,
    ) -> None:
        self.closed = True  # until there is something to close
        require(num_envs >= 1, "num_envs must be 1 or more", num_envs)
        require(num_threads >= 0, "num_threads must be 0 or more", num_threads)
        require(horizon >= 1, "horizon must be 1 or more", horizon)
        require(len(default_tasks) > 0, "default_tasks must name at least one task", "empty")
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.diverged = 0
        """Episodes that were cut because their physics diverged."""
        self._horizon = horizon
        self._families = {family: index for index, family in enumerate(families)}
        self._check_families(default_tasks)
        self._default_tasks = tuple(default_tasks)
        self._tasks = [default_tasks[slot % len(default_tasks)] for slot in range(num_envs)]
        self._running = list(self._tasks)
        self._prepared: set[str] = set()  # families whose default tasks have their resets in the bank
        features = {family: TASKS[family].features for family in families}
        folder = None if cache is None else cache / _constants_version()
        self._bank = ResetBank(features, folder=folder, constants=episode_constants)
        self._physics = BatchedPhysics(
            [self._bank.model(family) for family in families],
            [self._families[task.family] for task in self._tasks],
            stepper=stepper,
            num_threads=num_threads,
        )
        self.closed = False
        self._physics.bind(list(features.values()))
        for field in EXPANDED:
            self._physics.expand(field)
        self._arms = MocapArms(num_envs)
        self._live = np.zeros(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        self._observations = np.zeros((num_envs, OBSERVATION_SIZE))
        self._frames = np.zeros((num_envs, FRAME_SIZE))
        self._constants = np.zeros((max(map(_num_constants, families)), num_envs))
        self._groups: list[_Group] = []

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Let slot i run ``tasks[i]`` from its next reset on; slots past the last task stop and stay idle.

        Raises:
            MetarlError: on more tasks than slots, none, or a task of a family that this engine was not given.
        """
        self._check_open()
        check_fits(tasks, self.num_envs)
        self._check_families(tasks)
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
            Observations ``[N, 39]`` of all slots, and no infos.

        Raises:
            TypeError: if the mask is no bool array.
            ValueError: if the mask has a wrong shape or no True.
            MetarlError: if Meta-World does not accept a task's parameters.
        """
        self._check_open()
        mask, _ = split_options(options, self.num_envs)
        slots = [slot for slot in range(len(self._tasks)) if mask[slot]]
        snapshots = self._snapshots([self._tasks[slot] for slot in slots])
        self._live[slots] = False  # should anything below be interrupted
        for slot, snapshot in zip(slots, snapshots, strict=True):
            self._running[slot] = self._tasks[slot]
            self._arms.reset(slot, snapshot.arm)
            constants = snapshot.constants["reward"]
            self._constants[: len(constants), slot] = constants
            self._observations[slot] = snapshot.observation
            self._frames[slot] = snapshot.observation[:FRAME_SIZE]
        self._physics.assign([self._families[task.family] for task in self._running])
        self._physics.set_state(slots, [snapshot.world for snapshot in snapshots])
        self._steps[slots] = 0
        self._groups = self._group()
        self._live[slots] = True
        return self._observations.copy(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot.

        Args:
            actions: ``[N, 4]``; they are rounded to float32, Meta-World's own precision.

        Returns:
            Observations ``[N, 39]``, rewards ``[N]``, terminated ``[N]`` (never), truncated ``[N]``, and
            ``infos["success"]`` ``[N]`` bool.

        Raises:
            MetarlError: if the actions have a wrong shape.
        """
        self._check_open()
        if np.shape(actions) != (self.num_envs, 4):
            raise MetarlError(f"Actions {(self.num_envs, 4)} were wanted; {np.shape(actions)} came.")
        given = np.asarray(actions, np.float32)
        live = self._live.copy()
        ctrl, mocap_pos, mocap_quat = self._arms.act(given, live)
        self._physics.step(FRAME_SKIP, ctrl=ctrl, mocap_pos=mocap_pos, mocap_quat=mocap_quat, mask=live)
        self._steps[live] += 1
        diverged = live & self._physics.diverged
        self._report(diverged)
        sound = live & ~diverged
        rewards, success = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        for group in self._groups:
            running = sound[group.slots]
            if running.all():
                part = group
            elif running.any():
                part = _Group(group.task, group.slots[running], group.width, group.constants[:, running])
            else:
                continue
            outcome = self._observe(part, given)
            rewards[part.slots], success[part.slots] = np.asarray(outcome.reward), np.asarray(outcome.success)
        truncated = diverged | (live & (self._steps >= self._horizon))
        self._live &= ~truncated
        infos: dict[str, object] = {"success": success, "_success": live}
        terminated = cast("Array", np.zeros(self.num_envs, np.bool_))
        return self._observations.copy(), rewards, terminated, cast("Array", truncated), infos

    def close_extras(self, **_: object) -> None:
        """End the threads, and keep the states of new tasks for the next time."""
        self._physics.close()
        self._save()
        self._bank.close()

    def _snapshots(self, tasks: Sequence[Task]) -> list[Snapshot]:
        """Return the states that the tasks start from.

        The default tasks of a family are simulated together when the first of them is wanted: Meta-World's
        environment, which takes longer to build than 20 resets, is built once for all of them.
        """
        families = {task.family for task in tasks}
        wanted = {task for task in self._default_tasks if task.family in families - self._prepared}
        for task in sorted({*wanted, *tasks}, key=lambda task: task.family):
            self._bank.snapshot(task.family, task.parameters)
        if wanted:
            self._save()
        self._prepared |= families
        return [self._bank.snapshot(task.family, task.parameters) for task in tasks]

    def _save(self) -> None:
        try:
            self._bank.save()
        except OSError as error:
            logger.warning("The states after resets cannot be kept: %s.", error)

    def _group(self) -> list[_Group]:
        """Return the slots by family, with their constants."""
        slots: dict[str, list[int]] = {}
        for slot, task in enumerate(self._running):
            slots.setdefault(task.family, []).append(slot)
        return [
            _Group(
                TASKS[family],
                np.array(members, np.int64),
                self._physics.layout(self._families[family]).width,
                self._constants[: _num_constants(family), members],
            )
            for family, members in slots.items()
        ]

    def _observe(self, group: _Group, actions: npt.NDArray[np.float32]) -> Outcome:
        """Write what the slots of a group show after a step, and return their outcome, ``[n]`` each."""
        slots, task = group.slots, group.task
        features = vector(self._physics.features[slots, : group.width].T)
        now = frame(task, features)
        observation = observe(now, vector(self._frames[slots].T))
        self._frames[slots] = np.asarray(now).T
        self._observations[slots] = np.asarray(observation).T
        if task.latch is not None:
            self._latch(group, features, observation)
        return evaluate(task, features, vector(actions[slots].T), vector(group.constants), observation)

    def _latch(self, group: _Group, features: Vector, observation: Vector) -> None:
        """Fix what Meta-World fixes at an episode's first step."""
        first = self._steps[group.slots] == 1
        if first.any():
            latched = np.asarray(latch(group.task, features, vector(group.constants), observation))
            group.constants[:, first] = latched[:, first]
            self._constants[: len(latched), group.slots] = group.constants

    def _report(self, diverged: Flags) -> None:
        for slot in np.flatnonzero(diverged):
            self.diverged += 1
            task, step = self._running[slot], self._steps[slot]
            logger.warning("The physics of task %s diverged at step %d; its episode is cut.", task.id, step)

    def _check_families(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if task.family not in self._families:
                raise unknown_name("family of this environment", task.family, self._families)

    def _check_open(self) -> None:
        if self.closed:
            raise MetarlError("This vector environment is closed: build a new one.")


def _num_constants(family: str) -> int:
    return max(int(place.stop) for place in TASKS[family].constant_places.values())


def _constants_version() -> str:
    """Return a name for the order in which the rewards' constants are kept."""
    order = sorted((family, tuple(task.constant_places)) for family, task in TASKS.items())
    return hashlib.sha256(repr(order).encode()).hexdigest()[:12]
