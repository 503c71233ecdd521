"""The numbers of a run: one JSON object a row in ``metrics.jsonl``, and the same for TensorBoard.

Metrics whose names start with ``time/`` are wall-clock times. All others are the same, bit for bit, when a
run is repeated, or killed and resumed, on a CPU with the same versions.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import SupportsFloat

from torch.utils.tensorboard import SummaryWriter

from metarl.errors import MetarlError

Row = dict[str, float | int]
"""``{"iteration": 3, "env_steps": 120000, "train/return/step_0": -41.2, …}``"""

_FILE, _EVENTS = "metrics.jsonl", "tensorboard"


class MetricsLog:
    """Writes the metrics of a run as they come; each row is on disk when :meth:`log` returns."""

    def __init__(self, run_folder: Path, resume_after: int | None) -> None:
        """Open the log.

        Args:
            run_folder: where the run lies; it is made if need be.
            resume_after: the last iteration that is done when a run is resumed, whose later rows, and a
                last row that was cut short, are dropped; None for a new run.

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
            self._file = self._path.open("ab", buffering=0)
            self._events = SummaryWriter(
                str(run_folder / _EVENTS), purge_step=None if resume_after is None else resume_after + 1
            )

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Write one row.

        Raises:
            MetarlError: naming a metric that is not finite, or if there is no disk space; then nothing of
                the row is written.
        """
        row: Row = {"iteration": iteration, **{name: _number(name, metrics[name]) for name in metrics}}
        with _disk_errors(self._path):
            _append(self._file.fileno(), json.dumps(row).encode() + b"\n")
            for name in metrics:
                self._events.add_scalar(name, row[name], iteration)
            self._events.flush()

    def close(self) -> None:
        """Finish both files; further calls do nothing."""
        self._file.close()
        with _disk_errors(self._path):
            self._events.close()

    def __enter__(self) -> MetricsLog:
        """Return the log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log."""
        self.close()


def read_metrics(run_folder: Path) -> list[Row]:
    """Return the rows of a run, oldest first; a last row that was cut short is left out.

    Raises:
        MetarlError: if there are none, or a row is not what was written.
    """
    path = run_folder / _FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MetarlError(f"There are no metrics in {run_folder} ({error.strerror}: {_FILE}).") from error
    return [row for _, row in _rows(path, data)]


def _number(name: str, value: SupportsFloat) -> float | int:
    """Return the value as a plain Python number, whatever kind of number it was."""
    number = int(value) if isinstance(value, Integral) else float(value)
    if not math.isfinite(number):
        raise MetarlError(f"The metric {name!r} must be a finite number, but it is {number}.")
    return number


def _rows(path: Path, data: bytes) -> Iterator[tuple[bytes, Row]]:
    """Yield each whole line with the row that it holds."""
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):  # the last line, of a writer that was killed or is at it
            return
        row = _parse(line)
        if row is None:
            raise MetarlError(f"Line {number} of {path} is not a row of metrics.")
        yield line, row


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("iteration"), int) else None


def _drop_later_rows(path: Path, last: int) -> None:
    """Cut the file back to the rows up to iteration ``last``: the old file or the new, never a part."""
    if not path.exists():
        return
    data = path.read_bytes()
    kept = b"".join(line for line, row in _rows(path, data) if row["iteration"] <= last)
    if kept != data:
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def _append(descriptor: int, line: bytes) -> None:
    """Write a line and wait until it is on disk; where that fails, take back what was written of it."""
    size = os.fstat(descriptor).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system reports into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MetarlError(f"No disk space for the metrics {path}; the rows before are intact.") from error
        raise MetarlError(f"The metrics {path} cannot be written ({error.strerror}).") from error
