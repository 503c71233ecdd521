"""Several seeds of one experiment, each a ``metarl train`` in a process of its own.

A given number run at once, each on its share of the cores. Results do not depend on that:
the engines give the same episodes on any number of threads, and PyTorch has one thread in each process.
Several processes, on several machines that share the folder, may run one sweep: each locks the seeds that it
trains, and the kernel frees those of one that dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from metarl.config import ExperimentConfig
from metarl.errors import MetarlError, Stopped, require
from metarl.evaluation.comparability import shared_settings
from metarl.storage.files import write_json
from metarl.storage.locks import HeldError, locked
from metarl.storage.run_folder import CONFIG, SWEEP
from metarl.training.best_so_far import as_planned
from metarl.training.evaluation_reader import is_finished
from metarl.training.runs import default_name, read_config
from metarl.types import Json

SECONDS_BETWEEN_LOOKS = 0.2
_PROGRAM = """
import ctypes, os, signal, sys
parent, cores, *arguments = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: stop with the sweep, however it ends
if os.getppid() != int(parent):
    sys.exit("The sweep ended before this run began.")
os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
from metarl.cli.main import main
sys.exit(main(arguments))
"""


@dataclass(frozen=True)
class SeedRun:
    """One seed's run."""

    seed: int
    folder: Path  # the run's
    log: Path  # file of its output

    @property
    def finished(self) -> bool:
        """Whether training and evaluation are finished."""
        return is_finished(self.folder)

    @property
    def started(self) -> bool:
        """Whether there is a run to resume."""
        return (self.folder / CONFIG).is_file()

    @property
    def iteration(self) -> int:
        """The last iteration in its metrics."""
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
                lines = file.read().split(b"\n")[:-1]  # what follows the last newline is still being written
            return int(json.loads(lines[-1])["iteration"])
        except (OSError, ValueError, KeyError, IndexError):
            return 0


