"""Two runs, or two sweeps of several seeds, compared on the same held-out tasks."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl.config import SuiteConfig
from metarl.errors import MetarlError, require
from metarl.evaluation import Evaluation, check_same_tasks, scores_of
from metarl.runs import read_config
from metarl.seeds import read_evaluation
from metarl.statistics import (
    RATE,
    Aggregates,
    Bootstrap,
    Interval,
    Values,
    aggregates,
    difference,
    probability_of_improvement,
)
from metarl.types import Json

SWEEP = "sweep.json"
"""In the folder of a sweep: which runs it is made of."""


@dataclass(frozen=True)
class Contender:
    """A run, or several that differ in their seed only."""

    name: str
    """Its folder's."""
    suite: SuiteConfig
    """What it was trained and tested on."""
    evaluations: tuple[Evaluation, ...]
    """One for each seed."""


@dataclass(frozen=True)
class Verdict:
    """What two contenders score in one quantity."""

    ours: Aggregates
    theirs: Aggregates
    our_seeds: tuple[float, ...]
    """Mean of each seed of ours."""
    their_seeds: tuple[float, ...]
    difference: Interval
    """Mean of ours minus mean of theirs."""
    improvement: Interval
    """Probability that a seed of ours beats one of theirs on a task."""

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        return {
            "ours": {name: list(interval) for name, interval in self.ours._asdict().items()},
            "theirs": {name: list(interval) for name, interval in self.theirs._asdict().items()},
            "seeds": {"ours": list(self.our_seeds), "theirs": list(self.their_seeds)},
            "difference": list(self.difference),
            "probability_of_improvement": list(self.improvement),
        }


def read_contender(folder: Path) -> Contender:
    """Return a finished run, or the finished runs of a sweep.

    Raises:
        MetarlError: if the folder is neither.
    """
    runs = sweep_runs(folder) if (folder / SWEEP).is_file() else [folder]
    suite = read_config(runs[0]).suite
    return Contender(folder.name, suite, tuple(read_evaluation(run) for run in runs))


def sweep_runs(folder: Path) -> list[Path]:
    """Return the folders of the runs that a sweep has finished.

    Raises:
        MetarlError: if it has finished none, or its file is damaged.
    """
    try:
        content = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        names = [str(name) for name in content["finished"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MetarlError(f"{folder / SWEEP} is damaged; start the sweep again.") from error
    require(len(names) > 0, f"{folder} must have a finished run to be compared", "without one yet")
    return [folder.parent / name for name in names]


def check_comparable(ours: Contender, theirs: Contender) -> None:
    """Make sure that scores of one mean what they mean of the other.

    Raises:
        MetarlError: if the suites, or the tasks, differ; says in what.
    """
    one, other = ours.suite, theirs.suite
    if one.label != other.label:
        raise MetarlError(
            f"Only runs on the same suite can be compared, but {ours.name} is on {one.label} and "
            f"{theirs.name} on {other.label}."
        )
    if one != other:
        settings = [item.name for item in dataclasses.fields(one)]
        differ = [name for name in settings if getattr(one, name) != getattr(other, name)]
        raise MetarlError(
            f"Only runs on the same suite can be compared, but {ours.name} and {theirs.name} differ in its "
            f"{', '.join(differ)}."
        )
    check_same_tasks([*ours.evaluations, *theirs.evaluations])


def compare(ours: Contender, theirs: Contender, step: int, how: Bootstrap) -> dict[str, Verdict]:
    """Compare returns, and success rates where both have them, after a number of adaptation steps.

    Raises:
        MetarlError: if the two cannot be compared, or were not measured after so many steps.
    """
    check_comparable(ours, theirs)
    last = ours.evaluations[0].adaptation_steps
    require(0 <= step <= last, f"step must lie in 0..{last}", step)
    families = tuple(task.family for task in ours.evaluations[0].tasks)
    stratified = dataclasses.replace(how, strata=families)
    scores = {
        quantity: tuple(scores_of(side.evaluations, step, quantity) for side in (ours, theirs))
        for quantity in ("return", "success")
    }
    return {
        quantity: _verdict(
            one, other, dataclasses.replace(stratified, bounds=RATE) if quantity == "success" else stratified
        )
        for quantity, (one, other) in scores.items()
        if one is not None and other is not None
    }


def _verdict(ours: Values, theirs: Values, how: Bootstrap) -> Verdict:
    rng = np.random.default_rng(0)
    return Verdict(
        aggregates(ours, rng, how),
        aggregates(theirs, rng, how),
        tuple(ours.mean(axis=1).tolist()),
        tuple(theirs.mean(axis=1).tolist()),
        difference(ours, theirs, rng, how),
        probability_of_improvement(ours, theirs, rng, how),
    )
