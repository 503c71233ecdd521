"""The programs that measure deployment: they compare equals, and write what they measured."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from metarl.envs.locomotion.dynamics import DynamicsConfig
from metarl.errors import MetarlError
from support.robots import FAMILIES, untrained_run


@pytest.fixture(autouse=True)
def beside_the_benchmarks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))


@pytest.fixture
def guarded() -> ModuleType:
    return importlib.import_module("benchmarks.learning.guarded_adaptation")


@pytest.mark.usefixtures("drawn_figures")
def test_all_conditions_begin_with_the_same_episodes_on_the_same_bodies(
    guarded: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pendulums = DynamicsConfig(
        env="InvertedPendulum-v5", vary=("actuator_gear:slider[0]:-100..100",), horizon=8
    )
    trained = untrained_run(tmp_path / "run", suite=pendulums)
    guarded.main(trained, bodies=2, episodes=2, steps=2, output=tmp_path)
    with (tmp_path / "returns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # two inner steps under three conditions, six episodes each
    assert len(rows) == 2 * 3 * 6
    assert len({row["mean"] for row in rows if row["episode"] == "1"}) == 1
    with (tmp_path / "summary.csv").open(newline="") as file:
        summary = list(csv.DictReader(file))
    assert [row["adaptations"] for row in summary if row["condition"] != "guard on"] == ["0", "4"] * 2
    assert all(row["undone"] == "0" for row in summary if row["condition"] != "guard on")
    assert all(float(row["gain"]) == 0 for row in summary if row["condition"] == "not adapted")
    assert (tmp_path / "return_by_episode.png").stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == 2 * 4


def test_only_runs_on_dynamics_are_taken(guarded: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="Expected a run on dynamics, got one on point"):
        guarded.main(untrained_run(tmp_path / "run"), bodies=2, output=tmp_path)


def test_more_bodies_than_are_held_out_are_refused(guarded: ModuleType, tmp_path: Path) -> None:
    pendulums = DynamicsConfig(
        env="InvertedPendulum-v5", vary=("actuator_gear:slider[0]:-100..100",), horizon=8
    )
    trained = untrained_run(tmp_path / "run", suite=pendulums)
    with pytest.raises(MetarlError, match=r"bodies must be at most the \d+ held-out tasks of .* it is 1000"):
        guarded.main(trained, bodies=1000, output=tmp_path)


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
