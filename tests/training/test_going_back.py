"""``metarl train --resume RUN/checkpoints/N`` goes back to a checkpoint and trains on from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metarl.cli.main import main
from metarl.training import runs
from support.programs import POINT, outcome


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once; return the folder with its ``runs``."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*POINT, "--iterations", "4", "--checkpoint.every", "1"]) == 0
    return folder


@pytest.fixture
def run(unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the run, by its path from the folder that is the current one."""
    shutil.copytree(unbroken / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs/it")


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def iterations(run: Path) -> list[int]:
    rows = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["iteration"] for row in rows]


def test_run_that_went_back_equals_the_unbroken_one(
    run: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", f"{run}/checkpoints/00000002"]) == 0
    said = capsys.readouterr().out
    assert "(going on after 2)" in said
    assert said.splitlines()[0].endswith("Everything goes to runs/it.")
    assert outcome(tmp_path) == outcome(unbroken)


def test_going_back_drops_later_checkpoints_and_metrics(run: Path) -> None:
    runs.resume(run / "checkpoints" / "2", print, iterations=3).run()
    assert checkpoints(run) == ["00000002", "00000003"]
    assert iterations(run) == [0, 1, 2, 3]


def test_rows_that_a_copy_lacks_are_told(run: Path) -> None:
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    said: list[str] = []
    runs.resume(run, said.append)
    assert not said
    (run / "metrics.jsonl").write_text("".join(rows[:3]) + rows[3][:9])  # cut short, as by a copy
    runs.resume(run, said.append)
    assert said == [
        "The metrics in runs/it lack 2 iterations, from 3 on: was the run copied while it trained? Its "
        "curve has a gap."
    ]
    (run / "metrics.jsonl").write_text("".join((*rows[:2], *rows[3:])))
    runs.resume(run, said.append)
    assert "lack 1 iteration, from 2 on:" in said[1]
    (run / "metrics.jsonl").unlink()
    runs.resume(run, said.append)
    assert "lack 4 iterations, from 1 on:" in said[2]


def test_later_checkpoints_are_gone_before_the_first_new_one(run: Path) -> None:
    # a kill in between must not leave a later checkpoint without its metrics
    runs.resume(run / "checkpoints" / "3", print)
    assert checkpoints(run) == ["00000002", "00000003"]


def test_checkpoint_is_found_from_within_its_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "checkpoints" / "00000003")
    assert runs.resume(Path(), print).iteration == 3


def test_run_in_a_folder_called_checkpoints_is_a_run(run: Path) -> None:
    Path("checkpoints").mkdir()
    run.rename("checkpoints/7")
    assert runs.resume(Path("checkpoints/7"), print).iteration == 4


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "runs/it/checkpoints/9",
            "There is no checkpoint runs/it/checkpoints/9; there are: 00000002, 00000003, 00000004.",
        ),
        (
            "runs/it/checkpoints/latest",
            "There is no checkpoint runs/it/checkpoints/latest; there are: 00000002, 00000003, 00000004.",
        ),
        (
            "runs/it/checkpoints/00000003/state.json",
            "Expected the folder of a run, got the file runs/it/checkpoints/00000003/state.json.",
        ),
        ("runs/other/checkpoints/3", "There is no run runs/other."),
        ("alone/3", "alone/3 is no run: it has no config.json."),
    ],
)
def test_wrong_path_gets_one_sentence_and_changes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str], path: str, sentence: str
) -> None:
    shutil.copytree(run / "checkpoints" / "00000003", "alone/3")
    assert main(["train", "--resume", path]) == 2
    assert capsys.readouterr().err == f"metarl: {sentence}\n"
    assert checkpoints(run) == ["00000002", "00000003", "00000004"]


def test_folder_of_all_checkpoints_is_refused_with_those_that_there_are(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["train", "--resume"], ["evaluate"]):
        assert main([*command, f"{run}/checkpoints"]) == 2
        assert capsys.readouterr().err == (
            "metarl: Expected a run or a checkpoint, got the folder of all checkpoints, runs/it/checkpoints; "
            f"name the run, {tmp_path / run}, or one of: 00000002, 00000003, 00000004.\n"
        )


def test_checkpoint_beyond_the_last_iteration_is_refused_and_nothing_is_dropped(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", f"{run}/checkpoints/3", "--iterations", "2"]) == 2
    assert "it is already at iteration 3" in capsys.readouterr().err
    assert checkpoints(run) == ["00000002", "00000003", "00000004"]


def test_damaged_checkpoint_is_refused_and_not_the_one_before_taken(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "00000003" / "state.json").write_text("{}")
    assert main(["train", "--resume", f"{run}/checkpoints/3"]) == 2
    assert "00000003 is damaged" in capsys.readouterr().err
    assert checkpoints(run) == ["00000002", "00000003", "00000004"]


def test_evaluate_takes_a_checkpoint_by_its_number(run: Path) -> None:
    assert main(["evaluate", f"{run}/checkpoints/3", "--tasks", "1"]) == 0
    assert (run / "evaluations" / "iteration3-seed0.json").is_file()
