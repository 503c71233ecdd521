"""Training curves of several runs beside each other: windows, files, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from metarl.errors import MetarlError
from metarl.reporting.figures.style import save
from metarl.reporting.figures.training_curves import draw_curves, read_curve, windowed, write_curves
from metarl.storage.metrics import Row


def row(steps: int, before: float, after: float) -> Row:
    return {"env_steps": steps, "train/return/step_0": before, "train/return/step_1": after, "update/kl": 0.1}


ROWS = [
    {"env_steps": 0, "test/return/step_0": 9.0},
    row(50, 1.0, 2.0),
    row(100, 3.0, 6.0),
    row(150, 5.0, 7.0),
]


def run(root: Path, name: str, rows: list[Row]) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"iteration": 0, **row}) + "\n" for row in rows))
    return folder


def sweep(root: Path, name: str, rows: list[Row]) -> Path:
    folder = root / name
    folder.mkdir()
    with (folder / "curve.csv").open("w", encoding="utf-8", newline="") as file:
        names = sorted({name for row in rows for name in row})
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_window_holds_the_mean_of_its_iterations() -> None:
    assert windowed(ROWS, 100) == [
        {"env_steps": 100, "train/return/step_0": 2.0, "train/return/step_1": 4.0},
        {"env_steps": 200, "train/return/step_0": 5.0, "train/return/step_1": 7.0},
    ]


def test_a_window_holds_what_only_some_of_its_iterations_measured() -> None:
    # as of an agent that first fills a buffer, without adapting
    filled: Row = {"env_steps": 50, "train/return/step_0": 1.0}
    mean = {"env_steps": 100, "train/return/step_0": 2.0, "train/return/step_1": 6.0}
    for rows in ([filled, row(100, 3.0, 6.0)], [row(50, 3.0, 6.0), {**filled, "env_steps": 100}]):
        assert windowed(rows, 100) == [mean]


def test_a_sweep_is_read_like_a_run(tmp_path: Path) -> None:
    of_run, of_sweep = run(tmp_path, "run", ROWS), sweep(tmp_path, "sweep", ROWS)
    assert windowed(read_curve(of_run), 100) == windowed(read_curve(of_sweep), 100)


def test_curve_of_a_sweep_has_the_seeds_that_finished_since_it_was_combined(tmp_path: Path) -> None:
    folder = sweep(tmp_path, "it-sweep", [row(50, 1.0, 2.0)])
    (folder / "sweep.json").write_text(json.dumps({"finished": ["it-seed0", "it-seed1"]}))
    alone = read_curve(folder)  # as of a copied sweep, whose runs are elsewhere
    for seed, value in enumerate((1.0, 4.0)):
        run(tmp_path, f"it-seed{seed}", [row(50, value, 2.0)])
    assert alone[0]["train/return/step_0"] == 1.0
    assert read_curve(folder)[0]["train/return/step_0"] == 2.5


def test_every_curve_is_in_the_table_and_there_is_a_picture(tmp_path: Path) -> None:
    folders = [run(tmp_path, "a", ROWS), sweep(tmp_path, "b", ROWS[:2])]
    table, picture = write_curves(folders, ["one", "two"], tmp_path / "out", "two runs", window=100)
    with table.open(encoding="utf-8", newline="") as file:
        found = [(line["run"], float(line["train/return/step_1"])) for line in csv.DictReader(file)]
    assert found == [("one", 4.0), ("one", 7.0), ("two", 2.0)]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("drawn_figures")
def test_fourteen_curves_have_a_colour_each(tmp_path: Path) -> None:
    curves = {f"agent {i}": windowed(ROWS, 50) for i in range(14)}
    figure = draw_curves(curves, "many", 50)
    colours = {line.get_color() for line in figure.legends[0].get_lines()}
    assert len(colours) == 14
    save(figure, tmp_path / "many.png")


@pytest.mark.parametrize(
    ("labels", "window", "sentence"),
    [
        (["one"], 100, "2 curves need as many different labels"),
        (["one", "one"], 100, "2 curves need as many different labels"),
        (["one", "one", "two"], 100, "2 curves need as many different labels"),
        (["one", "two"], -1, "window must be 0 or more"),
        (["one", "untrained"], 100, "The curve of 'untrained' needs training returns"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(
    tmp_path: Path, labels: list[str], window: float, sentence: str
) -> None:
    folders = [run(tmp_path, "a", ROWS), run(tmp_path, "b", ROWS[:1])]
    with pytest.raises(MetarlError, match=sentence):
        write_curves(folders, labels, tmp_path / "out", "two runs", window=window)
    assert not (tmp_path / "out").exists()


def test_a_damaged_table_is_told_in_a_sentence(tmp_path: Path) -> None:
    folder = sweep(tmp_path, "sweep", ROWS)
    (folder / "curve.csv").write_text("env_steps,train/return/step_0\nmany,2\n")
    with pytest.raises(MetarlError, match=r"The curve .*curve\.csv cannot be read"):
        read_curve(folder)
