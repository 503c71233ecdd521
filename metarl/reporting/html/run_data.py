"""Data of a report: runs of one suite, grouped by everything but their seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np

from metarl.config import ExperimentConfig
from metarl.errors import MetarlError
from metarl.evaluation.comparability import Side, check_comparable, shared_settings, unrecorded
from metarl.evaluation.statistics import Values
from metarl.evaluation.summary import Summary, summarize_seeds
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.metrics import Row, read_metrics
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.storage.run_folder import EVALUATION, runs_of
from metarl.training import runs
from metarl.training.best_so_far import as_planned
from metarl.training.evaluation_reader import (
    Measured,
    check_run,
    is_of,
    is_of_suite,
    read_json,
    read_measured,
)
from metarl.types import Json, Task

EVALUATIONS, BASELINES = "evaluations", "baselines"
EXPLANATIONS = "explanations"
OFFICIAL = r"iteration{}-seed\d+-official\.json"  # names of results on the run's own suite, by iteration
COUNTS = "adaptation_episodes"  # key of an evaluation along numbers of episodes instead of adaptation steps


@dataclass(frozen=True)
class Run:
    """One run, read from its folder."""

    folder: Path
    config: ExperimentConfig
    iteration: int  # iteration of its newest whole checkpoint
    env_steps: int
    versions: dict[str, Json]  # versions of the checkpoint's libraries
    rows: list[Row]
    measured: Measured  # held-out evaluation at the run's end, or else what ``metarl evaluate`` did last
    baselines: tuple[Measured, ...]
    official: dict[str, Json]  # the publisher's evaluator's newest result, if any
    # newest evaluation with the most likely actions, beside one with drawn actions
    most_likely: Measured | None
    by_episodes: Measured | None  # newest evaluation after one step from 0, 1, 2, 5, … episodes
    explanation: dict[str, Json] | None  # newest result of ``metarl explain``, if any


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed."""

    name: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> ExperimentConfig:
        """Config of the first run."""
        return self.runs[0].config

    @property
    def seeds(self) -> list[int]:
        """Seeds of all runs."""
        return [run.config.seed for run in self.runs]

    @property
    def trial(self) -> str:
        """How a task's episodes relate in every run."""
        return self.runs[0].measured.evaluation.trial

    @property
    def adaptation_episodes(self) -> int:
        """Episodes that a measured adaptation step took; a memory takes one."""
        number = evaluation_settings(self.runs[0].measured).get("adaptation_episodes")
        if self.trial == "sequential":
            return 1
        return number if isinstance(number, int) else self.config.evaluation.adaptation_episodes

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The held-out tasks, the same of every run."""
        return self.runs[0].measured.evaluation.tasks

    @property
    def task_returns(self) -> Values:
        """Mean return of each task and step over seeds, ``[tasks, adaptation steps + 1]``."""
        means: Values = np.mean([run.measured.evaluation.task_returns for run in self.runs], axis=0)
        return means

    @property
    def task_successes(self) -> Values | None:
        """Success rates like :attr:`task_returns`; None where the suite does not say."""
        rates = [run.measured.evaluation.task_successes for run in self.runs]
        known = [rate for rate in rates if rate is not None]
        return np.asarray(np.mean(known, axis=0), np.float64) if len(known) == len(rates) else None

    def by_gain(self) -> list[int]:
        """Return the tasks' places by gain of success, then of return, the greatest first."""
        gains = self.task_returns[:, -1] - self.task_returns[:, 0]
        successes = self.task_successes
        first = np.zeros(len(gains)) if successes is None else successes[:, -1] - successes[:, 0]
        return sorted(range(len(gains)), key=lambda place: (-first[place], -gains[place]))

    @cached_property
    def summary(self) -> Summary:
        """Averages with intervals over seeds and tasks."""
        return summarize_seeds([run.measured.evaluation for run in self.runs], np.random.default_rng(0))

    def baselines(self) -> dict[str, list[Measured]]:
        """Return the runs' baselines by label."""
        found: dict[str, list[Measured]] = {}
        for run in self.runs:
            for measured in run.baselines:
                found.setdefault(str(measured.about["label"]), []).append(measured)
        return found


