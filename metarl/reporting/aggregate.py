"""Combination of one experiment's seeds in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metarl.config import ExperimentConfig
from metarl.errors import MetarlError
from metarl.evaluation.comparability import Side, check_comparable, shared_settings
from metarl.evaluation.record import Evaluation, steps_axis
from metarl.evaluation.summary import Measures, summarize_ends, summarize_seeds
from metarl.meta_learner import Trial
from metarl.reporting.comparison import read_evaluation_file
from metarl.reporting.csv_files import average, interval_columns, write_csv
from metarl.reporting.figures.learning_curve import draw_adaptation_curve, draw_learning_curve
from metarl.reporting.figures.profiles import write_profiles
from metarl.reporting.figures.style import save
from metarl.reporting.result_folder import write_origins
from metarl.storage.files import check_writable, write_json
from metarl.storage.metrics import missing_rows, read_metrics
from metarl.storage.run_folder import EVALUATION
from metarl.text import count, stage_name
from metarl.training.best_so_far import as_planned
from metarl.training.evaluation_reader import Measured, read_evaluation
from metarl.training.runs import read_config_of_results
from metarl.types import Json

CLOCK = "time/elapsed"

Evaluated = tuple[ExperimentConfig, Measured]


def combine(paths: Sequence[Path], output: Path, title: str) -> list[Path]:
    """Combine finished runs, or their files of ``metarl evaluate``, that differ only in their seed.

    Writes ``config.json`` (with all seeds), ``adaptation.csv`` (held-out return and success of each seed and
    of all of them after each adaptation step, with 95 % intervals: over tasks for a seed, over seeds and
    tasks for all) with its figure, performance profiles before and after adapting, and, where there are
    several, ``families.csv`` (the numbers of ``adaptation.csv`` for each family of held-out tasks).

    Of runs also ``curve.csv`` (mean, lowest and highest seed of every metric after every iteration) with its
    figure and, for ``metarl reproduce``, the seeds' weights and ``measured.json``. Of files the config, as
    evaluated, is ``settings.json``.

    Raises:
        MetarlError: if a path is neither a finished run nor an evaluation, two have the same seed, the runs
            differ in more than their seed, name and how often they were saved and measured, or ``output``
            cannot be written.
    """
    if not paths:
        raise MetarlError("Expected runs, or files of metarl evaluate, got none.")
    check_writable(output, folder=True)
    read, content = _read_alike(paths)
    measured = [each for _, each in read]
    evaluations, trial = [each.evaluation for each in measured], measured[0].evaluation.trial
    # settings of an evaluation are not those to train with again
    from_runs = all(path.is_dir() for path in paths)
    if from_runs:  # before anything is written
        _check_metrics(paths, measured)
    output.mkdir(parents=True, exist_ok=True)
    files = [output / ("config.json" if from_runs else "settings.json")]
    write_json(files[0], content, indent=2)
    files += write_seeds(output, [config.seed for config, _ in read], evaluations)
    # the figures of a single run, with intervals over seeds
    files.append(output / "adaptation.png")
    summary = summarize_seeds(evaluations, np.random.default_rng(0))
    steps, label = range(len(summary.returns)), steps_axis(evaluations[0]).label
    means = summary.returns, summary.successes
    save(draw_adaptation_curve(steps, *means, title, label, seeds=len(paths)), files[-1])
    # profiles before adapting and after the last step
    stages = {stage_name(step, trial): (evaluations, step) for step in (0, len(steps) - 1)}
    files += write_profiles(output, stages, title)
    if from_runs:
        files += [*_write_curve(output, paths, title, trial), *write_origins(output, {"": measured})]
    return files


def _read_alike(paths: Sequence[Path]) -> tuple[list[Evaluated], dict[str, Json]]:
    """Read runs or evaluations that differ only in their seed; return their settings with all seeds too."""
    found = [_finished(path) for path in paths]
    configs = as_planned(paths, [config for config, _ in found])
    read = [(config, each) for config, (_, each) in zip(configs, found, strict=True)]
    seeds = [config.seed for config, _ in read]
    _check_seeds(paths, seeds)
    content = shared_settings(read[0][0])
    expected = _deciding(content)
    for path, (config, _) in zip(paths, read, strict=True):
        if (settings := _deciding(shared_settings(config))) != expected:
            difference = _first_difference(settings, expected)
            raise MetarlError(f"{path} and {paths[0]} differ in more than their seed, in {difference}.")
    check_comparable(
        [
            Side(str(path), config.suite, each.evaluation, each.about)
            for path, (config, each) in zip(paths, read, strict=True)
        ]
    )
    content["seeds"] = [*seeds]
    return read, content


def _deciding(settings: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out how often a run is saved, and measured where that stops none."""
    kept = {name: value for name, value in settings.items() if name != "checkpoint"}
    evaluation = kept["evaluation"]
    assert isinstance(evaluation, dict)
    if not evaluation["patience"]:
        kept["evaluation"] = {name: value for name, value in evaluation.items() if name != "every"}
    return kept


