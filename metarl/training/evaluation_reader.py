"""The one reader of evaluations, which refuses those of another agent.

``evaluation.json`` in a run's folder is the evaluation at its end. It is written last, so that where it is
whole the run is finished, unless it was trained on since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from metarl.config import ExperimentConfig, to_json
from metarl.errors import MetarlError
from metarl.evaluation.record import Evaluation, evaluation_from_json
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import newest_identity, weights_sum
from metarl.storage.run_folder import CHECKPOINTS, CONFIG, EVALUATION
from metarl.system.versions import library_versions
from metarl.text import count
from metarl.training.experiment import Experiment
from metarl.training.runs import read_config_of_results
from metarl.types import Json

_NUMBERS = ("tasks", "returns", "successes")
_UNFIT = "is not an evaluation that metarl wrote (its numbers do not fit together)."
_SAME_RUN = ("suite", "agent")
_MAY_CHANGE = ("every", "tasks")
"""Settings of evaluations during training, which the last evaluation does not depend on."""


@dataclass(frozen=True)
class Measured:
    """An evaluation in a file."""

    path: Path
    evaluation: Evaluation
    about: dict[str, Json]  # all else that the file says

    @property
    def iteration(self) -> int | None:
        """Meta-iterations that the agent had learned from; None if not recorded."""
        return self._number("iteration")

    @property
    def training_steps(self) -> int | None:
        """Environment steps that the agent had learned from; None if not recorded."""
        return self._number("training_steps")

    def _number(self, name: str) -> int | None:
        value = self.about.get(name)
        return value if isinstance(value, int) else None

    @property
    def training(self) -> str:
        """How much the agent had learned from."""
        if self.iteration is None:
            return "an unrecorded number of iterations"
        steps = "" if self.training_steps is None else f" ({self.training_steps:,} environment steps)"
        return count(self.iteration, "iteration") + steps


def is_of(about: Mapping[str, Json], checkpoint: Checkpoint) -> bool:
    """Return whether a result belongs to a checkpoint, as far as it says."""
    weights = about.get("weights_sha256")
    if weights is not None and weights != weights_sum(checkpoint.agent):
        return False
    return about.get("iteration") in (checkpoint.iteration, None)


def provenance(experiment: Experiment) -> dict[str, Json]:
    """Return iteration, weights, versions and config of a result, for its file."""
    return {
        "iteration": experiment.iteration,
        "training_steps": experiment.env_steps,
        "horizon": experiment.suite.horizon,
        "weights_sha256": weights_sum(experiment.agent.state()),
        "versions": library_versions(),
        "config": to_json(experiment.config),
    }


def read_evaluation(folder: Path) -> Measured:
    """Return a run's last evaluation.

    Raises:
        MetarlError: if the run is not finished, or the file is damaged or of something else; says what to do.
    """
    path = folder / EVALUATION
    command = f"metarl train --resume {folder}"
    if not path.is_file():
        hint = f" Finish it with: {command}" if (folder / CONFIG).is_file() else ""
        raise MetarlError(f"{folder} is no finished run: it has no {path.name}.{hint}")
    try:
        measured = read_measured(path)
    except MetarlError as error:
        raise MetarlError(f"{str(error).rstrip('.')}; measure again with: {command}") from error
    if reason := _of_something_else(folder, measured):
        raise MetarlError(f"{path} {reason}; continue the run: {command}")
    return measured


def is_finished(folder: Path) -> bool:
    """Return whether a run was trained and evaluated."""
    return _is_finished(folder, tuple(_stamps(folder)))


@lru_cache(maxsize=4096)
def _is_finished(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> bool:
    """Answer once per state of the files: sweeps ask often."""
    try:
        read_evaluation(folder)
    except MetarlError:
        return False
    return True


def _stamps(folder: Path) -> Iterator[tuple[int, ...]]:
    for name in (EVALUATION, CONFIG, CHECKPOINTS):
        try:
            found = (folder / name).stat()
        except OSError:
            yield ()
        else:
            yield found.st_ino, found.st_size, found.st_mtime_ns


def read_measured(path: Path) -> Measured:
    """Read an evaluation; a file that is none, or cut short, raises ``MetarlError``."""
    data = read_json(path)
    try:
        evaluation = evaluation_from_json(data)
    except KeyError as error:
        raise MetarlError(f"{path} is not an evaluation that metarl wrote (it has no {error}).") from error
    except (TypeError, ValueError, AssertionError) as error:
        raise MetarlError(f"{path} {_UNFIT}") from error
    # returns and successes are [tasks, stages, episodes]
    shapes = {array.shape for array in (evaluation.returns, evaluation.successes) if array is not None}
    if len(shapes) > 1 or evaluation.returns.ndim != 3 or len(evaluation.tasks) != len(evaluation.returns):
        raise MetarlError(f"{path} {_UNFIT}")
    if not np.isfinite(evaluation.returns).all():
        raise MetarlError(f"{path} is not an evaluation that metarl wrote (a return is not finite).")
    return Measured(path, evaluation, {name: data[name] for name in data if name not in _NUMBERS})


def read_json(path: Path) -> dict[str, Json]:
    """Read a file of one JSON object; any other raises ``MetarlError``."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MetarlError(f"{path} is cut short or damaged: it is not JSON ({error}).") from error
    except OSError as error:
        raise MetarlError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(data, dict):
        raise MetarlError(f"{path} must hold one JSON object.")
    return data


