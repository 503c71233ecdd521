"""Seeds put together: every seed's own numbers beside those of all."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metarl.config import SamplingConfig, to_json
from metarl.errors import MetarlError
from metarl.evaluation.record import Evaluation
from metarl.plugins import registry
from metarl.reporting.aggregate import combine
from metarl.reporting.csv_files import average
from metarl.types import Task

TASKS = tuple(Task("near" if i < 2 else "far", (float(i), 0.0), f"test/{i}") for i in range(4))


def run(root: Path, seed: int, *, threads: int = 0, workers: int = 0, meta_batch_size: int = 20) -> Path:
    """Write a finished run that returns its seed plus 0, 1, 2, 3 by task, and 10 more after a step."""
    folder = root / f"it-seed{seed}"
    folder.mkdir()
    returns = seed + np.arange(4.0)[:, None, None] + np.array([[[0.0], [10.0]]])
    evaluation = Evaluation(TASKS, returns, returns > 11, 0)
    (folder / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
    sampling = SamplingConfig(workers=workers, meta_batch_size=meta_batch_size)
    preset = registry.configure("point", "maml-trpo")
    config = replace(preset, seed=seed, threads=threads, sampling=sampling)
    (folder / "config.json").write_text(json.dumps(to_json(config)))
    row = {"iteration": 1, "env_steps": 8, "train/return/step_0": 1.0, "train/return/step_1": 2.0}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    root = tmp_path_factory.mktemp("seeds")
    found = combine([run(root, seed) for seed in (1, 2, 6)], root / "out", "three seeds")
    return {
        path.name: list(csv.DictReader(path.read_text().splitlines()))
        for path in found
        if path.suffix == ".csv"
    }


def test_every_seed_has_its_own_rows(files: dict[str, list[dict[str, str]]]) -> None:
    after = [row for row in files["adaptation.csv"] if row["adaptation_steps"] == "1"]
    assert [row["seeds"] for row in after] == ["seed 1", "seed 2", "seed 6", "all"]
    assert [float(row["return"]) for row in after] == [12.5, 13.5, 17.5, 14.5]


def test_every_seed_has_its_own_rows_in_every_family(files: dict[str, list[dict[str, str]]]) -> None:
    after = [row for row in files["families.csv"] if row["adaptation_steps"] == "1"]
    assert [row["family"] for row in after] == ["far"] * 4 + ["near"] * 4
    assert [row["seeds"] for row in after[:4]] == ["seed 1", "seed 2", "seed 6", "all"]
    assert [float(row["return"]) for row in after[4:]] == [11.5, 12.5, 16.5, 13.5]


def test_interval_of_three_seeds_is_wider_than_they_are_apart(
    files: dict[str, list[dict[str, str]]],
) -> None:
    everything = files["adaptation.csv"][-1]
    # The seeds' means have a standard error of 1.5275, times t(2) = 4.3027 is 6.57, from 12.5 to 17.5 is 5.
    half = float(everything["return_high"]) - float(everything["return"])
    assert half > 6.57
    assert all(0 <= float(everything[f"success{end}"]) <= 1 for end in ("_low", "_high"))


def test_runs_may_differ_in_what_their_results_do_not_depend_on(tmp_path: Path) -> None:
    folders = [run(tmp_path, 1), run(tmp_path, 2, threads=2), run(tmp_path, 3, threads=1, workers=4)]
    files = combine(folders, tmp_path / "out", "three machines")
    content = json.loads(files[0].read_text())
    assert content["seeds"] == [1, 2, 3]
    assert "threads" not in content
    assert content["sampling"] == {
        "meta_batch_size": 20,
        "episodes": 10,
        "training_tasks": 0,
        "engine": "auto",
    }


def test_seeds_that_patience_ended_elsewhere_are_combined(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed) for seed in (1, 2)]
    for folder, last in zip(folders, (2, 3), strict=True):
        config = json.loads((folder / "config.json").read_text())
        config |= {"iterations": last, "evaluation": {**config["evaluation"], "patience": 2}}
        (folder / "config.json").write_text(json.dumps(config))
        rows = [
            {"iteration": number, "env_steps": 8 * number, "train/return/step_0": 1.0}
            | {"test/return/step_0": float(number == last - 2)}
            for number in range(last + 1)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = combine(folders, tmp_path / "out", "each as long as it got better")
    assert json.loads(files[0].read_text())["iterations"] == 3
    # of a seed that was better at its end, nothing ended the training early
    text = (folders[0] / "metrics.jsonl").read_text().replace('"test/return/step_0": 0.0}\n', "}\n")
    (folders[0] / "metrics.jsonl").write_text(text.replace(", }", "}"))
    with pytest.raises(MetarlError, match="differ in more than their seed, in iterations: 3 and 2"):
        combine(folders, tmp_path / "out", "two lengths")


def test_weights_that_a_result_lacks_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = [run(tmp_path, seed) for seed in (1, 2)]
    combine(folders, tmp_path / "out", "no checkpoints")
    said = f"The result keeps no weights of {folders[0]} and {folders[1]}: no checkpoint there is whole."
    assert [record.message for record in caplog.records] == [said]


def test_files_of_evaluations_are_combined_without_a_training_curve(tmp_path: Path) -> None:
    files = []
    for seed in (1, 2):
        folder = run(tmp_path, seed)
        recorded = json.loads((folder / "evaluation.json").read_text())
        recorded |= {"adaptation_steps": [0, 1], "config": json.loads((folder / "config.json").read_text())}
        files.append(folder / "horizon500.json")
        files[-1].write_text(json.dumps(recorded))
    found = {path.name for path in combine(files, tmp_path / "out", "another horizon")}
    assert {"settings.json", "adaptation.csv", "families.csv", "adaptation.png"} < found
    assert not found & {"config.json", "curve.csv", "learning_curve.png", "measured.json"}
    rows = list(csv.DictReader((tmp_path / "out" / "adaptation.csv").read_text().splitlines()))
    assert [float(row["return"]) for row in rows if row["seeds"] == "all"] == [3.0, 13.0]
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["seeds"] == [1, 2]


def test_runs_that_differ_in_more_than_their_seed_are_refused(tmp_path: Path) -> None:
    folders = [run(tmp_path, 1), run(tmp_path, 2, meta_batch_size=10)]
    said = r"it-seed2 and .*it-seed1 differ in more than their seed, in sampling\.meta_batch_size: 10 and \d+"
    with pytest.raises(MetarlError, match=said):
        combine(folders, tmp_path / "out", "two experiments")


def test_runs_may_differ_in_how_often_they_were_saved_and_measured(tmp_path: Path) -> None:
    folders = [run(tmp_path, 1), run(tmp_path, 2)]
    path = folders[1] / "config.json"
    config = json.loads(path.read_text())
    config["checkpoint"]["every"] += 4
    config["evaluation"]["every"] += 4
    path.write_text(json.dumps(config))
    assert combine(folders, tmp_path / "out", "saved less often")
    # where too many measurements without progress end a run, how often counts
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())
        config["evaluation"]["patience"] = 3
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MetarlError, match=r"differ in more than their seed, in evaluation\.every: "):
        combine(folders, tmp_path / "stopped", "measured less often")


def test_a_seed_named_twice_is_refused(tmp_path: Path) -> None:
    first, second = run(tmp_path, 1), run(tmp_path, 2)
    said = r"different seeds, got seed 1 in .*it-seed1 and .*it-seed1\.$"
    with pytest.raises(MetarlError, match=said):
        combine([first, second, first], tmp_path / "out", "one run twice")
    with pytest.raises(MetarlError, match=r"Expected runs, or files of metarl evaluate, got none"):
        combine([], tmp_path / "out", "nothing")
    assert not (tmp_path / "out").exists()


def test_curve_is_averaged_by_iteration_where_a_run_was_not_measured_before_training() -> None:
    measured = [{"iteration": n, "train/return/step_0": 10.0 * n} for n in (0, 1, 2)]
    unmeasured = [{"iteration": n, "train/return/step_0": 20.0 * n} for n in (1, 2, 3)]
    rows = average([measured, unmeasured])
    assert [(row["iteration"], row["train/return/step_0"]) for row in rows] == [(1, 15.0), (2, 30.0)]
    assert rows[0]["train/return/step_0/low"] == 10.0


def test_run_with_a_gap_in_its_metrics_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folders = [run(tmp_path, 1), run(tmp_path, 2)]
    path = folders[1] / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "iteration": 80}))
    said = (
        r"Expected metrics of 80 iterations in .*it-seed2, got none of 79 iterations, from 2 on; .* give its "
        r"evaluation\.json\."
    )
    with pytest.raises(MetarlError, match=said):
        combine(folders, tmp_path / "out", "cut short")
    assert not (tmp_path / "out").exists()