def _first_difference(ours: Mapping[str, Json], theirs: Mapping[str, Json]) -> str:
    """Name the first setting in which two configs differ, and both values."""
    name = next(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
    one, other = ours.get(name), theirs.get(name)
    if isinstance(one, dict) and isinstance(other, dict):
        return f"{name}.{_first_difference(one, other)}"
    return f"{name}: {one} and {other}"


def _check_seeds(paths: Sequence[Path], seeds: Sequence[int]) -> None:
    # the same seed twice would make intervals too narrow
    first: dict[int, Path] = {}
    for path, seed in zip(paths, seeds, strict=True):
        if seed in first:
            raise MetarlError(
                f"Expected runs of different seeds, got seed {seed} in {first[seed]} and {path}."
            )
        first[seed] = path


def _check_metrics(folders: Sequence[Path], measured: Sequence[Measured]) -> None:
    # a curve would end, or have a gap, where one run's metrics do
    for folder, each in zip(folders, measured, strict=True):
        if missing := missing_rows(folder, each.iteration or 0):
            raise MetarlError(
                f"Expected metrics of {count(each.iteration or 0, 'iteration')} in {folder}, got none of "
                f"{count(len(missing), 'iteration')}, from {missing[0]} on; was it copied while it trained? "
                f"For tables without a curve give its {EVALUATION}."
            )


def _finished(path: Path) -> Evaluated:
    if path.is_file():
        return read_evaluation_file(path)
    return read_config_of_results(path), read_evaluation(path)


def _write_curve(output: Path, folders: Sequence[Path], title: str, trial: Trial) -> list[Path]:
    files = [output / "curve.csv", output / "learning_curve.png"]
    rows = average([read_metrics(folder) for folder in folders])
    # durations of parts differ between machines; only the clock is kept
    kept = [{k: v for k, v in row.items() if k == CLOCK or not k.startswith("time/")} for row in rows]
    write_csv(files[0], kept)
    save(draw_learning_curve(rows, title, _footer(len(folders)), trial), files[1])
    return files


def write_seeds(output: Path, seeds: Sequence[int], evaluations: Sequence[Evaluation]) -> list[Path]:
    """Write ``adaptation.csv``, and ``families.csv`` if there are several."""
    names = [f"seed {seed}" for seed in seeds]
    files = [output / "adaptation.csv"]
    write_csv(files[0], _rows_by_seed(names, evaluations))
    families = sorted({task.family for task in evaluations[0].tasks})
    if len(families) > 1:
        files.append(output / "families.csv")
        rows: list[dict[str, str | float]] = [
            {"family": family, **row}
            for family in families
            for row in _rows_by_seed(names, [part.only(family) for part in evaluations])
        ]
        write_csv(files[1], rows)
    return files


def _footer(seeds: int) -> str:
    if seeds == 1:
        return "Lines and markers: mean over tasks, of one seed."
    return f"Lines and markers: mean over {seeds} seeds. Bars: from the lowest seed to the highest."


def _rows_by_seed(seeds: Sequence[str], evaluations: Sequence[Evaluation]) -> list[dict[str, str | float]]:
    """Return rows by seed and adaptation step, then rows of all seeds together."""
    rows: list[dict[str, str | float]] = []
    # each seed by itself, then all together
    groups = [(name, [part]) for name, part in zip(seeds, evaluations, strict=True)]
    for label, parts in [*groups, ("all", list(evaluations))]:
        summary = summarize_seeds(parts, np.random.default_rng(0))
        ends = summarize_ends(parts, np.random.default_rng(0))
        for step in range(parts[0].adaptation_steps + 1):
            row: dict[str, str | float] = {
                "seeds": label,
                "adaptation_steps": step,
                "tasks": sum(len(part.tasks) for part in parts),
            }
            for quantity, measures in {**summary.measures, **ends}.items():
                row |= _measured(quantity, measures, step)
            rows.append(row)
    return rows


def _measured(quantity: str, measures: Measures, step: int) -> dict[str, str | float]:
    return {
        **interval_columns(quantity, measures.means[step]),
        **interval_columns(f"{quantity}_gain", measures.gains[step]),
        **interval_columns(f"{quantity}_iqm", measures.iqms[step]),
        **interval_columns(f"{quantity}_median", measures.medians[step]),
        **interval_columns(f"{quantity}_worse", measures.worse[step]),
    }
