"""Several agents beside each other: the order, the numbers, the files, and what does not belong together."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metarl.cli.main import main
from metarl.config import to_json
from metarl.evaluation.record import Evaluation
from metarl.plugins import registry
from metarl.reporting.agent_comparison import draw_agents, labels_of, summarize_run, write_agents
from metarl.reporting.comparison import read_evaluated
from metarl.reporting.figures.training_curves import write_curves
from metarl.types import Task

TASKS = tuple(Task("point", (float(i), 0.0), f"test/{i}") for i in range(4))


def sweep(root: Path, agent: str, *values: float, suite: str = "point") -> Path:
    """Write a sweep: each seed returns its value plus 0, 1, 2, 3 by task, and 10 more after a step."""
    names = []
    for seed, value in enumerate(values):
        run = root / f"{agent}-{seed}"
        run.mkdir(parents=True)
        returns = value + np.arange(4.0)[:, None, None] + np.array([[[0.0], [10.0]]])
        evaluation = Evaluation(TASKS, returns, returns > 11, 0)
        (run / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
        (run / "config.json").write_text(json.dumps(to_json(registry.configure(suite, agent))))
        row = {
            "iteration": 1,
            "env_steps": 8,
            "train/return/step_0": value,
            "update/kl": 0.1,
            "time/sampling": 1.0,
        }
        (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        names.append(run.name)
    folder = root / f"{agent}-sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"finished": names}))
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((1, 1), "Means over 1 seed and all held-out tasks; bars: 95 % intervals over tasks."),
        ((1, 2, 3), "Means over 1 to 3 seeds and all held-out tasks; bars: 95 % intervals over seeds and"),
    ],
)
def test_figure_of_agents_says_what_its_bars_are_over(
    tmp_path: Path, seeds: tuple[int, ...], said: str
) -> None:
    names = ("lvc", "maml-trpo", "promp")
    runs = [
        read_evaluated(sweep(tmp_path, name, *map(float, range(number))))
        for name, number in zip(names, seeds, strict=False)
    ]
    figure = draw_agents([summarize_run(run.agent, run) for run in runs], "agents")
    assert said in " ".join(" ".join(text.get_text() for text in figure.texts).split())


def test_agents_stand_by_their_return_after_adapting(tmp_path: Path) -> None:
    sweeps = [
        sweep(tmp_path, "lvc", 0.0, 2.0),
        sweep(tmp_path, "maml-trpo", 4.0),
        sweep(tmp_path, "promp", 3.0),
    ]
    files = write_agents([read_evaluated(one) for one in sweeps], tmp_path, "three agents")
    rows = table(files[0])
    assert [row["agent"] for row in rows] == ["maml-trpo", "promp", "lvc"]
    assert [row["seeds"] for row in rows] == ["1", "1", "2"]


def test_numbers_are_means_over_seeds_and_tasks_with_their_intervals(tmp_path: Path) -> None:
    sweeps = [sweep(tmp_path, "lvc", 0.0, 2.0), sweep(tmp_path, "promp", 3.0)]
    lvc = table(write_agents([read_evaluated(one) for one in sweeps], tmp_path, "two agents")[0])[1]
    assert float(lvc["return_before"]) == pytest.approx(1.0 + 1.5)  # the mean of 0, 2 and of 0, 1, 2, 3
    assert float(lvc["return_after"]) == pytest.approx(12.5)
    assert float(lvc["return_gain"]) == pytest.approx(10.0)
    assert float(lvc["return_after_low"]) < 12.5 < float(lvc["return_after_high"])
    assert float(lvc["return_worse"]) == 0.0
    assert lvc["return_after_by_seed"] == "11.5 13.5"
    assert float(lvc["success_after"]) == pytest.approx(
        (2 + 4) / 8
    )  # above 11: two tasks of a seed, all of the other


def test_curves_are_those_of_every_agent_without_the_clock(tmp_path: Path) -> None:
    sweeps = [sweep(tmp_path, "lvc", 0.0, 2.0), sweep(tmp_path, "promp", 3.0)]
    rows = table(write_curves(sweeps, ["lvc", "promp"], tmp_path / "out", "two agents")[0])
    assert [row["run"] for row in rows] == ["lvc", "promp"]
    assert [float(rows[0][f"train/return/step_0{end}"]) for end in ("", "/low", "/high")] == [1.0, 0.0, 2.0]
    assert {"iteration", "env_steps"} < set(rows[0])
    assert not [name for name in rows[0] if name.startswith(("time/", "update/"))]


@pytest.mark.usefixtures("drawn_figures")
def test_figure_is_a_picture(tmp_path: Path) -> None:
    runs = [read_evaluated(sweep(tmp_path, "lvc", 0.0)), read_evaluated(sweep(tmp_path, "promp", 3.0))]
    assert write_agents(runs, tmp_path, "two")[1].read_bytes().startswith(b"\x89PNG")


def test_agents_of_one_name_are_labelled_by_their_folders(tmp_path: Path) -> None:
    runs = [read_evaluated(sweep(tmp_path / place, "lvc", 0.0)) for place in "ab"]
    assert labels_of([runs[0], replace(runs[1], agent="promp")]) == ["lvc", "promp"]
    assert labels_of([runs[0], replace(runs[1], name="other")]) == ["lvc-sweep", "other"]
    assert labels_of(runs) == ["A: lvc-sweep", "B: lvc-sweep"]


def test_compare_of_three_writes_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweeps = [sweep(tmp_path, agent, value) for agent, value in (("lvc", 0.0), ("promp", 3.0), ("anil", 9.0))]
    assert main(["compare", *map(str, sweeps), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "C: anil-sweep, 1 seed" in out
    assert "A - B: -3.0" in out
    assert "A - C: -9.0" in out
    names = {f"{stem}.{ending}" for stem in ("profile", "agents", "curves") for ending in ("csv", "png")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.json",
        "configs",
        "measured.json",
        *names,
    }
    pairs = json.loads((tmp_path / "out" / "comparison.json").read_text())["pairs"]
    assert [(pair["ours"], pair["theirs"]) for pair in pairs] == [
        ("lvc-sweep", "promp-sweep"),
        ("lvc-sweep", "anil-sweep"),
    ]


def test_sweeps_of_different_suites_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps = [sweep(tmp_path, "lvc", 0.0), sweep(tmp_path, "promp", 3.0, suite="ml1")]
    assert main(["compare", *map(str, sweeps), "--output", str(tmp_path / "out")]) == 2
    assert "cannot be compared: they differ in the suite, point and " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
