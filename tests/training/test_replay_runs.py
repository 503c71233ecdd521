"""Runs of an agent with a replay buffer: killed, resumed, gone back, evaluated without the buffer."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from metarl.cli.main import main
from metarl.plugins import entry_points
from metarl.storage.checkpoints import load
from metarl.training import runs
from support import replay_agent
from support.kills import broken_runs, duration
from support.programs import REPLAY, RESUME, Trap, errors, outcome, output, resume, run

WRITE_SEGMENTS = "metarl.storage.checkpoints:write_segments"
DROP_SEGMENTS = "metarl.storage.checkpoints:drop_segments"


@pytest.fixture(autouse=True)
def agent_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "_entries", entry_points._entries)  # put back afterwards
    replay_agent.offer()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(folder, REPLAY) == 0, errors(folder)
    return folder


@pytest.fixture
def copied(unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(unbroken / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs/it")


def segments(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "runs" / "it" / "segments").iterdir()}


def needed(folder: Path) -> set[str]:
    """Return the sums of the segments that the kept checkpoints name."""
    kept = (folder / "runs" / "it" / "checkpoints").iterdir()
    return {segment.sha256 for path in kept for segment in load(path).agent.segments}


def test_buffer_fills_and_drops_its_oldest_segments(unbroken: Path) -> None:
    metrics, weights, _ = outcome(unbroken)
    steps = [row["update/replay_steps"] for row in metrics[1:]]
    assert steps[:3] == [40, 80, 120]
    assert max(steps) == 400
    assert min(steps[10:]) < 400
    assert len(weights["segments"]) >= 4


def test_folder_has_the_segments_that_checkpoints_need_and_no_others(unbroken: Path) -> None:
    assert segments(unbroken) == needed(unbroken)


@pytest.mark.parametrize(
    "trap",
    [
        pytest.param(Trap(WRITE_SEGMENTS, 6), id="before segments are written"),
        pytest.param(Trap("os:fsync", 45), id="while something is written"),
        pytest.param(Trap(DROP_SEGMENTS, 9), id="before segments are deleted"),
        pytest.param(Trap(DROP_SEGMENTS, 14), id="before segments are deleted at the end"),
    ],
)
def test_run_killed_at_a_known_point_equals_the_unbroken_one(
    unbroken: Path, tmp_path: Path, trap: Trap
) -> None:
    assert run(tmp_path, REPLAY, trap) == -signal.SIGKILL
    resume(tmp_path)
    assert outcome(tmp_path) == outcome(unbroken)
    assert segments(tmp_path) == segments(unbroken)


def killed_at_random(folder: Path, moments: int, unbroken: Path) -> None:
    longest = duration(folder / "timed", REPLAY)
    for broken in broken_runs(folder / "killed", REPLAY, moments=moments, longest=longest):
        assert outcome(broken) == outcome(unbroken)
        assert segments(broken) == segments(unbroken)


def test_run_killed_at_3_random_moments_equals_the_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    killed_at_random(tmp_path, 3, unbroken)


@pytest.mark.slow
def test_run_killed_at_20_random_moments_equals_the_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    killed_at_random(tmp_path, 20, unbroken)


def test_run_that_went_back_equals_the_unbroken_one(copied: Path, unbroken: Path, tmp_path: Path) -> None:
    assert main(["train", "--resume", f"{copied}/checkpoints/12"]) == 0
    assert outcome(tmp_path) == outcome(unbroken)
    assert segments(tmp_path) == segments(unbroken)


def test_going_back_deletes_the_segments_of_what_is_discarded(copied: Path, tmp_path: Path) -> None:
    before = segments(tmp_path)
    runs.resume(copied / "checkpoints" / "12", print)
    assert segments(tmp_path) == needed(tmp_path)
    assert segments(tmp_path) < before


def test_damaged_segment_is_one_sentence_and_the_checkpoint_before_is_used(
    unbroken: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, REPLAY, Trap("metarl.training.experiment:save", 8)) == -signal.SIGKILL
    newest = load(tmp_path / "runs/it/checkpoints/00000006").agent.segments[-1].sha256
    (tmp_path / f"runs/it/segments/{newest}.safetensors").write_bytes(b"")
    resume(tmp_path)
    said = output(tmp_path).splitlines()
    assert said[0] == (
        f"The checkpoint runs/it/checkpoints/00000006 is damaged (its segment {newest[:12]} is not what "
        "was saved). The one before it is tried."
    )
    assert outcome(tmp_path) == outcome(unbroken)


def test_evaluating_needs_no_segments(copied: Path, unbroken: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "segments")
    assert main(["evaluate", str(copied), "--tasks", "1"]) == 0
    assert (copied / "evaluations").is_dir()


def test_resuming_without_segments_is_refused_in_one_sentence_and_drops_nothing(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "segments").rename("lost")
    before = sorted(copied.rglob("*"))
    assert main([*RESUME, "--iterations", "15"]) == 2
    assert capsys.readouterr().err == (
        "metarl: The checkpoint runs/it/checkpoints/00000014 needs "
        f"{tmp_path}/runs/it/segments, which cannot be read (No such file or directory); put it back from "
        "where the run was copied.\n"
    )
    assert sorted(copied.rglob("*")) == before
    Path("lost").rename(copied / "segments")
    assert main([*RESUME, "--iterations", "15"]) == 0


def test_moved_run_goes_on(copied: Path, tmp_path: Path) -> None:
    copied.rename("elsewhere")
    assert main(["train", "--resume", "elsewhere", "--iterations", "15"]) == 0
    assert len(list(Path("elsewhere/segments").iterdir())) >= 4
