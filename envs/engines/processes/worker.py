"""Program of an environment worker, which runs some slots of a vector environment on command.

:mod:`metarl.envs.engines.processes.supervisor` starts it. It imports neither torch nor matplotlib, so that a
worker starts fast and stays small. Commands come over a pipe; all numbers of a step go through one shared
mapping.
"""

from __future__ import annotations

import ctypes
import functools
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Never, TypeVar, cast

import numpy as np

from metarl.envs.engines.processes.env_pool import (
    Drawable,
    EnvFactory,
    EnvPool,
    Rendering,
    TaskEnv,
    exception_text,
)
from metarl.envs.engines.processes.messages import (
    DONE,
    STEP,
    Blueprint,
    Command,
    Draw,
    Episode,
    Failure,
    TryFamilies,
    map_shared,
)
from metarl.envs.engines.processes.worker_output import CappedOutput
from metarl.envs.engines.rendering.gl_backend import INSTALL, choose_backend
from metarl.errors import EngineError, MetarlError
from metarl.plugins.user_modules import loads
from metarl.step_values import ObservationReader, UnfitValue, real, truth, unpack_reset, unpack_step
from metarl.types import Task
from metarl.vector_env import Picture

T = TypeVar("T")
QUIET_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BEFORE_RESET = -1  # number of the step in which an environment is given its task


class Worker:
    """Slots of one worker; slot i's numbers are row i of the shared arrays."""

    def __init__(self, blueprint: Blueprint, memory: int) -> None:
        """Map the memory and load the factory; build environments only when they are needed."""
        self._slots = blueprint.slots
        # the rows of this worker's slots in the shared arrays
        self._rows = slice(self._slots.start, self._slots.stop, self._slots.step)
        self._number = blueprint.number
        self._shared = map_shared(memory, blueprint.layout)
        # goes on from the counter of the worker before
        self._count = int(self._shared.progress[self._number])
        observations = self._shared.observations
        self._reader = ObservationReader(observations.dtype, observations.shape[1:])
        self._doubles = np.zeros(observations.shape, np.float64)  # observations of one step
        self._unconverted: list[int] = []
        self._pool = EnvPool(cast("EnvFactory", loads(blueprint.factory)), blueprint.max_idle)
        self._envs: dict[int, TaskEnv] = {}
        self._tasks: dict[int, Task] = {}
        self._steps: dict[int, int] = {}

    def handle(self, message: bytes) -> None:
        """Carry out a command."""
        if message == STEP:
            return self.step()
        command: Command = pickle.loads(message)
        if isinstance(command, TryFamilies):
            return self.try_families(command.families)
        if isinstance(command, Draw):
            return self.draw(command)
        return self.run(command.episodes)

    def try_families(self, families: Sequence[str]) -> None:
        """Check that each family's environment builds."""
        self._shared.at[self._number] = -1
        for family in families:
            self._pool.give_back(family, self._pool.take(family))
            self._tick()

    def run(self, episodes: Sequence[Episode]) -> None:
        """Start episodes, of slots that are not live or in a new worker, and replay their steps."""
        self._release([episode.slot for episode in episodes])
        for slot, task, *_ in episodes:
            self._shared.at[self._number] = slot
            self._envs[slot], self._tasks[slot] = self._pool.take(task.family), task
            self._tick()
        self._pool.trim()
        for episode in episodes:
            self._guard(episode.slot, self._start, episode)

    def step(self) -> None:
        """Step the live slots."""
        self._unconverted.clear()
        for slot, live in zip(self._slots, self._shared.live[self._rows].tolist(), strict=True):
            if live:
                self._guard(slot, self._step, slot)
        self._convert()

    def draw(self, command: Draw) -> None:
        """Write a slot's picture to a file; raise ``MetarlError`` if its environment has none."""
        slot = command.slot
        if slot not in self._envs:
            raise MetarlError(f"Slot {slot} has nothing to show: a reset must start an episode in it first.")
        # a MetarlError is a sentence already; other exceptions become one
        try:
            picture = _picture(self._envs[slot], command)
        except MetarlError:
            raise
        except BaseException as error:
            hint = f": {INSTALL}" if "mujoco" in sys.modules else ""
            raise EngineError(
                f"The {self._which(slot)}, after {self._steps[slot]} steps, cannot draw itself "
                f"({exception_text(error)}){hint}."
            ) from error
        shown = check_picture(picture, self._tasks[slot].family)
        with Path(command.path).open("wb") as file:
            np.save(file, shown, allow_pickle=False)

    def close(self) -> None:
        """Close every environment."""
        self._release(self._slots)
        self._pool.close()

    def _release(self, starting: Iterable[int]) -> None:
        """Return environments of starting and idle slots to the pool.

        The first slot's goes last, so that each slot gets its own again.
        """
        free = {*starting, *(slot for slot in self._envs if not self._shared.live[slot])}
        for slot in sorted(free & self._envs.keys(), reverse=True):
            self._pool.give_back(self._tasks[slot].family, self._envs.pop(slot))

    def _start(self, episode: Episode) -> None:
        slot, env = episode.slot, self._envs[episode.slot]
        self._steps[slot] = _BEFORE_RESET
        env.set_task(episode.task)
        self._steps[slot] = 0
        self._observe(slot, unpack_reset(env.reset(seed=episode.seed, options=episode.options)))
        for action in episode.actions:
            self._steps[slot] += 1
            self._observe(slot, unpack_step(env.step(cast("Never", action)))[0])

    def _step(self, slot: int) -> None:
        shared = self._shared
        self._steps[slot] += 1
        action = shared.actions[slot].copy()  # an environment may keep it
        returned = unpack_step(self._envs[slot].step(cast("Never", action)))
        observation, reward, terminated, truncated, info = returned
        if self._reader.narrows(observation):
            self._doubles[slot] = observation  # copied at once: an environment may change its array
            self._unconverted.append(slot)
            self._tick()
        else:
            self._observe(slot, observation)
        shared.rewards[slot] = reward if type(reward) is float else real(reward, "reward")
        if terminated is not False:  # the engine has cleared the flags
            shared.terminated[slot] = truth(terminated, "terminated")
        if truncated is not False:
            shared.truncated[slot] = truth(truncated, "truncated")
        if "success" in info:
            shared.reported[slot] = True
            shared.success[slot] = truth(info["success"], "info['success']")

    def _convert(self) -> None:
        """Convert the step's observations at once, or one by one if some do not fit."""
        slots = self._unconverted
        if not slots:
            return
        with np.errstate(all="ignore"):
            converted = self._doubles[slots].astype(self._reader.dtype)
        if np.isfinite(converted).all():
            self._shared.observations[slots] = converted
            return
        for slot in slots:
            self._guard(slot, functools.partial(self._observe, slot), self._doubles[slot])

    def _observe(self, slot: int, observation: object) -> None:
        self._shared.observations[slot] = self._reader.read(observation)
        self._tick()

    def _tick(self) -> None:
        self._count += 1
        self._shared.progress[self._number] = self._count

    def _guard(self, slot: int, work: Callable[[T], None], argument: T) -> None:
        """Work on a slot; an exception says where it happened."""
        self._shared.at[self._number] = slot
        try:
            work(argument)
        except UnfitValue as error:
            raise error.at(f"from the {self._which(slot)}, {self._when(slot)}") from error
        except BaseException as error:  # SystemExit too, which would end the worker without a word
            raise EngineError(
                f"The {self._which(slot)}, failed {self._when(slot)}: {exception_text(error)}."
            ) from error

    def _which(self, slot: int) -> str:
        task = self._tasks[slot]
        return f"environment of family {task.family!r}, task {task.id!r}"

    def _when(self, slot: int) -> str:
        count = self._steps[slot]
        early = {_BEFORE_RESET: "when it was given its task", 0: "at the reset"}
        return early.get(count, f"at step {count}")


