"""The log of metrics: exact, cut back on resuming, and honest about a full disk."""

from __future__ import annotations

import errno
import os
import re
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl.errors import MetarlError
from metarl.storage.metrics import MetricsLog, read_metrics


def write(folder: Path, iterations: range, resume_after: int | None = None) -> None:
    with closing(MetricsLog(folder, resume_after)) as log:
        for iteration in iterations:
            log.log(iteration, {"env_steps": 100 * iteration, "train/return/step_0": -1.0 / (iteration + 1)})


def tensorboard(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_rows_come_back_in_order_with_their_types(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    assert read_metrics(tmp_path) == [
        {"iteration": 1, "env_steps": 100, "train/return/step_0": -0.5},
        {"iteration": 2, "env_steps": 200, "train/return/step_0": -1 / 3},
    ]
    assert isinstance(read_metrics(tmp_path)[0]["env_steps"], int)


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(max_examples=40)
def test_floats_come_back_bit_for_bit(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")
    with closing(MetricsLog(folder, None)) as log:
        log.log(1, {str(index): value for index, value in enumerate(values)})
    row = read_metrics(folder)[0]
    assert [float(row[str(index)]).hex() for index in range(len(values))] == [value.hex() for value in values]


def test_numbers_of_numpy_and_torch_are_written_as_plain_numbers(tmp_path: Path) -> None:
    with closing(MetricsLog(tmp_path, None)) as log:
        log.log(1, {"a": np.float32(0.1), "b": np.int64(3), "c": torch.tensor(2.5).item()})
    assert read_metrics(tmp_path) == [{"iteration": 1, "a": float(np.float32(0.1)), "b": 3, "c": 2.5}]


def test_row_is_on_disk_before_the_log_is_closed(tmp_path: Path) -> None:
    with closing(MetricsLog(tmp_path, None)) as log:
        log.log(1, {"x": 1.5})
        assert read_metrics(tmp_path) == [{"iteration": 1, "x": 1.5}]
        assert tensorboard(tmp_path, "x") == [(1, 1.5)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_metric_that_is_not_finite_is_refused_by_name(tmp_path: Path, value: float) -> None:
    message = "'update/kl' must be a finite number"
    with closing(MetricsLog(tmp_path, None)) as log, pytest.raises(MetarlError, match=message):
        log.log(1, {"x": 1.0, "update/kl": value})
    assert read_metrics(tmp_path) == []


def test_resuming_drops_later_rows_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, range(1, 8))
    write(tmp_path, range(5, 10), resume_after=4)
    assert [row["iteration"] for row in read_metrics(tmp_path)] == list(range(1, 10))


def test_resumed_file_equals_that_of_an_unbroken_run(tmp_path: Path) -> None:
    write(tmp_path / "unbroken", range(1, 10))
    write(tmp_path / "broken", range(1, 8))
    write(tmp_path / "broken", range(5, 10), resume_after=4)
    files = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("unbroken", "broken")]
    assert files[0] == files[1]


def test_tensorboard_shows_each_iteration_once_after_resuming(tmp_path: Path) -> None:
    write(tmp_path, range(1, 8))
    write(tmp_path, range(5, 10), resume_after=4)
    assert [step for step, _ in tensorboard(tmp_path, "train/return/step_0")] == list(range(1, 10))


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_torn_last_row_is_left_out_and_dropped_on_resuming(tmp_path: Path, cut: int) -> None:
    write(tmp_path, range(1, 4))
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2]
    write(tmp_path, range(3, 4), resume_after=3)
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_process_killed_while_cutting_the_file_back_leaves_the_old_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    write(tmp_path, range(1, 8))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsLog(tmp_path, resume_after=4)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_resuming_without_a_file_begins_one(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3), resume_after=0)
    assert len(read_metrics(tmp_path)) == 2


def test_logging_starts_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with closing(MetricsLog(tmp_path, None)) as log:
        log.log(1, {"x": 1.0})
        assert threading.active_count() == before


def test_new_run_refuses_to_mix_with_old_metrics(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    with pytest.raises(MetarlError, match="needs a folder without metrics"):
        MetricsLog(tmp_path, None)
    assert len(read_metrics(tmp_path)) == 2


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.out"])
def test_full_disk_is_one_sentence_and_takes_back_the_torn_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    really_write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if not Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(name):
            return really_write(descriptor, data)
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, data[:20])

    row = {"x": 1.0, "a metric with a long name": 2.0}
    with closing(MetricsLog(tmp_path, None)) as log:
        log.log(1, row)
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(MetarlError, match="No disk space for the metrics"):
            log.log(2, row)
        monkeypatch.setattr(os, "write", really_write)
        log.log(2, {"x": 3.0})
    assert [row["x"] for row in read_metrics(tmp_path)] == [1.0, 3.0]
    assert tensorboard(tmp_path, "x")[-1] == (2, 3.0)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: really_write(descriptor, data[:7]))
    write(tmp_path, range(1, 4))
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_folder_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match=r"no metrics in .*nowhere"):
        read_metrics(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "line",
    [
        *("[1, 2]", "not JSON", '{"x": 1}', '{"iteration": "3"}', '{"iteration": true}', ""),
        *(f'{{"iteration": 3, "env_steps": {value}}}' for value in ('"many"', "null", "NaN", "[1]")),
    ],
)
def test_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"iteration": 1}}\n{line}\n{{"iteration": 2}}\n')
    said = rf"Expected line 2 of .*metrics\.jsonl to be a row of metrics, .*, got '{re.escape(line)}'; take"
    with pytest.raises(MetarlError, match=said):
        read_metrics(tmp_path)
