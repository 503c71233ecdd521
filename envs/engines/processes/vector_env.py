"""Vector environment over worker processes, the engine for any Gymnasium environment.

Each worker owns several environments, and all slots are stepped in lock step. A worker that dies or hangs is
replaced, and its running episodes are run again: the engine keeps their seeds and their actions, and an
episode is a function of (task, seed, actions).
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.action_map import ActionMap
from metarl.envs.engines.processes.env_pool import EnvFactory
from metarl.envs.engines.processes.episode_log import EpisodeLog
from metarl.envs.engines.processes.messages import (
    STEP,
    TIMEOUT,
    ArraySpec,
    Blueprint,
    Draw,
    Episode,
    Failure,
    Run,
    TryFamilies,
    map_shared,
    new_memory,
    shared_layout,
    shared_size,
)
from metarl.envs.engines.processes.supervisor import Supervisor
from metarl.envs.engines.reset_arguments import seeds_of_slots, split_options
from metarl.errors import EngineError, MetarlError, require
from metarl.plugins.user_modules import dumps
from metarl.settings import fits
from metarl.system.cores import usable_cores
from metarl.types import Task
from metarl.vector_env import Array, Picture, TaskVectorEnv, check_fits, check_slot

IDLE_ENVS_PER_SLOT = 2  # kept in case their family is used again


class ProcessTaskVectorEnv(TaskVectorEnv):
    """:class:`~metarl.vector_env.TaskVectorEnv` over worker processes; not on Windows.

    A slot that is reset without a seed gets the next of its own sequence of seeds, which its last explicit
    seed determines. Of the environments' infos, ``"success"`` is passed on. After an exception other than a
    refused argument every slot is idle, and a reset starts afresh.

    Args:
        env_factory: builds an environment for a family; it travels to the workers by cloudpickle.
        default_tasks: what the slots run in turn until ``set_tasks`` is called.
        num_envs: slots.
        num_workers: processes; 0 for one a core that this process may use. Results do not depend on it.
        observation_space: of one environment; any with a shape and a numeric dtype (Box, Discrete, …).
        action_space: of one environment, likewise.
        timeout: seconds that one environment may take to be built, be reset or make a step.
        action_map: from a policy's actions, which ``step`` then takes, to the environments'.

    Raises:
        MetarlError: on arguments that make no sense.
        EngineError: if the workers cannot load the factory.
    """

    def __init__(
        self,
        env_factory: EnvFactory,
        *,
        default_tasks: Sequence[Task],
        num_envs: int,
        num_workers: int = 0,
        observation_space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        timeout: float = TIMEOUT,
        action_map: ActionMap | None = None,
    ) -> None:
        _check(default_tasks, num_envs, num_workers, timeout)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space if action_map is None else action_map.policy_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._action_map = action_map
        self._tasks = [default_tasks[slot % len(default_tasks)] for slot in range(num_envs)]
        self._families: set[str] = set()  # those that can be built
        self._seeds = [(int(seed), 0) for seed in np.random.SeedSequence().generate_state(num_envs)]
        self._log = EpisodeLog()
        self._reports_success = False

        # shared memory: one row a slot, and a counter a worker
        self._shares = _shares(num_envs, num_workers or usable_cores())
        observation, action = _spec(observation_space), _spec(action_space)
        layout = shared_layout(num_envs, len(self._shares), observation, action)
        factory = _pickled(env_factory)
        blueprints = [
            Blueprint(number, slots, layout, factory, IDLE_ENVS_PER_SLOT * len(slots))
            for number, slots in enumerate(self._shares)
        ]
        memory = new_memory(shared_size(layout))
        self._shared = map_shared(memory, layout)
        self._shared.at.fill(-1)
        self._supervisor = Supervisor(blueprints, memory, self._shared.progress, timeout)
        # Ends the workers when this object is collected or the interpreter exits, whichever comes first.
        self._finalizer = weakref.finalize(self, _end, self._supervisor, memory)
        try:
            # wait for the workers, which load the factory
            self._command({})
        except BaseException:
            self.close()
            raise

    @property
    def restarts(self) -> int:
        """Count of lost workers with rerun episodes."""
        return self._supervisor.restarts

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assign ``tasks[i]`` to slot i; see :meth:`.TaskVectorEnv.set_tasks`."""
        self._check_open()
        check_fits(tasks, self.num_envs)
        self._try_families(tasks)
        self._tasks = list(tasks)
        self._stop(range(len(tasks), self.num_envs))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in slots that have a task, or in those of ``options["reset_mask"]``.

        Slot i gets ``seed + i``, or ``seed[i]``, or for None the next of its own sequence; all other options
        go to the environments' ``reset``. An exception there, and workers lost over and over, raise
        ``EngineError``.
        """
        self._check_open()
        seeds = seeds_of_slots(seed, self.num_envs)
        mask, rest = split_options(options, self.num_envs)
        slots = [slot for slot in range(len(self._tasks)) if mask[slot]]
        no_actions = self._shared.actions[:0]
        episodes = [
            # a seed that is not given is the next of the slot's own sequence
            Episode(slot, self._tasks[slot], self._next_seed(slot, seeds[slot]), rest, no_actions)
            for slot in slots
        ]
        # slots that start are not live until all of them have started
        self._stop(slots)
        parts = [tuple(episode for episode in episodes if episode.slot in share) for share in self._shares]
        self._play({number: pickle.dumps(Run(part)) for number, part in enumerate(parts) if part})
        self._log.begin(episodes)
        self._shared.live[slots] = True
        return self._shared.observations.copy(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot by its row of ``actions [N, A]``; errors as in :meth:`reset`.

        Infos are ``"success"`` ``[N]``, if the environments report it, and ``"_success"``, which of them did.
        """
        self._check_open()
        shared = self._shared
        if np.shape(actions) != shared.actions.shape:
            raise MetarlError(f"Expected actions of shape {shared.actions.shape}, got {np.shape(actions)}.")
        # workers read the actions from shared memory
        shared.actions[...] = actions if self._action_map is None else self._action_map(actions)
        for array in (shared.rewards, shared.terminated, shared.truncated, shared.success, shared.reported):
            array.fill(0)
        workers = len(self._shares)
        # only workers with a live slot are asked
        at_work = (number for number in range(workers) if shared.live[number::workers].any())
        self._play(dict.fromkeys(at_work, STEP))
        # kept for replays until no running episode needs them
        self._log.record(shared.actions.copy())
        terminated, truncated = shared.terminated.copy(), shared.truncated.copy()
        self._stop(np.flatnonzero(terminated | truncated).tolist())
        flags = cast("Array", terminated), cast("Array", truncated)
        return shared.observations.copy(), shared.rewards.copy(), *flags, self._infos()

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a slot's picture, ``[height, width, 3]``.

        An environment with a method ``draw`` (:class:`~.worker.Drawable`) is asked for a camera and a size;
        any other for its ``render()``, in its own size, with the render mode "rgb_array". A finished episode
        can be looked at until other slots are reset.
        """
        self._check_open()
        check_slot(slot, self.num_envs)
        with tempfile.TemporaryDirectory(prefix="metarl-") as folder:
            command = Draw(slot, str(Path(folder) / "picture.npy"), camera, width, height)
            self._command({slot % len(self._shares): pickle.dumps(command)})
            return cast("Picture", np.load(command.path, allow_pickle=False))

    def close_extras(self, **_: object) -> None:
        """End the workers; ``close``, which calls it, may be called again."""
        self._finalizer()

    def _infos(self) -> dict[str, object]:
        reported = self._shared.reported.copy()
        self._reports_success = self._reports_success or bool(reported.any())
        return {"success": self._shared.success.copy(), "_success": reported} if self._reports_success else {}

    def _next_seed(self, slot: int, explicit: int | None) -> int:
        """Return the seed of a slot's new episode, whichever worker runs it."""
        if explicit is not None:
            self._seeds[slot] = (explicit, 0)
            return explicit
        base, count = self._seeds[slot]
        self._seeds[slot] = (base, count + 1)
        return int(np.random.SeedSequence((base, count + 1)).generate_state(1)[0])

    def _try_families(self, tasks: Sequence[Task]) -> None:
        """Let the worker that first needs a new family build one environment of it."""
        new: dict[str, int] = {}
        for slot, task in enumerate(tasks):
            if task.family not in self._families:
                new.setdefault(task.family, slot)
        messages = {
            number: pickle.dumps(TryFamilies(tuple(family for family, slot in new.items() if slot in slots)))
            for number, slots in enumerate(self._shares)
            if any(slot in slots for slot in new.values())
        }
        self._command(messages)
        self._families |= new.keys()

    def _stop(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._shared.live[slot] = False
        self._log.end(slots)

    def _play(self, messages: Mapping[int, bytes]) -> None:
        """Run a command that advances episodes; stop all of them if it fails."""
        try:
            self._command(messages)
        except BaseException:
            self._stop(range(self.num_envs))
            raise

    def _command(self, messages: Mapping[int, bytes]) -> None:
        failures = self._supervisor.command(messages, self._log.running, self._place)
        if failures:
            raise _error(failures[0])

    def _place(self, number: int) -> str:
        """Return a worker's task and step, if known."""
        slot = int(self._shared.at[number])
        if slot < 0:
            return ""
        steps = self._log.steps(slot)
        task = self._tasks[slot].id if slot < len(self._tasks) else ""
        return f", in task {task!r} {'at the reset' if steps is None else f'at step {steps + 1}'}"


def _check(default_tasks: Sequence[Task], num_envs: int, num_workers: int, timeout: float) -> None:
    if not default_tasks:
        raise MetarlError("Expected at least one default task, got none.")
    require(fits(num_envs, int) and num_envs >= 1, "num_envs must be 1 or more", repr(num_envs))
    require(fits(num_workers, int) and num_workers >= 0, "num_workers must be 0 or more", repr(num_workers))
    require(timeout > 0, "timeout must be a positive number of seconds", timeout)


def _shares(num_envs: int, num_workers: int) -> list[range]:
    """Assign slots to workers in turn.

    So all have work when only the first slots are in use, and when neighbours run tasks of one family.
    """
    workers = min(num_envs, num_workers)
    return [range(number, num_envs, workers) for number in range(workers)]


def _spec(space: gymnasium.Space[object]) -> ArraySpec:
    if space.shape is None or space.dtype is None or space.dtype.kind not in "biuf":
        raise MetarlError(f"Expected a space with a shape and a numeric dtype, got {space}.")
    return space.dtype.str, space.shape


def _pickled(env_factory: EnvFactory) -> bytes:
    try:
        return dumps(env_factory)
    except Exception as error:
        raise MetarlError(f"The environment factory cannot be sent to other processes: {error}.") from error


def _end(supervisor: Supervisor, memory: int) -> None:
    supervisor.close()
    os.close(memory)


def _error(failure: Failure) -> MetarlError:
    error = EngineError(failure.message) if failure.by_engine else MetarlError(failure.message)
    error.add_note(failure.traceback)
    return error
