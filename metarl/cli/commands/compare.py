"""``metarl compare``: compare runs or sweeps with the same held-out tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from metarl.cli.console import console, say
from metarl.errors import MetarlError, require
from metarl.evaluation.comparability import unrecorded
from metarl.evaluation.physics import physics_differences
from metarl.evaluation.record import KINDS, steps_axis
from metarl.evaluation.references import Reference, references_from_json, references_json
from metarl.evaluation.statistics import Bootstrap
from metarl.reporting.agent_comparison import labels_of, write_agents
from metarl.reporting.comparison import (
    ComparisonResult,
    EvaluatedRun,
    check_comparable_runs,
    compare,
    on_common_axis,
    read_evaluated,
    same_weights,
)
from metarl.reporting.figures.profiles import write_profiles
from metarl.reporting.figures.training_curves import write_curves
from metarl.reporting.result_folder import write_configs, write_origins
from metarl.reporting.success_tables import reference_table
from metarl.reporting.tables import comparison_table
from metarl.settings import Settings
from metarl.storage.files import all_or_none, check_writable, write_json
from metarl.storage.run_folder import runs_of
from metarl.text import count, letter
from metarl.types import Json

COMPARISON = "comparison.json"
FILES = ("comparison", "profile", "agents", "curves")


@dataclass(frozen=True, kw_only=True)
class CompareArguments(Settings):
    """Compare finished runs, or sweeps of several seeds, on the held-out tasks of their suite."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs, sweeps or files of metarl evaluate.
    Two or more; the first is compared with each of the others."""
    step: Annotated[int, Ge(-1)] = -1
    """Adaptation steps before comparing; -1 for the last.
    Episodes of experience where an agent with a memory is among them."""
    over: Literal["both", "seeds"] = "both"
    """Claim of the intervals: about fresh seeds on fresh tasks, or about fresh seeds on these tasks.
    The latter is rliable's bootstrap, too narrow where seeds are few, or good or bad on all tasks."""
    output: Path | None = None
    """Folder for results; without it, tables are printed.
    It gets comparison.json, performance profiles, a table and a figure of all runs before and after adapting,
    their training curves, configs and weights. Files of metarl evaluate have no curves, configs and weights,
    so these are left out with one of them."""
    title: str = ""
    """Figures' title; by default suite and adaptation steps."""
    window: Annotated[float, Ge(0)] = 0.0
    """Environment steps averaged per point of training curves.
    0 shows every iteration."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.runs) >= 2, "metarl compare needs two runs or more", len(self.runs))


def compare_command(arguments: list[str]) -> None:
    """Compare runs or sweeps: interquartile means, probability of improvement, profiles."""
    options = tyro.cli(CompareArguments, args=arguments, prog="metarl compare")
    check_different(options.runs)
    check_output(options)
    runs = on_common_axis([read_evaluated(folder) for folder in options.runs])
    check_comparable_runs(runs)
    first, *others = runs
    axis = steps_axis(first.evaluations[0])
    # a stage is a number of steps or of episodes; step is its place on the axis
    stage = axis.values[-1] if options.step < 0 else options.step
    require(stage in axis.values, f"step must be one of {', '.join(map(str, axis.values))}", stage)
    step = axis.values.index(stage)
    results = [compare(first, other, step, Bootstrap(over=options.over)) for other in others]
    # runs have letters, since their names may be long
    letters = [letter(place) for place in range(len(runs))]
    for name, run in zip(letters, runs, strict=True):
        say(f"{name}: {run.name}, {count(len(run.evaluations), 'seed')}")
    say(f"On {len(first.evaluations[0].tasks)} held-out tasks of {first.label}, after {axis.stage(step)}.")
    for name, run in zip(letters, runs, strict=True):
        say(f"{name} was trained for {run.training}.")
        for sentence in dict.fromkeys(
            each for file in run.files for each in physics_differences(file.about.get("physics"))
        ):
            say(f"{name}: {sentence}")
    for sentence in same_weights(runs):
        say(sentence)
    # older files lack some conditions, so the user must judge them
    for sentence in unrecorded([side for run in runs for side in run.sides]):
        say(sentence)
    for quantity in ("return", *KINDS):
        if all(quantity in result for result in results):
            console.print(comparison_table(quantity, [result[quantity] for result in results]))
    if known := references_of(runs):
        console.print(reference_table(known))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        with all_or_none(options.output, FILES):
            files = write(options, options.output, runs, step, results)
        say(f"Wrote {', '.join(str(path) for path in files)}.")


def check_output(options: CompareArguments) -> None:
    """Raise MetarlError if the output has a comparison already, or cannot be written."""
    folder = options.output
    if folder is None:
        return
    if (folder / COMPARISON).exists():
        raise MetarlError(f"{folder / COMPARISON} exists already; choose another folder with --output.")
    check_writable(folder, folder=True)


def references_of(runs: Sequence[EvaluatedRun]) -> tuple[Reference, ...]:
    """Return the references of the first evaluation that has them; all have the same tasks and physics."""
    found = (references_from_json(file.about.get("references")) for run in runs for file in run.files)
    return next(filter(None, found), ())


def check_different(folders: Sequence[Path]) -> None:
    """Check that no run is named twice.

    Raises:
        MetarlError: if one is, by different paths perhaps, or by itself and in a sweep.
    """
    known = set[Path]()
    for folder in folders:
        # a sweep names its runs
        places = {run.resolve(): run for run in runs_of(folder)}
        if twice := [places[place] for place in places if place in known]:
            raise MetarlError(f"The run {twice[0]} is named twice; a run cannot differ from itself.")
        known |= places.keys()


def write(
    options: CompareArguments,
    folder: Path,
    runs: Sequence[EvaluatedRun],
    step: int,
    results: Sequence[Mapping[str, ComparisonResult]],
) -> list[Path]:
    """Write numbers and figures."""
    axis = steps_axis(runs[0].evaluations[0])
    title = options.title or f"{runs[0].label}, after {axis.stage(step)}"
    labels = labels_of(runs)
    stages = {label: (run.evaluations, step) for label, run in zip(labels, runs, strict=True)}
    # training curves, configs and weights stand in the runs' folders
    folders_alone = all(path.is_dir() for path in options.runs)
    files = write_curves(options.runs, labels, folder, title, window=options.window) if folders_alone else []
    files += [*write_profiles(folder, stages, title), *write_agents(runs, folder, title)]
    pairs = [pair_json(runs[0], other, step, result) for other, result in zip(runs[1:], results, strict=True)]
    content: dict[str, Json] = dict(pairs[0]) if len(pairs) == 1 else {"pairs": list[Json](pairs)}
    content["over"] = options.over
    if known := references_of(runs):
        content["references"] = references_json(known)
    write_json(folder / COMPARISON, content, indent=2)
    files.append(folder / COMPARISON)
    if not folders_alone:
        return files
    # for metarl reproduce: the configs, the weights, and how they were measured
    measured = {label: run.files for label, run in zip(labels, runs, strict=True)}
    return [*files, *write_configs(folder, measured), *write_origins(folder, measured)]


def pair_json(
    ours: EvaluatedRun, theirs: EvaluatedRun, step: int, result: Mapping[str, ComparisonResult]
) -> dict[str, Json]:
    """Return a comparison's numbers as JSON."""
    axis = steps_axis(ours.evaluations[0])
    return {
        "ours": ours.name,
        "theirs": theirs.name,
        "training": {"ours": ours.training, "theirs": theirs.training},
        axis.name: axis.values[step],
        **{quantity: one.to_json() for quantity, one in result.items()},
    }
