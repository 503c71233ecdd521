"""Comparison of runs on the same held-out tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl.config import ExperimentConfig, SuiteConfig
from metarl.errors import MetarlError, naming, require
from metarl.evaluation.comparability import Side, adaptation_episodes, check_comparable, check_same_tasks
from metarl.evaluation.experience import at_counts, common_counts, experience_of
from metarl.evaluation.record import KINDS, Evaluation, scores_of, steps_axis
from metarl.evaluation.statistics import (
    RATE,
    Aggregates,
    Bootstrap,
    Interval,
    Values,
    aggregates,
    difference,
    probability_of_improvement,
)
from metarl.plugins.recorded import config_of_results
from metarl.storage.run_folder import runs_of
from metarl.success_bonus import bonus_name
from metarl.training.evaluation_reader import Measured, read_evaluation, read_measured
from metarl.training.runs import read_config_of_results
from metarl.types import Json


@dataclass(frozen=True)
class EvaluatedRun:
    """A run, or several of different seeds."""

    name: str  # its folder's name
    suite: SuiteConfig
    evaluations: tuple[Evaluation, ...]  # one for each seed
    files: tuple[Measured, ...] = ()  # files of the evaluations, if they were read
    success_bonus: float = 0.0  # bonus reward of solving steps, on top of the suite's own
    agent: str = ""  # registered name of its agent

    @property
    def label(self) -> str:
        """Name of the held-out tasks in results."""
        return bonus_name(self.suite.test_settings.label, self.success_bonus)

    @property
    def sides(self) -> list[Side]:
        """Each evaluation with its provenance."""
        if not self.files:
            return [Side(self.name, self.suite, evaluation) for evaluation in self.evaluations]
        alone = len(self.files) == 1
        return [
            Side(self.name if alone else each.path.parent.name, self.suite, each.evaluation, each.about)
            for each in self.files
        ]

    def at_counts(self, counts: Sequence[int]) -> EvaluatedRun:
        """Return the stages after these numbers of episodes."""
        evaluations = tuple(
            at_counts(side.evaluation, adaptation_episodes(side), counts) for side in self.sides
        )
        return dataclasses.replace(
            self,
            evaluations=evaluations,
            files=tuple(
                dataclasses.replace(file, evaluation=evaluation)
                for file, evaluation in zip(self.files, evaluations, strict=False)
            ),
        )

    @property
    def training(self) -> str:
        """Amount of training before the evaluation, and settings of its tasks that are not the defaults."""
        amount = " or ".join(dict.fromkeys(each.training for each in self.files)) or "not recorded"
        defaults = self.suite.test_settings
        changed = {name: getattr(self.suite, name) for name in self.suite.training_only}
        others = [f"{name} {value}" for name, value in changed.items() if value != getattr(defaults, name)]
        return ", with ".join([amount, *others])


@dataclass(frozen=True)
class ComparisonResult:
    """Scores of two runs in one quantity."""

    ours: Aggregates
    theirs: Aggregates
    our_seeds: tuple[float, ...]  # mean of each seed of ours
    their_seeds: tuple[float, ...]
    difference: Interval  # mean of ours minus mean of theirs
    improvement: Interval  # probability that a seed of ours beats one of theirs on a task

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        return {
            "ours": {name: list(interval) for name, interval in self.ours._asdict().items()},
            "theirs": {name: list(interval) for name, interval in self.theirs._asdict().items()},
            "seeds": {"ours": list(self.our_seeds), "theirs": list(self.their_seeds)},
            "difference": list(self.difference),
            "probability_of_improvement": list(self.improvement),
        }


def read_evaluated(folder: Path) -> EvaluatedRun:
    """Return the evaluations of a finished run or sweep, or of one file of ``metarl evaluate``.

    Raises:
        MetarlError: if it is none of them.
    """
    if folder.is_file():
        return _of_file(folder)
    runs = runs_of(folder)
    config = read_config_of_results(runs[0])
    files = tuple(read_evaluation(run) for run in runs)
    evaluations = tuple(each.evaluation for each in files)
    return EvaluatedRun(
        folder.name, config.suite, evaluations, files, config.success_bonus, config.agent.kind
    )


def _of_file(path: Path) -> EvaluatedRun:
    """Return what ``metarl evaluate`` wrote."""
    config, measured = read_evaluation_file(path)
    name, evaluations = f"{config.name}/{path.stem}", (measured.evaluation,)
    return EvaluatedRun(name, config.suite, evaluations, (measured,), config.success_bonus, config.agent.kind)


def read_evaluation_file(path: Path) -> tuple[ExperimentConfig, Measured]:
    """Return a file of ``metarl evaluate``, and the config of its run.

    Raises:
        MetarlError: if it is none, or an episode curve, or a publisher's evaluation.
    """
    measured = read_measured(path)
    axis, settings = steps_axis(measured.evaluation), measured.about.get("config")
    # an episode curve has other stages, and a publisher's evaluation none
    if measured.about.get(axis.name) != list(axis.values) or not isinstance(settings, dict):
        raise MetarlError(f"Expected an evaluation by {axis.name} of metarl evaluate, got {path}.")
    with naming(path):
        return config_of_results(settings), measured


def on_common_axis(runs: Sequence[EvaluatedRun]) -> list[EvaluatedRun]:
    """Return runs with scores comparable stage by stage.

    Parallel and sequential agents together are laid out along the episodes of experience after which all were
    measured; runs of one kind stay as they are.

    Raises:
        MetarlError: if they have other tasks or no such number in common, or a file does not say how it was
            measured.
    """
    if len({evaluation.trial for run in runs for evaluation in run.evaluations}) == 1:
        return list(runs)
    sides = [side for run in runs for side in run.sides]
    check_same_tasks(sides)  # before a hint at measuring again, which would not help
    counts = common_counts(
        # seeds of a sweep are named once
        list(
            dict.fromkeys(
                (run.name, experience_of(side.evaluation, adaptation_episodes(side)))
                for run in runs
                for side in run.sides
            )
        )
    )
    return [run.at_counts(counts) for run in runs]


def same_weights(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Tell of evaluations of one and the same trained agent, such as of a copied run."""
    found: dict[str, str] = {}
    said = []
    for side in (side for run in runs for side in run.sides):
        weights = side.about.get("weights_sha256")
        if isinstance(weights, str) and weights in found:
            said.append(f"{found[weights]} and {side.name} are one agent: their weights are the same.")
        elif isinstance(weights, str):
            found[weights] = side.name
    return said