def check_picture(picture: object, family: str) -> Picture:
    """Return a picture, or raise ``MetarlError`` unless it is what the engine promises."""
    got = type(picture).__name__
    if isinstance(picture, np.ndarray):
        if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size:
            return picture
        got = f"{picture.dtype} of shape {picture.shape}"
    raise MetarlError(
        f"The environment of family {family!r} shows no picture but {got}; build it with "
        'render_mode="rgb_array", so that its render() returns a uint8 array [height, width, 3].'
    )


def _picture(env: TaskEnv, wanted: Draw) -> object:
    if isinstance(env, Drawable):
        return env.draw(camera=wanted.camera, width=wanted.width, height=wanted.height)
    if wanted.camera is not None:
        raise MetarlError(
            f"Expected no camera, since this environment has no choice of cameras, got {wanted.camera!r}."
        )
    if not isinstance(env, Rendering):
        return None
    choose_backend()
    return env.render()


def main(pipe: int, memory: int, die_with_parent: bool) -> None:
    """Serve commands until the engine closes the pipe, or ends in any other way.

    With ``die_with_parent`` the kernel kills this process when the thread that started it ends.
    """
    _ignore_signals(die_with_parent)
    sys.stdout = CappedOutput(sys.stderr)
    connection: Connection[bytes, bytes] = Connection(pipe)
    try:
        _serve(connection, memory)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the engine has gone


def _ignore_signals(die_with_parent: bool) -> None:
    """Ignore Ctrl-C and SIGTERM: the engine decides when a worker ends.

    A handler, and not SIG_IGN, because programs that an environment starts would inherit the latter.
    """
    for number in QUIET_SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, QUIET_SIGNALS)
    if die_with_parent and sys.platform == "linux":
        # A worker that is stuck in a step never reads the pipe; man 2 prctl, PR_SET_PDEATHSIG = 1.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _serve(connection: Connection[bytes, bytes], memory: int) -> None:
    # the first message is the blueprint
    blueprint: Blueprint = pickle.loads(connection.recv_bytes())
    try:
        worker = Worker(blueprint, memory)
    except BaseException as error:  # noqa: BLE001 - the engine raises it
        connection.send_bytes(pickle.dumps(_failure(error)))
        return
    connection.send_bytes(DONE)
    # one answer for each message, in order
    try:
        while True:
            connection.send_bytes(_answer(worker, connection.recv_bytes()))
    finally:
        worker.close()


def _answer(worker: Worker, message: bytes) -> bytes:
    try:
        worker.handle(message)
    except BaseException as error:  # noqa: BLE001 - the engine raises it
        return pickle.dumps(_failure(error))
    return DONE


def _failure(error: BaseException) -> Failure:
    by_engine = isinstance(error, EngineError) or not isinstance(error, MetarlError)
    message = (
        str(error)
        if isinstance(error, MetarlError)
        else f"An environment worker failed: {exception_text(error)}."
    )
    return Failure(message, "".join(traceback.format_exception(error)), by_engine)
