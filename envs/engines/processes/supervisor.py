"""Supervision of worker processes: start, command in lock step, replace those that die or hang.

The workers are plain child processes and not :mod:`multiprocessing`'s: so a script needs no ``if __name__ ==
"__main__"``, and no worker inherits the pipe of another, which would keep it from seeing that the engine has
gone.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.processes.messages import DONE, STDERR, Blueprint, Failure, Run
from metarl.envs.engines.processes.worker import QUIET_SIGNALS
from metarl.errors import EngineError

MAX_LOSSES = 3  # of a worker, per command
MAX_HANGS = 1  # of a worker, per command: an environment that is slow once is slow again
SLOW = (
    "if building, a reset or a step may take that long, raise the limit: from_gymnasium(..., timeout=600), "
    "or timeout of ProcessTaskVectorEnv"
)
STARTUP_SECONDS = 120.0  # for a new worker's imports
EXIT_SECONDS = 5.0  # for a worker to close its environments
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}  # there is a worker for each core, so threads inside them would only compete
CHECKS = 4  # of the workers' progress per timeout
_LONGEST_POLL = 60_000.0  # ms between checks if the timeout is long or none
PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from metarl.envs.engines.processes.worker import main; main(*map(int, sys.argv[1:4]))"
)
logger = logging.getLogger(__name__)

# returns the command that brings a new worker to where the lost owner of these slots was
Recover: TypeAlias = Callable[[range], Run]


@dataclass(eq=False)
class WorkerProcess:
    """A worker as the engine sees it."""

    blueprint: Blueprint
    process: subprocess.Popen[bytes]
    connection: Connection[bytes, bytes]
    queue: deque[bytes]  # unanswered messages; the worker has been sent at most the first
    started: bool = False  # whether it has answered any
    progress: int = 0  # its counter when the engine last looked
    since: float = 0.0  # when the counter moved or a message was sent, monotonic seconds
    hung: bool = False  # whether it was given up
    abandoned: bool = False  # whether it was killed at work, so that an answer of its is of no use

    def end(self) -> int:
        """End the process, by force if need be, and return its status."""
        self.connection.close()
        try:
            return self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Supervisor:
    """Worker processes, one for each blueprint.

    ``memory`` is the descriptor of the shared mapping and must stay open; ``progress [W]`` counts up while a
    worker works; ``timeout`` seconds without progress make it count as hung.
    """

    def __init__(
        self, blueprints: Sequence[Blueprint], memory: int, progress: npt.NDArray[np.uint64], timeout: float
    ) -> None:
        self.restarts = 0
        self._blueprints = blueprints
        self._memory = memory
        self._progress = progress
        self._timeout = timeout
        self._poll = select.poll()
        self._workers: dict[int, WorkerProcess] = {}  # by the file descriptor of their connection
        self._busy: set[int] = set()  # file descriptors of those that owe an answer
        self._losses: Counter[int] = Counter()
        self._hangs: Counter[int] = Counter()
        self._start_missing()

    def command(
        self, messages: Mapping[int, bytes], recover: Recover, place: Callable[[int], str]
    ) -> list[Failure]:
        """Send one command to each worker; wait for all replies, restarting workers that die.

        ``recover`` gives the replay of a lost worker, ``place`` says where it was, for the message if it is
        given up. Return the exceptions that were raised in workers, in their order; raise ``EngineError`` if
        a worker is lost over and over.
        """
        failures: dict[int, Failure] = {}
        self._losses.clear()
        self._hangs.clear()
        try:
            self._start_missing()
            # send what each worker has to do; a new one reads its blueprint first
            for worker in self._workers.values():
                if message := messages.get(worker.blueprint.number):
                    worker.queue.append(message)
                if worker.queue:
                    self._send(worker)
            # wait for all, replacing those that die or hang
            while self._busy:
                for worker in self._wait(failures):
                    self._replace(worker, messages, recover, place)
        except BaseException:
            # after an interruption no worker's state is known
            self._kill_busy()
            raise
        return [failures[number] for number in sorted(failures)]

    def close(self) -> None:
        """End all workers; those at work are killed."""
        for fd, worker in self._workers.items():
            if fd in self._busy:
                worker.process.kill()
            worker.connection.close()  # all first, so that they end side by side
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
        self._blueprints = ()

    def _start_missing(self) -> None:
        """Start missing workers: at first all, later those of an interrupted replacement."""
        if len(self._workers) < len(self._blueprints):
            existing = {worker.blueprint.number for worker in self._workers.values()}
            for blueprint in self._blueprints:
                if blueprint.number not in existing:
                    self._start(blueprint)

    def _start(self, blueprint: Blueprint) -> WorkerProcess:
        """Start a worker; its blueprint is the first message in its queue."""
        # the child inherits one end of the pipe and the memory, nothing else
        ours, theirs = multiprocessing.Pipe()
        on_main_thread = threading.current_thread() is threading.main_thread()
        descriptors = (theirs.fileno(), self._memory)
        arguments = [str(number) for number in (*descriptors, int(on_main_thread))]
        # a Ctrl-C that arrives now waits until the child ignores it
        with theirs, _signals_held_back():
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments, *sys.path],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=(output := _standard_error()),
                stderr=output,
                env={**os.environ, **ONE_THREAD},
            )
        worker = WorkerProcess(blueprint, process, ours, deque([pickle.dumps(blueprint)]))
        self._workers[ours.fileno()] = worker
        self._poll.register(ours, select.POLLIN)
        return worker

    def _send(self, worker: WorkerProcess) -> None:
        worker.since = time.monotonic()
        self._busy.add(worker.connection.fileno())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next wait finds it dead
            worker.connection.send_bytes(worker.queue[0])

    def _wait(self, failures: dict[int, Failure]) -> list[WorkerProcess]:
        """Receive answers, send the messages that follow, and return lost workers."""
        events = self._poll.poll(min(max(1.0, 1000 * self._timeout / CHECKS), _LONGEST_POLL))
        if not events:
            return [worker for fd in self._busy if self._is_hung(worker := self._workers[fd])]
        return [worker for fd, _ in events if not self._receive(worker := self._workers[fd], failures)]

    def _receive(self, worker: WorkerProcess, failures: dict[int, Failure]) -> bool:
        """Receive an answer; return whether one was there."""
        if worker.abandoned:
            return False
        try:
            answer = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return False
        worker.started = True
        # the first message is answered; the next may go
        worker.queue.popleft()
        # a worker that failed gets no further messages
        if answer != DONE:
            failures[worker.blueprint.number] = pickle.loads(answer)
            worker.queue.clear()
        if worker.queue:
            self._send(worker)
        else:
            self._busy.discard(worker.connection.fileno())
        return True

    def _is_hung(self, worker: WorkerProcess) -> bool:
        """Kill a worker that has made no progress for too long; return whether it did."""
        now, progress = time.monotonic(), int(self._progress[worker.blueprint.number])
        if progress != worker.progress:
            worker.progress, worker.since = progress, now
        worker.hung = now - worker.since >= self._patience(worker)
        if worker.hung:
            worker.process.kill()
        return worker.hung

    def _patience(self, worker: WorkerProcess) -> float:
        return self._timeout if worker.started else max(self._timeout, STARTUP_SECONDS)

    def _replace(
        self,
        worker: WorkerProcess,
        messages: Mapping[int, bytes],
        recover: Recover,
        place: Callable[[int], str],
    ) -> None:
        """Replace a lost worker and restore its episodes.

        The message is sent again even if the lost worker had answered it: the catching up ends before it.
        """
        # stop the old process, and count the loss
        number, slots = worker.blueprint.number, worker.blueprint.slots
        reason = self._remove(worker)
        self._losses[number] += 1
        who = f"Worker {number} (slots {_listed(slots)})"
        self._hangs[number] += worker.hung
        # give up on an environment that does it again and again
        if self._losses[number] > MAX_LOSSES or self._hangs[number] > MAX_HANGS:
            advice = f"; {SLOW}" if worker.hung else ""
            times = f"{self._losses[number]} times in a row"
            raise EngineError(f"{who} was lost {times}; the last {reason}{place(number)}{advice}.")
        # replay: the new process runs the episodes up to this command
        catch_up = recover(slots)
        steps, episodes = sum(len(e.actions) for e in catch_up.episodes), len(catch_up.episodes)
        logger.warning("%s %s: restarted, %d steps of %d episodes run again", who, reason, steps, episodes)
        self.restarts += 1
        successor = self._start(worker.blueprint)
        if catch_up.episodes:
            successor.queue.append(pickle.dumps(catch_up))
        # the command that was interrupted follows the replay
        if number in messages:
            successor.queue.append(messages[number])
        self._send(successor)

    def _remove(self, worker: WorkerProcess) -> str:
        """Remove a lost worker and return the reason."""
        fd = worker.connection.fileno()
        self._poll.unregister(fd)
        self._busy.discard(fd)
        del self._workers[fd]
        status = worker.end()
        if worker.hung:
            return f"made no progress for {self._patience(worker):g} s"
        if status < 0:
            return f"was ended by signal {-status} ({signal.strsignal(-status)})"
        return f"ended with status {status}"

    def _kill_busy(self) -> None:
        """Kill busy workers: nobody waits for their answers any more."""
        for worker in self._workers.values():
            if worker.queue:
                worker.process.kill()
                worker.queue.clear()
                worker.abandoned = True  # it may have answered before it was killed
        self._busy.clear()


def _standard_error() -> int:
    """Return the descriptor for a worker's output: standard error, if it is open.

    A program that is started without it, as some daemons are, may have a file of its own at that place.
    """
    if sys.__stderr__ is None:
        return subprocess.DEVNULL
    try:
        os.fstat(STDERR)
    except OSError:  # closed later
        return subprocess.DEVNULL
    return STDERR


def _listed(slots: range) -> str:
    """Return all of few slots, or the ends of many, for messages."""
    names = [str(slot) for slot in slots]
    return ", ".join(names if len(names) <= 6 else [*names[:3], "…", names[-1]])


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Block signals while a child starts, so that no Ctrl-C hits it before it is ready."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, QUIET_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
