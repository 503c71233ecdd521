"""Loggers by name: they receive what the run logs, and are closed whatever happens."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metarl.config import ExperimentConfig
from metarl.errors import MetarlError
from metarl.plugins import entry_points
from metarl.storage.metrics import read_metrics
from metarl.training import runs
from support.programs import point_config


class CSVLogger:
    """A logger as a package may have it: a file with a line for each metric."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self._file = (folder / f"{config.name}.csv").open("a", newline="")
        self._writer = csv.writer(self._file)

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self._writer.writerows([iteration, name, value] for name, value in metrics.items())

    def close(self) -> None:
        self._file.close()


class FullLogger(CSVLogger):
    """One that fails."""

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        super().log(iteration, metrics)
        raise MetarlError("The quota is used up.")


@pytest.fixture(autouse=True)
def _published(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = entry_points._entries
    mine = {name: EntryPoint(name, f"{__name__}:{cls}", entry_points.LOGGERS) for name, cls in
            {"csv": "CSVLogger", "full": "FullLogger"}.items()}  # fmt: skip
    monkeypatch.setattr(
        entry_points,
        "_entries",
        lambda group: ours(group) | mine if group == entry_points.LOGGERS else ours(group),
    )


def test_a_logger_gets_every_row_and_the_config_names_it(tmp_path: Path) -> None:
    experiment = runs.start(point_config(loggers=("csv",)), tmp_path)
    experiment.run()
    with (experiment.folder / "it.csv").open(newline="") as file:
        logged = [(int(iteration), name, float(value)) for iteration, name, value in csv.reader(file)]
    rows = read_metrics(experiment.folder)
    assert logged == [
        (int(row["iteration"]), name, row[name]) for row in rows for name in row if name != "iteration"
    ]
    assert json.loads((experiment.folder / "config.json").read_text())["loggers"] == ["csv"]


def test_a_logger_that_fails_ends_the_run_and_is_closed(tmp_path: Path) -> None:
    experiment = runs.start(point_config(loggers=("full",)), tmp_path)
    with pytest.raises(MetarlError, match="quota is used up"):
        experiment.run()
    assert "env_steps" in (experiment.folder / "it.csv").read_text()  # what it had is written


def test_an_unknown_logger_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="There is no logger called 'wadnb'; did you mean 'wandb'"):
        runs.start(point_config(loggers=("wadnb",)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # its own
def test_weights_and_biases_is_written_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    experiment = runs.start(point_config(loggers=("wandb",)), tmp_path)
    experiment.run()
    (log,) = (experiment.folder / "wandb").glob("offline-run-*/*.wandb")
    content = log.read_bytes()
    assert all(part in content for part in (b"test/return/step_0", b"env_steps", b"maml-trpo"))