def gather(folders: Sequence[Path], report: Callable[[str], None]) -> list[Group]:
    """Read runs, and finished runs of sweeps, and group those that differ only in their seed.

    ``report`` is called for each damaged checkpoint that is skipped.

    Raises:
        MetarlError: if a folder is no run, has no checkpoint or no evaluation, if it is named twice, or if
            the runs cannot be compared: other suites, other tasks, other numbers of adaptation steps.
    """
    if not folders:
        raise MetarlError("metarl report needs a run or more: metarl report runs/A runs/B")
    members = [run for folder in folders for run in runs_of(folder)]
    # a run may be named twice by different paths
    places = [folder.resolve() for folder in members]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise MetarlError(f"The run {members[index]} is named twice.")
    found = [read_run(folder, report) for folder in members]
    sides = [
        Side(str(run.folder), run.config.suite, run.measured.evaluation, run.measured.about) for run in found
    ]
    check_comparable(sides)
    for sentence in unrecorded(sides):
        report(sentence)
    # runs of one config are seeds of one group
    grouped: dict[str, list[Run]] = {}
    for run, planned in zip(found, _planned(found), strict=True):
        grouped.setdefault(_settings_of(planned, "device"), []).append(run)
    for alike in grouped.values():
        check_seeds(alike)
    names = unique(
        [group_name([run.folder.resolve().name for run in members]) for members in grouped.values()]
    )
    return [Group(name, tuple(members)) for name, members in zip(names, grouped.values(), strict=True)]


def _planned(found: Sequence[Run]) -> list[ExperimentConfig]:
    """Return the runs' configs, with the planned iterations where a patience ended the training."""
    configs = {run.folder: run.config for run in found}
    kinds: dict[str, list[Run]] = {}
    for run in found:
        kinds.setdefault(_settings_of(run.config, "device", "iterations"), []).append(run)
    for alike in kinds.values():
        folders = [run.folder for run in alike]
        configs |= zip(folders, as_planned(folders, [run.config for run in alike]), strict=True)
    return list(configs.values())


def _settings_of(config: ExperimentConfig, *left_out: str) -> str:
    """Return the settings that seeds share, but for some, as one text."""
    return json.dumps({k: value for k, value in shared_settings(config).items() if k not in left_out})


def read_run(folder: Path, report: Callable[[str], None]) -> Run:
    """Read a run's folder for a report.

    Raises:
        MetarlError: if it is no run, has no checkpoint or no evaluation, or a file is damaged.
    """
    config = runs.read_config_of_results(folder)
    if not runs.has_checkpoints(folder):
        raise MetarlError(f"The run {folder} has no checkpoints, so there is nothing to report of it yet.")
    checkpoint = open_checkpoint(folder, report)
    iteration = checkpoint.iteration

    def of_now(measured: Sequence[Measured]) -> list[Measured]:
        return [each for each in measured if is_of(each.about, checkpoint)]

    found = read_evaluations(folder)
    # of the newest checkpoint, and over adaptation steps; those of other suites are told of only if alone
    evaluations = [each for each in of_now(found) if COUNTS not in each.about]
    own = [each for each in of_now(found) if is_of_suite(config, each)]
    evaluations = [each for each in evaluations if each in own] or evaluations
    if not evaluations:
        raise MetarlError(_no_evaluation(folder, iteration, found))
    # the evaluation at the run's end goes before later ones
    measured = next((each for each in evaluations if each.path.name == EVALUATION), evaluations[0])
    check_run(config, measured)
    baselines = read_baselines(folder / BASELINES)
    for each in baselines:
        if not is_of(each.about, checkpoint):
            report(f"{each.path} is left out: it is not of the agent as it is now, at iteration {iteration}.")
    return Run(
        folder=folder,
        config=config,
        iteration=iteration,
        env_steps=int(str(checkpoint.progress.get("env_steps", 0))),
        versions=checkpoint.versions,
        rows=read_metrics(folder),
        measured=measured,
        baselines=tuple(of_now(baselines)),
        official=read_newest(folder / EVALUATIONS, OFFICIAL.format(iteration), checkpoint) or {},
        explanation=read_newest(folder / EXPLANATIONS, r".*\.json", checkpoint),
        most_likely=next((each for each in evaluations if is_most_likely(each, measured)), None),
        by_episodes=next((each for each in own if COUNTS in each.about), None),
    )


