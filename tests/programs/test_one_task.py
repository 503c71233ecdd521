"""The program that trains RL² on single tasks of Meta-World."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import pytest

from metarl.errors import MetarlError


def test_each_task_is_trained_once_and_has_its_rows(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(root)
    program = importlib.import_module("benchmarks.learning.one_task")
    small = (
        "--horizon 5 --sampling.meta-batch-size 2 --test-goals 2 --evaluation.tasks 2 --evaluation.episodes 1"
    )
    monkeypatch.setattr(program, "ITERATIONS", {"reach-v3": 1, "push-v3": 2})
    monkeypatch.setattr(program, "SUITE", tuple(f"{small} --training-goals 2".split()))
    monkeypatch.chdir(tmp_path)
    program.main(Path("out"), tasks=("reach-v3", "push-v3"))
    with Path("out", "success.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["task"], row["iterations"]) for row in rows} == {("reach-v3", "1"), ("push-v3", "2")}
    assert {row["actions"] for row in rows} == {"", "idle", "random"}
    assert Path("out", "curves.png").stat().st_size > 0
    capsys.readouterr()
    # what is finished is not trained again
    program.main(Path("again"), tasks=("push-v3",))
    assert "Training" not in capsys.readouterr().out
    with pytest.raises(MetarlError, match="Expected tasks among reach-v3, push-v3"):
        program.main(Path("none"), tasks=("reach",))
