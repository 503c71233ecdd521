"""Metrics of a run, for TensorBoard and in ``metrics.jsonl``, a JSON object a row.

Metrics under ``time/`` are wall-clock times. All others are the same, bit for bit, when a run is repeated, or
killed and resumed, on a CPU with the same versions.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import SupportsFloat, TypeGuard

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from metarl.errors import MetarlError
from metarl.storage.files import is_full, sync, write_whole
from metarl.text import shown

Row = dict[str, float | int]  # ``{"iteration": 3, "env_steps": 120000, "train/return/step_0": -41.2, …}``

_FILE, _EVENTS = "metrics.jsonl", "tensorboard"


class MetricsLog:
    """Log of a run's metrics; each row is on disk when :meth:`log` returns."""

    def __init__(self, run_folder: Path, resume_after: int | None) -> None:
        """Open the log.

        Args:
            resume_after: the iteration to resume from: later rows, and a last row that was cut short, are
                dropped; None for a new run.

        Raises:
            MetarlError: if a new run finds metrics already there, or the log cannot be written.
        """
        self._path = run_folder / _FILE
        with _disk_errors(self._path):
            run_folder.mkdir(parents=True, exist_ok=True)
            if resume_after is not None:
                _drop_later_rows(self._path, resume_after)
            elif self._path.exists():
                raise MetarlError(f"A new run needs a folder without metrics, but there is {self._path}.")
            self._events = _Events(run_folder / _EVENTS, None if resume_after is None else resume_after + 1)
            with ExitStack() as on_error:
                on_error.callback(self._events.close)
                self._file = self._path.open("ab", buffering=0)
                on_error.pop_all()

    def log(self, iteration: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Write one row.

        Raises:
            MetarlError: if a metric is not finite or the disk is full; then nothing is in ``metrics.jsonl``.
        """
        row: Row = {"iteration": iteration, **{name: _number(name, metrics[name]) for name in metrics}}
        with _disk_errors(self._path):
            self._events.log(iteration, row)
            _append(self._file.fileno(), json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        """Finish both files; further calls do nothing."""
        self._file.close()
        self._events.close()


class _Events:
    """TensorBoard event file without a writer thread.

    The thread of PyTorch's writer prints a traceback when the disk is full, and is lost in a forked process.
    """

    def __init__(self, folder: Path, purge_from: int | None) -> None:
        """Begin a file that hides earlier ones from step ``purge_from`` on."""
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a run in the order of their names, so the time comes first.
        self._file = (folder / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}").open("ab", buffering=0)
        with ExitStack() as on_error:
            on_error.callback(self._file.close)
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
            if purge_from is not None:
                start = SessionLog(status=SessionLog.START)
                self._write(Event(wall_time=time.time(), step=purge_from, session_log=start))
            on_error.pop_all()

    def log(self, iteration: int, row: Row) -> None:
        values = [Summary.Value(tag=name, simple_value=row[name]) for name in row if name != "iteration"]
        self._write(Event(wall_time=time.time(), step=iteration, summary=Summary(value=values)))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        _append(self._file.fileno(), record.getvalue())


def read_metrics(run_folder: Path) -> list[Row]:
    """Read a run's whole rows, oldest first, or raise MetarlError."""
    path = run_folder / _FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MetarlError(f"There are no metrics in {run_folder} ({error.strerror}: {_FILE}).") from error
    return [row for _, row in _rows(path, data)]


def last_iteration(run_folder: Path) -> int:
    """Return the last iteration with a row, 0 without any; MetarlError if a row is damaged."""
    return max(_iterations(run_folder), default=0)


def missing_rows(run_folder: Path, iteration: int) -> list[int]:
    """Return iterations up to this one without a row; MetarlError if a row is damaged."""
    return sorted(set(range(1, iteration + 1)) - _iterations(run_folder))


def _iterations(run_folder: Path) -> set[int]:
    rows = read_metrics(run_folder) if (run_folder / _FILE).exists() else []
    return {int(row["iteration"]) for row in rows}


def held_out_return(row: Row) -> float | None:
    """Return the return on held-out tasks after the most adaptation; None in a row without evaluation."""
    found = [re.fullmatch(r"test/return/step_(\d+)", name) for name in row]
    steps = [int(match[1]) for match in found if match]
    return row[f"test/return/step_{max(steps)}"] if steps else None


def best_iteration(rows: Iterable[Row]) -> int | None:
    """Return the first iteration with the best return on held-out tasks, if any was evaluated."""
    rated = [(value, -row["iteration"]) for row in rows if (value := held_out_return(row)) is not None]
    return int(-max(rated)[1]) if rated else None


def _number(name: str, value: SupportsFloat) -> float | int:
    number = int(value) if isinstance(value, Integral) else float(value)
    if not math.isfinite(number):
        raise MetarlError(f"The metric {name!r} must be a finite number, but it is {number}.")
    return number


def _rows(path: Path, data: bytes) -> Iterator[tuple[bytes, Row]]:
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):  # the last line, of a writer that was killed or is at it
            return
        row: object = None
        with suppress(ValueError):
            row = json.loads(line)
        if not _is_row(row):
            raise MetarlError(
                f"Expected line {number} of {path} to be a row of metrics, finite numbers by name with an "
                f"iteration, got {shown(line.decode(errors='replace').rstrip())}; take the line out."
            )
        yield line, row


def _is_row(row: object) -> TypeGuard[Row]:
    return (
        isinstance(row, dict)
        and type(row.get("iteration")) is int
        and all(type(value) in (int, float) and math.isfinite(value) for value in row.values())
    )


def _drop_later_rows(path: Path, last: int) -> None:
    """Drop rows after iteration ``last``, all or none."""
    if not path.exists():
        return
    data = path.read_bytes()
    kept = b"".join(line for line, row in _rows(path, data) if row["iteration"] <= last)
    if kept != data:
        write_whole(path, kept)


def _append(descriptor: int, record: bytes) -> None:
    """Append a record and sync it, or cut the file back.

    The file must be open for appending, or the next record would leave a gap.
    """
    size = os.fstat(descriptor).st_size
    try:
        written = 0
        while written < len(record):
            written += os.write(descriptor, record[written:])
        sync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn operating-system errors into a sentence."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise MetarlError(f"No disk space for the metrics {path}; the rows before are intact.") from error
        raise MetarlError(f"The metrics {path} cannot be written ({error.strerror}).") from error
