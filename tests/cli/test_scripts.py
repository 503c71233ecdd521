"""The short programs that a user copies."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metarl.training import runs
from support.programs import point_config


def program(root: Path, name: str) -> ModuleType:
    """Import a program as one imports a copy of it: by its path."""
    spec = importlib.util.spec_from_file_location(f"copy_of_{name}", root / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def test_train_and_evaluate_show_how_the_agent_adapts(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(root, "train").main(point_config())
    assert (tmp_path / "runs" / "it" / "checkpoints" / "00000003").is_dir()
    assert "success %" in capsys.readouterr().out
    program(root, "evaluate").main(Path("runs/it"))
    out = capsys.readouterr().out
    assert "success %" in out
    assert "mean over 40 tasks x 10 episodes" in out


def test_evaluate_is_run_with_a_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.start(point_config(), Path("runs")).run()
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "runs/it"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "scripts" / "evaluate.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "mean over 40 tasks x 10 episodes" in capsys.readouterr().out


def test_train_trains_on_reach(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Enough(Exception):
        """Ends the program where the training would begin."""

    def start(config: object, root: Path) -> None:
        started.append((config, root))
        raise Enough

    monkeypatch.setattr(runs, "start", start)
    with pytest.raises(Enough):
        runpy.run_path(str(root / "scripts" / "train.py"), run_name="__main__")
    ((config, folder),) = started
    assert (config.suite.label, folder) == ("ml1-reach-v3", Path("runs"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("evaluate", []),
        ("combine_seeds", ["--output", "out", "--title", "Nothing"]),
        ("compare_settings", ["--output", "out", "--title", "Nothing", "--labels", "one"]),
    ],
)
def test_a_folder_that_is_not_there_is_told_in_a_sentence(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "runs/nowhere", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "scripts" / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "nowhere" in said.err
    assert not said.out
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["train", "evaluate", "combine_seeds", "compare_settings"])
def test_programs_are_short(root: Path, name: str) -> None:
    assert len((root / "scripts" / f"{name}.py").read_text().splitlines()) <= 35
