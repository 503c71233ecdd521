"""The folders of runs: opening a new one, going on with one that was stopped, and stopping one cleanly."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from metarl.checkpoints import Checkpoint, load, load_newest
from metarl.config import ExperimentConfig, to_json
from metarl.errors import MetarlError
from metarl.experiment import CHECKPOINTS, Experiment, Observer
from metarl.registry import config_from_json

CONFIG = "config.json"


def start(config: ExperimentConfig, root: Path, observer: Observer | None = None) -> Experiment:
    """Open a new run in a folder of its own below ``root``.

    Raises:
        MetarlError: if the folder exists, or cannot be made.
    """
    config = replace(config, name=config.name or default_name(config))
    folder = root / config.name
    if folder.exists():
        raise MetarlError(
            f"The run folder {folder} exists already; choose another --name, "
            f"or go on with that run: metarl train --resume {folder}"
        )
    experiment = Experiment(config, folder, observer)  # may still refuse the config, so no folder yet
    try:
        folder.mkdir(parents=True)
        write_config(folder, config)
    except OSError as error:
        raise MetarlError(f"The run folder {folder} cannot be made: {error.strerror}.") from error
    return experiment


def resume(
    folder: Path, report: Callable[[str], None], observer: Observer | None = None, iterations: int | None = None
) -> Experiment:
    """Open a run that was stopped, at its newest whole checkpoint.

    Args:
        folder: the run's.
        report: told of each damaged checkpoint, in a sentence.
        observer: of the run.
        iterations: train to this iteration instead of the one the config names.

    Raises:
        MetarlError: if the folder is no run, or its checkpoints are of another version or architecture.
    """
    config = read_config(folder)
    if iterations is not None:
        config = replace(config, iterations=iterations)
        write_config(folder, config)
    experiment = Experiment(config, folder, observer)
    if (folder / CHECKPOINTS).is_dir() and any((folder / CHECKPOINTS).iterdir()):
        experiment.restore(load_newest(folder / CHECKPOINTS, report))
    return experiment


def open_checkpoint(path: Path, report: Callable[[str], None]) -> Checkpoint:
    """Load the newest whole checkpoint of a run, or one checkpoint by its own folder.

    Args:
        path: the run's folder or the checkpoint's.
        report: told of each damaged checkpoint, in a sentence.

    Raises:
        MetarlError: if there is none, or it is damaged or of another version.
    """
    if (path / CHECKPOINTS).is_dir():
        return load_newest(path / CHECKPOINTS, report)
    if not path.is_dir() or not any(path.glob("*.safetensors")):
        raise MetarlError(f"{path} is neither a run nor a checkpoint: it has no folder {CHECKPOINTS!r}.")
    return load(path)


def read_config(folder: Path) -> ExperimentConfig:
    """Return the config of a run.

    Raises:
        MetarlError: if the folder is no run.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise MetarlError(f"{folder} is no run: it has no {CONFIG}.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MetarlError(f"{path} is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise MetarlError(f"{path} must hold one JSON object.")
    return config_from_json(data)


def write_config(folder: Path, config: ExperimentConfig) -> None:
    """Write the config of a run, whole or not at all."""
    temporary = folder / f"{CONFIG}.tmp"
    temporary.write_text(json.dumps(to_json(config), indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / CONFIG)


def default_name(config: ExperimentConfig) -> str:
    """Name a run after its suite, its agent and its seed."""
    return f"{config.suite.label}-{config.agent.kind}-seed{config.seed}"


@contextmanager
def stop_on_signals(experiment: Experiment) -> Iterator[None]:
    """Let SIGINT and SIGTERM end a run cleanly: the first asks it to stop, a second one kills it."""

    def handle(number: int, frame: FrameType | None) -> None:
        experiment.request_stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