class Sweep:
    """Seeds of a sweep in ``root``, where it has a folder ``<name>-sweep``.

    ``config`` is that of the first seed's run; ``preset`` and ``options`` are those of ``metarl train``.

    Raises:
        MetarlError: if there is a run or a sweep of that name with other settings.
    """

    def __init__(
        self, config: ExperimentConfig, preset: str, options: Sequence[str], seeds: Sequence[int], root: Path
    ) -> None:
        self.config = config
        name = config.name or default_name(config).removesuffix(f"-seed{config.seed}")
        self.folder = root / f"{name}-sweep"
        self.runs = [
            SeedRun(seed, root / f"{name}-seed{seed}", self.folder / f"seed{seed}.log") for seed in seeds
        ]
        self._arguments = ["train", preset, *options]
        self.elsewhere: list[SeedRun] = []
        """Seeds that other processes were training when this one last looked."""
        self._running: dict[SeedRun, subprocess.Popen[bytes]] = {}
        self._locks: dict[SeedRun, ExitStack] = {}
        self._stop = False
        self._index: dict[str, Json] = {}
        for run in self.runs:
            self._check_settings(run)

    @property
    def running(self) -> list[SeedRun]:
        """Seeds that run now."""
        return list(self._running)

    def request_stop(self) -> None:
        """Stop every run after saving; :meth:`run` then raises Stopped."""
        self._stop = True

    def run(self, parallel: int, on_look: Callable[[], None]) -> dict[SeedRun, int]:
        """Train unfinished seeds, ``parallel`` at once; return exit codes of failures.

        Seeds of other processes are left to them. ``on_look`` is called some times a second.

        Raises:
            Stopped: after :meth:`request_stop`; what the runs had finished is saved.
            MetarlError: if ``parallel`` is below 1.
        """
        require(parallel >= 1, "At least one run must train at a time", parallel)
        unfinished = sum(not run.finished for run in self.runs)
        # each process is pinned to its share, so that runs do not slow each other down
        free = core_shares(sorted(os.sched_getaffinity(0)), min(parallel, max(1, unfinished)))
        cores: dict[SeedRun, list[int]] = {}
        ended: dict[SeedRun, int] = {}
        self.write_index()
        try:
            while not self._stop:
                for run in self._take(len(free), ended):
                    cores[run] = free.pop(0)
                    self._running[run] = self._start(run, cores[run])
                if not self._running:
                    break
                time.sleep(SECONDS_BETWEEN_LOOKS)
                # cores of finished runs go to the next ones
                gone = self._reap()
                free += [cores[run] for run in gone]
                ended |= gone
                self.write_index()
                on_look()
        finally:
            self._end_all()
            self.write_index()
        if self._stop:
            raise Stopped
        return {run: code for run, code in ended.items() if code != 0 or not run.finished}

    def write_index(self, *, always: bool = False) -> None:
        """Write the list of runs, whole or not at all, if it has changed or ``always``."""
        content: dict[str, Json] = {
            "config": shared_settings(self.config),
            "seeds": [run.seed for run in self.runs],
            "runs": [run.folder.name for run in self.runs],
            "finished": [run.folder.name for run in self.runs if run.finished],
        }
        if always or content != self._index:  # it is asked for several times a second
            write_json(self.folder / SWEEP, content, indent=2)
            self._index = content

    def _take(self, most: int, ended: Collection[SeedRun]) -> list[SeedRun]:
        """Lock seeds that no other process trains."""
        if most == 0:
            return []
        taken: list[SeedRun] = []
        self.elsewhere = []
        for run in self.runs:
            if len(taken) == most or run in self._running or run in ended or run.finished:
                continue
            try:
                if self._lock(run):
                    taken.append(run)
            except HeldError:
                self.elsewhere.append(run)
        return taken

    def _lock(self, run: SeedRun) -> bool:
        """Lock a seed, unless the process that had it until now has finished it."""
        with ExitStack() as lock:
            lock.enter_context(locked(self.folder, f".seed{run.seed}.lock"))
            if run.finished:
                return False
            if run.started:
                self._check_settings(run)
                with locked(run.folder):  # a run that a killed sweep has left is still saving
                    pass
            self._locks[run] = lock.pop_all()
        return True

    def _check_settings(self, run: SeedRun) -> None:
        if not run.started:
            return
        # a sweep that is started again must be the same one
        (config,) = as_planned([run.folder], [read_config(run.folder)], self.config.iterations)
        found, expected = shared_settings(config), shared_settings(self.config)
        if found != expected:
            differ = [name for name in expected if found.get(name) != expected[name]]
            raise MetarlError(
                f"The run {run.folder} has other settings than this sweep ({', '.join(differ)}); "
                "choose another --name."
            )

    def _start(self, run: SeedRun, cores: Sequence[int]) -> subprocess.Popen[bytes]:
        if run.started:
            arguments = ["train", "--resume", str(run.folder)]
        else:
            arguments = [*self._arguments, "--seed", str(run.seed), "--name", run.folder.name]
        with run.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(os.getpid()), ",".join(map(str, cores)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": "1", **os.environ},
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which then stops each run once
            )

    def _reap(self) -> dict[SeedRun, int]:
        ended = {run: code for run, process in self._running.items() if (code := process.poll()) is not None}
        for run in ended:
            del self._running[run]
            self._locks.pop(run).close()
        return ended

    def _end_all(self) -> None:
        """Stop all running processes after they save."""
        # a second signal kills this process, and they follow
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.wait()
        self._running.clear()
        while self._locks:
            self._locks.popitem()[1].close()


def core_shares(cores: Sequence[int], parallel: int) -> list[list[int]]:
    """Share cores among runs as evenly as possible; too few cores are shared."""
    if parallel >= len(cores):
        return [[cores[index % len(cores)]] for index in range(parallel)]
    return [list(cores[index::parallel]) for index in range(parallel)]


def last_line(log: Path) -> str:
    """Return a log's last non-blank line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")
