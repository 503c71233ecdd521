"""Meta-World on threads: the physics of all slots in one batch, observations and rewards as array arithmetic.

Bit for bit the episodes of Meta-World's own environments, without their Python. A reset restores a state that
Meta-World itself produced once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.metaworld_env import action_space, observation_space
from metarl.envs.metaworld_rendering import DEFAULT_SIZE, FullModel, SawyerRenderers, full_model
from metarl.envs.physics.batched import BatchedPhysics, StepperName
from metarl.envs.physics.reset_bank import Constants, Extractor, ResetBank, Snapshot
from metarl.envs.physics.sawyer import FRAME_SKIP, METAWORLD_MODELS, MocapArms, Models
from metarl.envs.reset_arguments import split_options
from metarl.envs.sawyer.arrays import vector
from metarl.envs.sawyer.catalog import RewardVersion, tasks_with
from metarl.envs.sawyer.constants import constants_of
from metarl.envs.sawyer.observation import visible_goal
from metarl.envs.sawyer.task import SawyerTask
from metarl.envs.sawyer_tables import OUTCOMES, Tables, num_constants, program
from metarl.errors import MetarlError, require, unknown_name
from metarl.tasks import Array, Picture, TaskVectorEnv, check_fits, check_slot
from metarl.types import Task

logger = logging.getLogger(__name__)

Indices: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


def episode_constants(env: SawyerXYZEnv, family: str) -> Constants:
    """Return what a reset fixes for the rewards."""
    version: RewardVersion = vars(env)["reward_function_version"]  # its base class does not declare it
    return {"reward": constants_of(env, tasks_with(version)[family])}


@dataclass(frozen=True)
class Families:
    """The families that an engine can run; Meta-World's own 50 unless told otherwise."""

    catalog: Callable[[RewardVersion], Mapping[str, SawyerTask]] = tasks_with
    """Returns them by name, with the rewards of a version."""
    constants: Extractor = episode_constants
    """What a reset fixes for the rewards, under the key ``"reward"``."""
    models: Models = METAWORLD_MODELS
    """Where their environments and models come from."""
    full_model: FullModel = full_model
    """Compiles the model of a family with all that is seen."""


