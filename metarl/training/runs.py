"""Folders of runs: start, resume and stop."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Protocol

from metarl.config import EvaluationConfig, ExperimentConfig, check_device, to_json
from metarl.errors import MetarlError, naming
from metarl.evaluation.physics import Physics, physics_differences
from metarl.plugins.recorded import config_of_results
from metarl.plugins.registry import config_from_json
from metarl.plugins.reopening import check_reopens
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import drop_later, drop_unneeded_segments, has_whole, load, load_newest
from metarl.storage.files import encode_json, is_full, write_folder, write_json
from metarl.storage.locks import locked
from metarl.storage.metrics import last_iteration, missing_rows
from metarl.storage.run_checkpoints import find_checkpoint, open_checkpoint, split_checkpoint
from metarl.storage.run_folder import ADAPTATION, ADAPTED, CHECKPOINTS, CONFIG, MEASURED, WEIGHTS
from metarl.system.ranks import Ranks
from metarl.system.signals import handled
from metarl.text import count
from metarl.training.adapted_agent import AdaptedAgent, read_path
from metarl.training.experiment import Experiment
from metarl.training.observers import Observer
from metarl.types import Json


def start(
    config: ExperimentConfig, root: Path, observers: Sequence[Observer] = (), *, ranks: Ranks | None = None
) -> Experiment:
    """Start a run in a new folder below ``root``, shared among ``ranks`` if there are any.

    Raises:
        MetarlError: if the folder exists, or cannot be made, or the run could never be opened again.
    """
    check_reopens(config)
    config = replace(config, name=config.name or default_name(config))
    folder = root / config.name
    refuse_existing(folder)
    experiment = Experiment(config, folder, observers)  # may still refuse the config, so no folder yet
    experiment.share_among(ranks)  # likewise
    experiment.initialize()
    try:
        write_folder(folder, {CONFIG: encode_json(to_json(config), indent=2)})
    except OSError as error:
        refuse_existing(folder)  # another process may have made it a moment ago
        if is_full(error):
            raise MetarlError(f"No disk space for the run folder {folder}.") from error
        raise MetarlError(f"The run folder {folder} cannot be made: {error.strerror}.") from error
    return experiment


def follow(folder: Path, ranks: Ranks) -> Experiment:
    """Open a run that the first rank has started or resumed; writes nothing."""
    experiment = Experiment(read_config(folder), folder)
    experiment.share_among(ranks)
    if has_checkpoints(folder):
        experiment.restore(load_newest(folder / CHECKPOINTS, lambda _: None))
    return experiment


def refuse_existing(folder: Path) -> None:
    """Raise ``MetarlError`` if a new run's folder exists."""
    if (folder / CONFIG).is_file():
        raise MetarlError(
            f"The run folder {folder} exists already; choose another --name, "
            f"or resume that run with: metarl train --resume {folder}"
        )
    if folder.exists() or folder.is_symlink():
        raise MetarlError(f"{folder} exists already, and it is no run; choose another --name.")


def discard(experiment: Experiment) -> None:
    """Remove a run without a checkpoint."""
    if not has_checkpoints(experiment.folder):
        shutil.rmtree(experiment.folder, ignore_errors=True)


def has_checkpoints(folder: Path) -> bool:
    """Return whether a run has a whole checkpoint."""
    return has_whole(folder / CHECKPOINTS)


def resume(
    path: Path,
    report: Callable[[str], None],
    observers: Sequence[Observer] = (),
    *,
    iterations: int | None = None,
    device: str | None = None,
    ranks: Ranks | None = None,
) -> Experiment:
    """Resume a stopped run from its newest whole checkpoint, or from an earlier one.

    Args:
        path: the run's folder, or that of one of its checkpoints, to go back to it: later
            iterations are discarded.
        report: called with a sentence for each damaged checkpoint.
        iterations: train to this iteration instead of the one the config names.
        device: compute there instead of where the config says.

    Raises:
        MetarlError: if the folder is no run, if the run is still going on elsewhere, if its checkpoints
            are of another version or architecture, or if it is past ``iterations``.
    """
    given = {"iterations": iterations, "device": device}
    changes: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
    folder, name = split_checkpoint(path)
    if (folder / ADAPTATION).is_file():
        raise MetarlError(
            f"Expected a run to train, got a session of metarl adapt, {folder}; resume it with: "
            f"metarl adapt --resume {folder}"
        )
    config = read_config(folder, changes)
    with locked(folder):
        experiment = Experiment(config, folder, observers)
        experiment.share_among(ranks)
        checkpoint = None
        if name is not None:
            checkpoint = load(find_checkpoint(folder, name))
        elif has_checkpoints(folder):
            checkpoint = load_newest(folder / CHECKPOINTS, report)
        else:
            _check_unbegun(folder)
        if checkpoint is not None:
            _restore(experiment, checkpoint, report)
        if experiment.iteration > config.iterations:
            raise MetarlError(
                f"The run {folder} cannot be trained to iteration {config.iterations}: "
                f"it is already at iteration {experiment.iteration}."
            )
        if changes:
            write_config(folder, config)
        if name is not None:  # or a kill before the next checkpoint would have the run go on from a later one
            drop_later(folder / CHECKPOINTS, experiment.iteration)
        drop_unneeded_segments(folder / CHECKPOINTS)  # left by a kill after a checkpoint
    return experiment


