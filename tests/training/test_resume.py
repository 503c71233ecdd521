"""A run that is killed, stopped or damaged and then resumed equals one that never was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from metarl.presets.toy import point
from metarl.storage.checkpoints import load
from metarl.training.experiment import Experiment
from metarl.training.runs import stop_on_signals
from support.kills import broken_runs, duration
from support.programs import ML1, POINT, RESUME, Trap, errors, finish, outcome, output, resume, run, start

STEP = "metarl.training.experiment:Experiment.on_step"
UPDATE = "metarl.agents.maml_trpo:MAMLTRPO.update"
EVALUATE = "metarl.training.experiment:evaluate"
CURVE = "metarl.cli.commands.training:write_learning_curve"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(folder, POINT) == 0, errors(folder)
    return folder


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    """Return a folder with a run that was killed during its 7th update."""
    shutil.copytree(killed_once / "runs", tmp_path / "runs")
    return tmp_path


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    assert run(folder, POINT, Trap(UPDATE, 7)) == -signal.SIGKILL
    return folder


@pytest.fixture(scope="module")
def unbroken_ml1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken-ml1")
    assert run(folder, ML1) == 0, errors(folder)
    return folder


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.02)


def rows(folder: Path) -> int:
    """Return how many rows of metrics a run has logged."""
    metrics = folder / "runs" / "it" / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def contents(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_unbroken_runs_are_equal(unbroken: Path, tmp_path: Path) -> None:
    assert run(tmp_path, POINT) == 0
    assert outcome(tmp_path) == outcome(unbroken)
    assert len(outcome(unbroken)[0]) == 9


@pytest.mark.parametrize(
    "trap",
    [
        pytest.param(Trap("metarl.training.experiment:Experiment.make_env", 1), id="start-up"),
        pytest.param(Trap(STEP, 10), id="first evaluation", marks=pytest.mark.slow),
        pytest.param(Trap("os:fsync", 5), id="first checkpoint"),
        pytest.param(Trap(STEP, 85), id="sampling"),
        pytest.param(Trap(UPDATE, 6), id="update"),
        pytest.param(
            Trap("metarl.training.experiment:save", 3), id="before a checkpoint", marks=pytest.mark.slow
        ),
        pytest.param(Trap("pathlib:Path.replace", 6), id="renaming a checkpoint"),
        pytest.param(Trap("shutil:rmtree", 2), id="deleting an old checkpoint", marks=pytest.mark.slow),
        pytest.param(Trap("metarl.storage.metrics:_append", 11), id="metrics", marks=pytest.mark.slow),
        pytest.param(Trap(EVALUATE, 2), id="evaluation"),
        pytest.param(Trap(EVALUATE, 4), id="final evaluation", marks=pytest.mark.slow),
        pytest.param(Trap(CURVE, 1), id="figures", marks=pytest.mark.slow),
    ],
)
def test_run_killed_at_a_known_point_equals_the_unbroken_one(
    unbroken: Path, tmp_path: Path, trap: Trap
) -> None:
    assert run(tmp_path, POINT, trap) == -signal.SIGKILL
    resume(tmp_path)
    assert outcome(tmp_path) == outcome(unbroken)


def test_run_killed_at_3_random_moments_equals_the_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    longest = duration(tmp_path / "timed", POINT)
    for folder in broken_runs(tmp_path / "killed", POINT, moments=3, longest=longest):
        assert outcome(folder) == outcome(unbroken)


@pytest.mark.slow
def test_run_killed_at_20_random_moments_equals_the_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    longest = duration(tmp_path / "timed", POINT)
    for folder in broken_runs(tmp_path / "killed", POINT, moments=20, longest=longest):
        assert outcome(folder) == outcome(unbroken)


@pytest.mark.slow
def test_ml1_run_killed_at_3_random_moments_equals_the_unbroken_one(
    unbroken_ml1: Path, tmp_path: Path
) -> None:
    longest = duration(tmp_path / "timed", ML1)
    for folder in broken_runs(tmp_path / "killed", ML1, moments=3, longest=longest):
        assert outcome(folder) == outcome(unbroken_ml1)


@pytest.mark.parametrize(
    ("number", "function", "call", "finished"),
    [
        pytest.param(signal.SIGTERM, STEP, 75, 2, id="SIGTERM while sampling"),
        pytest.param(signal.SIGINT, UPDATE, 6, 5, id="SIGINT during an update"),
        pytest.param(
            signal.SIGTERM, EVALUATE, 2, 3, id="SIGTERM during an evaluation", marks=pytest.mark.slow
        ),
        pytest.param(signal.SIGINT, EVALUATE, 4, 8, id="SIGINT during the final evaluation"),
    ],
)
def test_stopped_run_saves_its_last_finished_iteration_and_equals_the_unbroken_one(
    unbroken: Path, tmp_path: Path, number: int, function: str, call: int, finished: int
) -> None:
    never = ["--checkpoint.every", "100"]
    assert run(tmp_path, [*POINT, *never], Trap(function, call, number)) == 130
    assert errors(tmp_path) == ""
    last = f"Stopped after iteration {finished}; resume it with: metarl train --resume runs/it"
    assert output(tmp_path).splitlines()[-1] == last
    assert load(max((tmp_path / "runs/it/checkpoints").iterdir())).iteration == finished
    resume(tmp_path)
    assert outcome(tmp_path)[:2] == outcome(unbroken)[:2]  # the evaluation names the config, which differs


def test_run_stopped_before_its_first_checkpoint_can_be_resumed(unbroken: Path, tmp_path: Path) -> None:
    assert run(tmp_path, POINT, Trap(STEP, 5, signal.SIGTERM)) == 130
    assert not (tmp_path / "runs/it/checkpoints").exists()
    resume(tmp_path)
    assert outcome(tmp_path) == outcome(unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_during_start_up_is_one_line_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    assert run(tmp_path, POINT, Trap("metarl.training.runs:start", 1, number)) == 130
    assert (output(tmp_path), errors(tmp_path)) == ("Stopped; unfinished results are not written.\n", "")
    assert not (tmp_path / "runs").exists()


def test_stop_while_the_results_are_written_lets_them_be_finished(unbroken: Path, tmp_path: Path) -> None:
    assert run(tmp_path, POINT, Trap(CURVE, 1, signal.SIGINT)) == 0
    assert outcome(tmp_path) == outcome(unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_a_run_to_stop_and_a_second_would_kill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    experiment = Experiment(point(), tmp_path)
    asked: list[bool] = []
    monkeypatch.setattr(experiment, "request_stop", lambda: asked.append(True))
    with stop_on_signals(experiment):
        signal.raise_signal(number)
        assert asked == [True]
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before


def test_program_in_a_terminal_session_stops_on_ctrl_c(tmp_path: Path) -> None:
    metarl = Path(sys.executable).with_name("metarl")
    command = [str(metarl), *POINT, "--iterations", "100000", "--evaluation.every", "0"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: rows(tmp_path) >= 3)
        os.killpg(process.pid, signal.SIGINT)
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complained == ""
    assert "resume it with: metarl train --resume runs/it" in said.splitlines()[-1]


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
@pytest.mark.parametrize("name", ["state.json", "weights.safetensors"])
def test_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    unbroken: Path, killed: Path, damage: str, name: str
) -> None:
    file = killed / "runs" / "it" / "checkpoints" / "00000006" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    resume(killed)
    said = output(killed).splitlines()
    assert said[0].startswith("The checkpoint runs/it/checkpoints/00000006 is damaged (")
    assert said[0].endswith("The one before it is tried.")
    assert "(going on after 4)" in said[1]
    assert outcome(killed) == outcome(unbroken)


def test_run_can_be_resumed_elsewhere_after_it_was_moved(unbroken: Path, killed: Path) -> None:
    # the lock of the killed process is left, and hinders nobody
    assert (killed / "runs" / "it" / ".lock").exists()
    shutil.move(killed / "runs" / "it", killed / "moved")
    assert run(killed, ["train", "--resume", "moved"]) == 0
    (killed / "runs").joinpath("it").symlink_to(killed / "moved")
    assert outcome(killed) == outcome(unbroken)


def test_run_trained_further_equals_one_that_was_longer_from_the_start(
    unbroken: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, [*POINT, "--iterations", "5"]) == 0
    assert run(tmp_path, [*RESUME, "--iterations", "8"]) == 0
    assert outcome(tmp_path) == outcome(unbroken)


def test_second_process_on_a_running_run_is_refused_and_changes_nothing(
    unbroken: Path, tmp_path: Path
) -> None:
    process = start(tmp_path, POINT, Trap(UPDATE, 5, signal.SIGSTOP))
    try:
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        before = contents(tmp_path / "runs")
        other = tmp_path / "other"
        other.mkdir()
        (other / "runs").symlink_to(tmp_path / "runs")
        assert run(other, [*RESUME, "--iterations", "500"]) == 2
        assert errors(other) == (
            f"metarl: The run runs/it is still going on in process {process.pid}; stop that one first.\n"
        )
        assert contents(tmp_path / "runs") == before
    finally:
        psutil.Process(process.pid).resume()
        code = finish(process)
    assert code == 0
    assert outcome(tmp_path) == outcome(unbroken)