METAWORLD = Families()


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
        reward_version: Meta-World's rewards of today ("v2") or its original ones ("v1").
        known: what families there are.

    Raises:
        MetarlError: on a family or rewards that Meta-World does not have, or a number that makes no sense.
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
        reward_version: RewardVersion = "v2",
        known: Families = METAWORLD,
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
        self._catalog = known.catalog(reward_version)
        features = {family: self._catalog[family].features for family in families}
        folder = None if cache is None else cache / _constants_version(self._catalog)
        self._bank = ResetBank(
            features,
            folder=folder,
            constants=known.constants,
            reward=reward_version,
            models=known.models,
        )
        self._physics = BatchedPhysics(
            [self._bank.model(family) for family in families],
            [self._families[task.family] for task in self._tasks],
            stepper=stepper,
            num_threads=num_threads,
        )
        self.closed = False
        self._physics.bind(list(features.values()))
        for field in known.models.expanded:
            self._physics.expand(field)
        self._arms = MocapArms(num_envs)
        self._live = np.zeros(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        most = max(num_constants(self._catalog[family]) for family in families)
        self._tables = Tables(self._physics.features, most)
        if self._physics.can_compute:
            programs = [program(self._catalog[family]) for family in families]
            self._physics.compute(programs, self._tables.in_order())
        self._groups: dict[str, Indices] = {}
        self._renderers = SawyerRenderers(known.full_model)

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
            self._tables.begin(slot, snapshot.observation, snapshot.constants["reward"])
        self._physics.assign([self._families[task.family] for task in self._running])
        self._physics.set_state(slots, [snapshot.world for snapshot in snapshots])
        self._steps[slots] = 0
        self._groups = self._group()
        self._live[slots] = True
        return self._tables.observations.copy(), {}

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
        self._tables.actions[...] = actions
        live = self._live.copy()
        ctrl, mocap_pos, mocap_quat = self._arms.act(self._tables.actions, live)
        self._physics.step(FRAME_SKIP, ctrl=ctrl, mocap_pos=mocap_pos, mocap_quat=mocap_quat, mask=live)
        self._steps[live] += 1
        diverged = live & self._physics.diverged
        self._report(diverged)
        self._tables.outcomes[diverged] = 0.0
        sound = live & ~diverged
        if not self._physics.can_compute:
            self._advance(sound)
        rewards = np.where(sound, self._tables.outcomes[:, 0], 0.0)
        success = sound & (self._tables.outcomes[:, 1] > 0.5)
        truncated = diverged | (live & (self._steps >= self._horizon))
        self._live &= ~truncated
        infos: dict[str, object] = {"success": success, "_success": live}
        terminated = cast("Array", np.zeros(self.num_envs, np.bool_))
        return self._tables.observations.copy(), rewards, terminated, cast("Array", truncated), infos

    def stop(self, slots: Flags) -> None:
        """End the episodes of some slots, ``[N]``: they are idle until their next reset."""
        self._live &= ~slots

    def outcomes(self) -> dict[str, Array]:
        """Return Meta-World's ``info`` of each slot's last step, ``[N]`` each; all 0 if it diverged."""
        columns = dict(zip(OUTCOMES, self._tables.outcomes.T.copy(), strict=True))
        reward = columns.pop("reward")
        return {**columns, "unscaled_reward": reward}

    def goals(self, *, clipped: bool = True) -> Array:
        """Return the goals as Meta-World shows them where they are not hidden, ``[N, 3]``, metres.

        Args:
            clipped: as after a step; what a reset returns is not clipped to the space of goals.
        """
        goals = np.zeros((self.num_envs, 3))
        for family, slots in self._groups.items():
            task = self._catalog[family]
            features, constants = self._tables.features[slots].T, self._tables.constants[slots].T
            shown = visible_goal(task, vector(features), vector(constants), clipped=clipped)
            goals[slots] = np.asarray(shown).T
        return goals

    def goal_bounds(self) -> tuple[Array, Array]:
        """Return the lowest and the highest goal that these families can show, ``[3]`` each, metres."""
        tasks = list({task.family: task for task in self._default_tasks}.values())
        places = [self._catalog[task.family].constant_places for task in tasks]
        constants = [snapshot.constants["reward"] for snapshot in self._snapshots(tasks)]
        low, high = (
            np.array([row[place[name]] for row, place in zip(constants, places, strict=True)])
            for name in ("goal_low", "goal_high")
        )
        return low.min(axis=0), high.max(axis=0)

    @property
    def has_moving_goals(self) -> bool:
        """Whether there is a family whose goal moves within an episode."""
        return any("target_pos" in self._catalog[family].live for family in self._families)

    def render_slot(
        self,
        slot: int,
        *,
        camera: str | None = None,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
    ) -> Picture:
        """Return what a camera of Meta-World's full model sees of a slot, ``[height, width, 3]``.

        Args:
            slot: 0 to ``num_envs - 1``; one that never ran shows the model's initial state.
            camera: one of :data:`~.metaworld_rendering.CAMERAS`; None for corner2 turned upright.
            width: pixels.
            height: pixels.

        Raises:
            MetarlError: if there is no such slot or camera, or the size makes no sense.
            EngineError: if there is no OpenGL; it says what to install.
        """
        self._check_open()
        check_slot(slot, self.num_envs)
        family, [state] = self._running[slot].family, self._physics.get_state([slot])
        renderer = self._renderers.get(family, self._bank.model(family), width=width, height=height)
        return renderer.frame(state.integration, state.fields, camera)

    def close_extras(self, **_: object) -> None:
        """End the threads, and keep the states of new tasks for the next time."""
        self._renderers.close()
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

    def _group(self) -> dict[str, Indices]:
        """Return the slots of each family."""
        slots: dict[str, list[int]] = {}
        for slot, task in enumerate(self._running):
            slots.setdefault(task.family, []).append(slot)
        return {family: np.array(members, np.int64) for family, members in slots.items()}

    def _advance(self, sound: Flags) -> None:
        """Let NumPy compute what sound slots show after a step."""
        for family, slots in self._groups.items():
            running = sound[slots]
            if running.any():
                self._tables.advance(self._catalog[family], slots[running])

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


def _constants_version(catalog: Mapping[str, SawyerTask]) -> str:
    """Return a name for the order in which the rewards' constants are kept."""
    order = sorted((family, tuple(task.constant_places)) for family, task in catalog.items())
    return hashlib.sha256(repr(order).encode()).hexdigest()[:12]
