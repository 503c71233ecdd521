"""``metarl explain``: what it says, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.cli.main import main
from metarl.reporting import explanation_files
from metarl.reporting.explanation_tables import explanation_tables
from metarl.storage.run_folder import CHECKPOINTS
from metarl.training.runs import open_trained
from support.programs import train_point

Said = Callable[..., tuple[int, str, str]]
FEW = ("--tasks", "6", "--adaptation-steps", "1")
STEM = "iteration1-seed0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_point(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a run's folder that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "it")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["explain", *map(str, arguments)])
        return code, *capsys.readouterr()

    return command


@pytest.mark.usefixtures("drawn_figures")
def test_tables_and_files_have_the_same_numbers(said: Said, run: Path) -> None:
    code, out, err = said(run, *FEW)
    assert (code, err) == (0, "")
    folder = run / "explanations"
    endings = (".json", ".csv", "-layers.png", "-representation.png", "-map.png", "-effects.png")
    assert {path.name for path in folder.iterdir()} == {STEM + ending for ending in endings}
    found = json.loads((folder / f"{STEM}.json").read_text())
    for table in explanation_tables(found):
        assert table.title in out
        assert all(row.name in out for row in table.rows)
    assert found["variants"][:2] == ["none", "all"]
    assert len(found["effects"]["tasks"]) == 6
    assert len(found["task_map"]["points"]) == 6
    shares = [np.array(each["tasks"]["share"]) for each in found["changes"].values()]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1)
    returns = np.mean(found["effects"]["returns"], axis=2)
    assert found["gains"]["all"]["return"][0] == pytest.approx(float((returns[:, 1] - returns[:, 0]).mean()))
    with (folder / f"{STEM}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scored = [float(row["value"]) for row in rows if row["quantity"] == "return" and row["part"] == "all"]
    assert scored == pytest.approx(returns[:, 1].tolist())
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width == 1200


def test_same_seed_is_the_same_numbers_and_nothing_is_overwritten(
    said: Said, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation_files, "draw", lambda *_: {})
    assert said(run, *FEW)[0] == 0
    assert said(run, *FEW, "--output", tmp_path / "again")[0] == 0
    kept = (run / "explanations" / f"{STEM}.json").read_bytes()
    assert (tmp_path / "again" / f"{STEM}.json").read_bytes() == kept
    code, _, err = said(run, *FEW)
    assert code == 2
    assert "exists already; choose another folder with --output, or another --seed." in err
    assert (run / "explanations" / f"{STEM}.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "point"), "Explaining compares tasks, so two or more are needed, but it is 1 task."),
        (("--task", "pont"), "There is no held-out task of point called 'pont'; did you mean 'point'?"),
    ],
)
def test_tasks_that_will_not_do_are_one_sentence(
    said: Said, trained: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert said(trained, *arguments) == (2, "", f"metarl: {sentence}\n")
    assert not (trained / "explanations").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tasks", "1"), "tasks must be 2 or more, or 0 for every one, but it is 1."),
        (("--tasks", "2", "--task", "point"), "Either --tasks or --task may be given, but it is both."),
        (("--adaptation-steps", "-1"), "Expected adaptation_steps in [0, 100], got -1."),
        (("--episodes", "-1"), "Expected episodes in [0, 10000], got -1."),
        (("--seed", "-1"), "Expected seed in [0, 4294967296), got -1."),
        (("--workers", "-1"), "Expected workers in [0, 1024], got -1."),
    ],
)
def test_options_of_no_use_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main(["explain", "runs/it", *arguments])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_folder_that_is_no_run_or_has_no_checkpoint_is_one_sentence(
    said: Said, run: Path, tmp_path: Path
) -> None:
    assert said(tmp_path / "nowhere") == (2, "", f"metarl: There is no folder {tmp_path / 'nowhere'}.\n")
    shutil.rmtree(run / CHECKPOINTS)
    begun = (
        f"metarl: The run {run} has no checkpoint: it was stopped before its first, or copied without them.\n"
    )
    assert said(run) == (2, "", begun)
    (run / "config.json").unlink()
    assert (
        said(run)[2] == f"metarl: {run} is neither a run nor a checkpoint: it has no folder 'checkpoints'.\n"
    )


def test_agent_that_does_not_show_what_adapts_is_one_sentence(
    said: Said, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = type(open_trained(trained, lambda _: None).agent.initial_actor(1))
    monkeypatch.delattr(actor, "activations")
    code, _, err = said(trained)
    assert code == 2
    assert err == (
        "metarl: Expected an agent that adapts by changing its policy's parameters, as maml-trpo does, and "
        "shows them, got maml-trpo, which adapts without changing them or hides them.\n"
    )
