"""The programs that measure deployment: they compare equals, and write what they measured."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from support.robots import FAMILIES, untrained_run


@pytest.fixture(autouse=True)
def beside_the_benchmarks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))


@pytest.fixture
def guarded() -> ModuleType:
    return importlib.import_module("benchmarks.learning.guarded_adaptation")


@pytest.mark.usefixtures("drawn_figures")
def test_all_conditions_begin_with_the_same_episodes(
    guarded: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guarded, "trained", lambda root, iterations: untrained_run(root / "run"))
    guarded.main(runs=2, output=tmp_path)
    with (tmp_path / "guarded_adaptation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    conditions = dict.fromkeys(row["condition"] for row in rows)
    assert len(conditions) == 5
    assert len(rows) == 5 * (guarded.STEPS + 1) * guarded.EACH
    before = [row["mean"] for row in rows if int(row["episode"]) <= guarded.EACH]
    assert len(set(before)) == guarded.EACH
    assert (tmp_path / "guarded_adaptation.png").stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_interval_is_students(guarded: ModuleType) -> None:
    mean, half = guarded.interval(np.array([[1.0], [2.0], [6.0]]))
    # t with 2 degrees of freedom: 4.303; deviation sqrt(7)
    assert (mean[0], half[0]) == (3.0, pytest.approx(4.303 * np.sqrt(7 / 3), rel=1e-3))


def test_loop_takes_the_steps_of_its_seconds() -> None:
    control_loop = importlib.import_module("benchmarks.speed.control_loop")
    timing = control_loop.keep_pace(FAMILIES["rl2"], 200.0, 0.1)
    assert len(timing.periods) == len(timing.latencies) == 20
    assert sum(timing.periods) >= 0.1 - 1e-3


def test_both_policies_take_a_step_in_some_time() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    policy_step = importlib.import_module("benchmarks.speed.policy_step")
    seconds = policy_step.measure(FAMILIES["rl2"], steps=3, repeats=2)
    assert seconds.keys() == {"torch", "onnx"}
    assert all(0 < value < 1 for values in seconds.values() for value in values)
