"""What an evaluation leaves for people, and how it looks on a terminal."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from metarl.cli.progress import Progress, clock, describe
from metarl.evaluation.record import Evaluation
from metarl.evaluation.statistics import Aggregates, Interval
from metarl.evaluation.summary import summarize
from metarl.reporting.comparison import ComparisonResult
from metarl.reporting.evaluation_files import write_evaluation
from metarl.reporting.table import Table, number, percent, with_interval
from metarl.reporting.tables import comparison_table, evaluation_table, family_table, seed_table
from metarl.text import count
from metarl.types import Task

TASKS = tuple(Task(family, (float(i),), f"{family}/{i}") for family in ("push", "reach") for i in range(2))


def evaluation(scale: float = 1.0, *, success: bool = True) -> Evaluation:
    """Return four tasks, of two families, with two episodes before and after one step: -7 ... 8."""
    returns = scale * np.arange(-7.0, 9.0).reshape(4, 2, 2)
    return Evaluation(TASKS, returns, returns >= 0 if success else None, env_steps=100)


def shown(table: Table, columns: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=columns)
    console.print(table)
    written = console.file
    assert isinstance(written, io.StringIO)
    return [line.rstrip() for line in written.getvalue().splitlines()]


def write(folder: Path, measured: Evaluation) -> None:
    summary = summarize(measured, np.random.default_rng(0))
    write_evaluation(folder, "test", measured, summary, {"seed": 3}, "title")


def test_csv_has_a_row_for_each_task_and_number_of_steps(tmp_path: Path) -> None:
    write(tmp_path, evaluation())
    with (tmp_path / "test.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [
        *("task", "family", "adaptation_steps", "episodes", "return_mean", "return_std", "success_rate"),
    ]
    assert len(rows) == 1 + 4 * 2
    assert rows[1] == ["push/0", "push", "0", "2", "-6.5", "0.5", "0.0"]
    assert rows[4] == ["push/1", "push", "1", "2", "-0.5", "0.5", "0.5"]
    assert rows[8] == ["reach/1", "reach", "1", "2", "7.5", "0.5", "1.0"]


def test_csv_leaves_success_empty_where_the_suite_does_not_say(tmp_path: Path) -> None:
    write(tmp_path, evaluation(success=False))
    assert (tmp_path / "test.csv").read_text().splitlines()[1] == "push/0,push,0,2,-6.5,0.5,"


def test_json_has_every_episode_and_what_it_is_about(tmp_path: Path) -> None:
    write(tmp_path, evaluation())
    content = json.loads((tmp_path / "test.json").read_text())
    assert content["returns"] == evaluation().returns.tolist()
    assert content["seed"] == 3
    assert content["summary"]["test/return/step_0"] == -0.5
    assert content["summary"]["test/success/step_1"] == 0.625
    assert [task["id"] for task in content["tasks"]] == ["push/0", "push/1", "reach/0", "reach/1"]


@pytest.mark.usefixtures("drawn_figures")
def test_figure_is_written(tmp_path: Path) -> None:
    write(tmp_path, evaluation())
    assert (tmp_path / "test.png").read_bytes().startswith(b"\x89PNG")


def test_table_has_a_row_for_each_number_of_steps() -> None:
    measured = evaluation()
    lines = shown(evaluation_table(measured, summarize(measured, np.random.default_rng(0)), "held out"))
    assert lines[0] == "held out"
    assert lines[1].split() == ["steps", "return", "gain", "success", "%", "gain", "%"]
    assert lines[3].split()[:2] == ["0", "-0.5"]
    assert lines[4].split()[:2] == ["1", "1.5"]
    # every task gained 2, so that the gain has no interval
    assert lines[4].split("]")[1].split()[:2] == ["2.0", "62"]
    assert lines[5] == "mean over 4 tasks x 2 episodes [95 % interval over tasks]"


def test_table_without_success_has_no_such_column() -> None:
    measured = evaluation(success=False)
    lines = shown(evaluation_table(measured, summarize(measured, np.random.default_rng(0)), "held out"))
    assert lines[1].split() == ["steps", "return", "gain"]


def test_table_of_large_returns_fits_into_80_columns() -> None:
    measured = evaluation(scale=-600.0)
    lines = shown(evaluation_table(measured, summarize(measured, np.random.default_rng(0)), "held out"))
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80


def test_families_are_shown_before_and_after_adapting() -> None:
    lines = shown(family_table(evaluation()))
    assert (lines[0], lines[-1]) == ("by family", "after 1 adaptation step")
    assert lines[4].split() == ["push", "25", "0", "25", "2.0", "-4.5", "-2.5"]
    assert lines[5].split() == ["reach", "0", "100", "100", "2.0", "3.5", "5.5"]


def test_seeds_are_shown_before_and_after_adapting() -> None:
    lines = shown(seed_table({"seed 4": evaluation(), "seed 5": evaluation(scale=2.0)}))
    assert lines[0] == "by seed"
    assert max(map(len, lines)) <= 80
    assert lines[4].split()[:2] == ["seed", "4"]
    assert lines[4].split()[-3:] == ["2.0", "-0.5", "1.5"]
    assert lines[5].split()[:2] == ["seed", "5"]


def test_comparison_shows_the_number_of_every_seed() -> None:
    one = Interval(0.5, 0.2, 0.8)
    result = ComparisonResult(
        ours=Aggregates(one, one, one),
        theirs=Aggregates(one, one, one),
        our_seeds=tuple(0.01 * seed for seed in range(60)),
        their_seeds=(0.25, 0.75),
        difference=Interval(0.1, -0.2, 0.4),
        improvement=one,
    )
    lines = shown(comparison_table("success", [result]))
    assert "A - B: 10 [-20, 40]" in lines
    assert "B by seed: 25, 75" in lines
    start = next(i for i, line in enumerate(lines) if line.startswith("A by seed: 0, 1, 2, 3"))
    assert " ".join(lines[start : lines.index("B by seed: 25, 75")]).endswith("57, 58, 59")
    assert max(map(len, lines)) <= 80


def test_numbers_are_short() -> None:
    assert with_interval(Interval(-12.345, -20.0, 1.0), number) == "-12.3 [-20.0, 1.0]"
    assert with_interval(Interval(4321.5, 999.9, 5000.0), number) == "4322 [999.9, 5000]"
    assert with_interval(Interval(0.125, 0.0, 1.0), percent) == "12 [0, 100]"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03")])
def test_durations_are_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_iteration_is_described_before_and_after_adapting() -> None:
    metrics = {
        "train/return/step_0": -40.04,
        "train/return/step_1": -10.0,
        "update/kl": 0.01,
        "train/success/step_0": 0.25,
        "train/success/step_1": 1.0,
        "test/return/step_0": -39.0,
    }
    assert describe(metrics) == "return -40.0 -> -10.0, success 25% -> 100%, held-out return -39.0"


def lines_of(
    monkeypatch: pytest.MonkeyPatch, *, steps: int, share: float, elapsed: float, last: str = "train"
) -> list[str]:
    """Return what is printed elsewhere than on a terminal when so many steps were made in that time."""
    now = [100.0]
    monkeypatch.setattr("metarl.cli.progress.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=80)
    with Progress(console, "starting", round(steps / share), iterations=9) as observer:
        for step in range(steps):
            observer.on_step(200)
            now[0] += elapsed / steps
            if step == 0:
                observer.on_iteration(1, {"train/return/step_0": -1.0, "env_steps": 200})
        observer.on_iteration(2, {f"{last}/return/step_0": -2.0, "env_steps": 200 * steps})
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().splitlines()


def test_line_tells_pace_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, steps=100, share=0.25, elapsed=40.0)[1] == (
        "iteration 2 of 9: return -2.0; 20,000 env steps, 500 steps/s, 25% done, 0:02:00 left"
    )


def test_lines_come_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(lines_of(monkeypatch, steps=100, share=0.25, elapsed=15.0)) == 1


def test_every_held_out_result_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(monkeypatch, steps=100, share=0.25, elapsed=15.0, last="test")
    assert lines[1].startswith("iteration 2 of 9: held-out return -2.0")


def test_filming_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("metarl.cli.progress.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=80)
    with Progress(console, "filming", 100) as observer:
        for _ in range(100):
            observer.on_step(2)
            now[0] += 0.5
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "filming: 4 steps/s, 41% done, 0:00:29 left",
        "filming: 4 steps/s, 81% done, 0:00:09 left",
    ]


def test_tables_of_an_agent_with_a_memory_speak_of_episodes() -> None:
    remembering = replace(evaluation(), trial="sequential")
    steps = remembering.adaptation_steps
    for table in (family_table(remembering), seed_table({"seed 4": remembering})):
        assert table.caption == f"after {count(steps, 'episode')}"
