"""A run that is trained under one physics and used under another says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mujoco
import pytest

from metarl.cli.main import main
from metarl.evaluation import physics
from metarl.storage.checkpoints import load_newest
from support.programs import POINT

SENTENCE = f"The version of MuJoCo differs: {mujoco.__version__} in training, 9.9.9 here."
MEASURE = ["--tasks", "2", "--episodes", "1", "--adaptation-episodes", "1", "--adaptation-steps", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train an agent under the MuJoCo that there is; return the folder with ``runs``."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*POINT, "--iterations", "2"]) == 0
    return folder


@pytest.fixture(autouse=True)
def under_another_mujoco(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on a copy of the run, under what says it is MuJoCo 9.9.9."""
    shutil.copytree(folder / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(physics, "_version", lambda name: "9.9.9")


def test_run_names_its_physics() -> None:
    checkpoint = load_newest(Path("runs/it/checkpoints"), lambda _: None)
    assert checkpoint.physics == {"engine": "auto", "mujoco": mujoco.__version__}


def test_evaluate_says_it_in_table_notice_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "runs/it", *MEASURE, "--output", "out"]) == 0
    said = capsys.readouterr().out
    assert f"MuJoCo 9.9.9, trained under MuJoCo {mujoco.__version__}" in " ".join(said.split())
    assert f"Notice: {SENTENCE}" in " ".join(said.split())
    [file] = Path("out").glob("*.json")
    content = json.loads(file.read_text())
    assert content["physics"]["evaluated"]["mujoco"] == "9.9.9"
    assert SENTENCE in content["notices"]


def test_compare_and_report_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("runs/it", "runs/other")
    for run in ("runs/it", "runs/other"):
        path = Path(run) / "evaluation.json"
        content = json.loads(path.read_text())
        content["physics"]["evaluated"]["mujoco"] = "9.9.9"
        path.write_text(json.dumps(content))
    assert main(["compare", "runs/it", "runs/other"]) == 0
    assert capsys.readouterr().out.count(SENTENCE) == 2
    assert main(["report", "runs/it", "--no-videos", "--output", "report.html"]) == 0
    assert SENTENCE in Path("report.html").read_text()


def test_resuming_under_another_mujoco_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "runs/it", "--iterations", "3"]) == 0
    assert f"{SENTENCE} The rest of the run is not" in " ".join(capsys.readouterr().out.split())