def _of_something_else(folder: Path, measured: Measured) -> str:
    """Explain why an evaluation is not of the run now; empty if it is."""
    config = read_config_of_results(folder)
    own, recorded = to_json(config), measured.about.get("config")
    if isinstance(recorded, dict) and (name := _difference(own, recorded, (*_SAME_RUN, "evaluation"))):
        return f"is of a run with another {name}"
    iteration = measured.iteration
    if iteration is None:  # of an early version, or by hand
        return ""
    if iteration != config.iterations:
        return f"is of iteration {iteration}, but the run is to be trained to iteration {config.iterations}"
    newest = newest_identity(folder / CHECKPOINTS)
    if newest is not None and newest.iteration != iteration:
        return f"is of iteration {iteration}, but the newest checkpoint is of iteration {newest.iteration}"
    weights = measured.about.get("weights_sha256")
    if newest is not None and weights is not None and weights != newest.weights_sha256:
        return f"is of other weights than the checkpoint of iteration {iteration}"
    return ""


def check_run(config: ExperimentConfig, measured: Measured) -> None:
    """Raise ``MetarlError`` if an evaluation is not of a run's agent and tasks."""
    if name := _difference_from_run(config, measured):
        raise MetarlError(f"{measured.path} is of a run with another {name}; delete it and measure again.")


def is_of_suite(config: ExperimentConfig, measured: Measured) -> bool:
    """Return whether an evaluation is on the run's own suite, not on another or with another horizon."""
    return not _difference_from_run(config, measured)


def _difference_from_run(config: ExperimentConfig, measured: Measured) -> str:
    recorded = measured.about.get("config")
    return _difference(to_json(config), recorded, _SAME_RUN) if isinstance(recorded, dict) else ""


def _difference(own: Mapping[str, Json], recorded: Mapping[str, Json], sections: Sequence[str]) -> str:
    """Name the first setting that differs between a run and an evaluation's."""
    own = json.loads(json.dumps(own))  # as the file has it: lists for tuples
    for section in sections:
        ours, theirs = own.get(section), recorded.get(section)
        if not isinstance(ours, dict) or not isinstance(theirs, dict):
            continue
        for name in sorted(ours.keys() & theirs.keys() - set(_MAY_CHANGE)):
            if ours[name] != theirs[name]:
                return f"{section}.{name} ({theirs[name]} instead of {ours[name]})"
    for name in ("seed", "init_from"):
        if name in recorded and recorded[name] != own.get(name):
            return f"{name} ({recorded[name]} instead of {own.get(name)})"
    return ""