def is_most_likely(each: Measured, main: Measured) -> bool:
    """Return whether an evaluation is of the most likely actions, on the main one's tasks and steps."""
    same = each.evaluation.tasks == main.evaluation.tasks
    steps = each.evaluation.adaptation_steps == main.evaluation.adaptation_steps
    return same and steps and is_deterministic(each) and not is_deterministic(main)


def is_deterministic(measured: Measured) -> bool:
    """Return whether the most likely actions were measured, as far as the file says."""
    return evaluation_settings(measured).get("deterministic") is True


def evaluation_settings(measured: Measured) -> dict[str, Json]:
    """Return how an evaluation was measured, as far as its file says."""
    config = measured.about.get("config")
    settings = config.get("evaluation") if isinstance(config, dict) else None
    return settings if isinstance(settings, dict) else {}


def _no_evaluation(folder: Path, iteration: int, found: Sequence[Measured]) -> str:
    """Return the error for a run without an evaluation of its newest checkpoint."""
    others = sorted({each.iteration for each in found if each.iteration is not None} - {iteration})
    if others:
        return (
            f"The run {folder} is at iteration {iteration}, but its evaluations are of iteration "
            f"{', '.join(map(str, others))}; make one with: metarl evaluate {folder}"
        )
    if found:
        return (
            f"The evaluations of the run {folder} are not of the weights in its newest checkpoint; "
            f"make one with: metarl evaluate {folder}"
        )
    return f"The run {folder} has no evaluation yet; make one with: metarl evaluate {folder}"


def read_evaluations(folder: Path) -> list[Measured]:
    """Read a run's held-out evaluations, newest first."""
    paths = [path for path in (folder / EVALUATION, *(folder / EVALUATIONS).glob("*.json")) if path.is_file()]
    try:
        found = [(path, read_json(path)) for path in newest_first(paths)]
        # the publisher's and others' results have no returns
        return [read_measured(path) for path, data in found if "returns" in data or path.name == EVALUATION]
    except MetarlError as error:
        raise MetarlError(
            f"{str(error).rstrip('.')}; delete it, and then: metarl evaluate {folder}"
        ) from error


def read_newest(folder: Path, pattern: str, checkpoint: Checkpoint) -> dict[str, Json] | None:
    """Read a checkpoint's newest file with a matching name, if any."""
    paths = [path for path in folder.glob("*.json") if re.fullmatch(pattern, path.name)]
    found = map(read_json, newest_first(paths))
    return next((data for data in found if is_of(data, checkpoint)), None)


def newest_first(paths: Sequence[Path]) -> list[Path]:
    """Sort files by last change, newest first."""
    return sorted(paths, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)


def read_baselines(folder: Path) -> list[Measured]:
    """Read the evaluations of baselines, ours first."""
    order = sorted(folder.glob("*.json"), key=lambda path: (path.stem != "meta", path.name))
    found = [(path, read_json(path)) for path in order]
    return [read_measured(path) for path, data in found if "label" in data and "returns" in data]


def check_seeds(members: Sequence[Run]) -> None:
    """Check that the runs of one config differ in their seed."""
    by_seed: dict[int, Run] = {}
    for run in members:
        twin = by_seed.setdefault(run.config.seed, run)
        if twin is not run:
            raise MetarlError(
                f"{twin.folder} and {run.folder} have the same config and the same seed "
                f"{run.config.seed}: one of them is enough."
            )


def group_name(names: Sequence[str]) -> str:
    """Return the common beginning of the runs' names."""
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike).rstrip("-_. ")
    return shared.removesuffix("seed").rstrip("-_. ") or names[0]


def unique(names: Sequence[str]) -> list[str]:
    """Make names unique by numbering those that repeat."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, name in enumerate(names)
    ]