def check_comparable_runs(runs: Sequence[EvaluatedRun]) -> None:
    """Check that the runs' scores mean the same, and name a difference."""
    check_comparable([side for run in runs for side in run.sides])


def compare(
    ours: EvaluatedRun, theirs: EvaluatedRun, step: int, how: Bootstrap
) -> dict[str, ComparisonResult]:
    """Compare returns and success after some adaptation steps.

    Raises:
        MetarlError: if the two cannot be compared, or were not measured after ``step`` steps.
    """
    check_comparable_runs([ours, theirs])
    last = ours.evaluations[0].adaptation_steps
    require(0 <= step <= last, f"step must be in 0..{last}", step)
    families = tuple(task.family for task in ours.evaluations[0].tasks)
    # tasks are resampled within their families
    stratified = dataclasses.replace(how, strata=families)
    scores = {
        quantity: tuple(scores_of(side.evaluations, step, quantity) for side in (ours, theirs))
        for quantity in ("return", *KINDS)
    }
    return {
        quantity: _result(
            one, other, stratified if quantity == "return" else dataclasses.replace(stratified, bounds=RATE)
        )
        for quantity, (one, other) in scores.items()
        if one is not None and other is not None
    }


def _result(ours: Values, theirs: Values, how: Bootstrap) -> ComparisonResult:
    rng = np.random.default_rng(0)
    return ComparisonResult(
        aggregates(ours, rng, how),
        aggregates(theirs, rng, how),
        tuple(ours.mean(axis=1).tolist()),
        tuple(theirs.mean(axis=1).tolist()),
        difference(ours, theirs, rng, how),
        probability_of_improvement(ours, theirs, rng, how),
    )