def _restore(experiment: Experiment, checkpoint: Checkpoint, report: Callable[[str], None]) -> None:
    """Restore a checkpoint; report other physics and missing metrics."""
    experiment.restore(checkpoint)
    for sentence in physics_differences(
        {"trained": trained_under(checkpoint), "evaluated": experiment.physics}
    ):
        report(f"{sentence} The rest of the run is not what an unbroken one would be.")
    if missing := missing_rows(experiment.folder, experiment.iteration):
        report(
            f"The metrics in {experiment.folder} lack {count(len(missing), 'iteration')}, from {missing[0]} "
            "on: was the run copied while it trained? Its curve has a gap."
        )


def _check_unbegun(folder: Path) -> None:
    """Raise ``MetarlError`` if a run without checkpoints has metrics of an iteration, which come later."""
    if reached := last_iteration(folder):
        raise MetarlError(
            f"Expected checkpoints in {folder}, as its metrics reach iteration {reached}, got none; was it "
            "copied without them? Copy them too, or train another run."
        )


def open_trained(
    path: Path,
    report: Callable[[str], None],
    evaluation: EvaluationConfig | None = None,
    *,
    device: str = "cpu",
    workers: int = 0,
    engine: str = "",
    adapted: bool = True,
) -> Experiment:
    """Open a trained agent to evaluate it; the run itself stays as it is.

    Args:
        path: folder of a run (its newest whole checkpoint is taken), of one checkpoint, or of a result.
        report: called with a sentence for each damaged checkpoint.
        evaluation: how adaptation is measured, if not as the run did.
        device: where to compute, wherever the run did.
        workers: processes or threads; 0 for one a core.
        engine: steps the environments; empty takes that of the training.
        adapted: of a session of ``metarl adapt``, start from what it learned.

    Raises:
        MetarlError: if there is no checkpoint, or it is damaged, or of another version or architecture.
    """
    checkpoint = open_checkpoint(path, report)
    check_device(device)
    with naming(f"The config in the checkpoint of {path}"):
        config = config_from_json({**checkpoint.config, "device": device})
    config = replace(
        config,
        # where and how to step is the machine's matter, not the run's
        sampling=replace(config.sampling, workers=workers, engine=engine or config.sampling.engine),
        evaluation=evaluation or config.evaluation,
    )
    folder = _folder_of(path)
    experiment = Experiment(config, folder)
    experiment.restore(checkpoint)
    if adapted and (folder / ADAPTED).is_file():
        experiment.agent = AdaptedAgent(experiment.agent, read_path(folder))
    return experiment


def physics(path: Path, experiment: Experiment) -> dict[str, Json]:
    """Return the physics of a run's training, and of evaluating here.

    Numbers under different versions of MuJoCo do not belong in one table.
    """
    return {"trained": trained_under(open_checkpoint(path, lambda _: None)), "evaluated": experiment.physics}


def trained_under(checkpoint: Checkpoint) -> Physics:
    """Return the physics of a checkpoint's training; early ones name no models."""
    if checkpoint.physics:
        return checkpoint.physics
    engine = config_from_json({**checkpoint.config, "device": "cpu"}).sampling.engine  # wherever it was
    return {"engine": engine, "mujoco": checkpoint.versions.get("mujoco")}


def _folder_of(path: Path) -> Path:
    """Return the folder of a checkpoint's run or result, and any other path as it is."""
    checkpoints = path.resolve().parent
    if checkpoints.name == CHECKPOINTS:
        return checkpoints.parent
    # weights/seed0 or weights/agent/seed0 of a result
    for folder in path.resolve().parents[:2]:
        if folder.name == WEIGHTS and (folder.parent / MEASURED).is_file():
            return folder.parent
    return path


def read_config(folder: Path, changes: Mapping[str, Json] = MappingProxyType({})) -> ExperimentConfig:
    """Read a run's config, changing some settings.

    Raises:
        MetarlError: if the folder is no run, or its config is damaged or cannot be used here.
    """
    settings = _read_settings(folder)
    changed = "".join(f", {name} changed to {value!r}" for name, value in changes.items())
    with naming(f"{folder / CONFIG}{changed}"):
        return config_from_json({**settings, **changes})


def read_config_of_results(folder: Path) -> ExperimentConfig:
    """Read a run's config for its results alone.

    The agent and the suite need not load here; see :mod:`metarl.plugins.recorded`.

    Raises:
        MetarlError: if the folder is no run, or its config is damaged.
    """
    settings = _read_settings(folder)
    with naming(folder / CONFIG):
        return config_of_results(settings)


def _read_settings(folder: Path) -> dict[str, Json]:
    path = folder / CONFIG
    if folder.is_file():
        raise MetarlError(f"Expected the folder of a run, got the file {folder}.")
    if not folder.is_dir():
        raise MetarlError(f"There is no run {folder}.")
    if not path.is_file():
        raise MetarlError(f"{folder} is no run: it has no {CONFIG}.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MetarlError(f"{path} is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise MetarlError(f"{path} must hold one JSON object.")
    return data


def write_config(folder: Path, config: ExperimentConfig) -> None:
    """Write a run's config as a whole."""
    write_json(folder / CONFIG, to_json(config), indent=2)


def default_name(config: ExperimentConfig) -> str:
    """Name a run by suite, agent and seed."""
    return f"{config.label}-{config.agent.kind}-seed{config.seed}"


class Stoppable(Protocol):
    """Work that can stop early, in good order."""

    def request_stop(self) -> None:
        """End soon."""


@contextmanager
def stop_on_signals(work: Stoppable) -> Iterator[None]:
    """Stop a run cleanly on the first SIGINT or SIGTERM; a second one kills it.

    Outside the main thread, where Python allows no handlers of signals, the work goes on without them.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        work.request_stop()
        signal.signal(number, signal.SIG_DFL)

    with handled((signal.SIGINT, signal.SIGTERM), handle):
        yield
