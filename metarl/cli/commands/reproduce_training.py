"""Results of trainings, evaluated or trained again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from metarl.cli.commands.evaluate import measure
from metarl.cli.commands.sweep import describe_failures, train_all
from metarl.cli.console import say
from metarl.config import EvaluationConfig, construct, to_json
from metarl.errors import MetarlError
from metarl.evaluation.record import Evaluation
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.agent_comparison import row_of, summarize_run
from metarl.reporting.aggregate import write_seeds
from metarl.reporting.comparison import EvaluatedRun, on_common_axis
from metarl.reporting.csv_files import average, write_csv
from metarl.reporting.figures.training_curves import windowed
from metarl.reporting.number_comparison import Number, Rows, compare_curves, compare_tables, number, read_rows
from metarl.reporting.reproduction_plan import Group, Plan, chosen, curves_of
from metarl.reporting.result_folder import Origin
from metarl.storage.files import encode_json, write_folder
from metarl.storage.locks import locked
from metarl.storage.metrics import read_metrics
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.storage.run_folder import CONFIG
from metarl.text import count
from metarl.training import runs
from metarl.training.evaluation_reader import Measured, is_of, read_evaluation
from metarl.training.sweep import Sweep

SEEDS_OF_ALL = "all"  # name of all seeds' rows in ``adaptation.csv``


def evaluate_again(plan: Plan, temporary: Path) -> list[Number]:
    """Measure a result's weights and compare its tables."""
    measured = {}
    for group in plan.groups:
        measured[group.label] = [measure_weights(plan.name, origin) for origin in chosen(group)]
    return compare_evaluations(plan, measured, temporary, trained=False)


def measure_weights(name: str, origin: Origin) -> Measured:
    """Measure one seed's weights as they were measured.

    Raises:
        MetarlError: if the weights are not those that were measured.
    """
    assert origin.weights is not None
    if not is_of(origin.about, open_checkpoint(origin.weights, say)):
        raise MetarlError(f"The weights {origin.weights} are not those that were measured.")
    settings = origin.about.get("evaluation")
    config = construct(EvaluationConfig, settings) if isinstance(settings, dict) and settings else None
    experiment = runs.open_trained(origin.weights, say, config)
    tasks = experiment.suite.tasks("test")
    run = f"seed {origin.seed} {origin.label}".rstrip()
    say(f"{name}: evaluating {run} on {count(len(tasks), 'held-out task')}.")
    purpose, seed = stream_of(origin)
    evaluation = measure(experiment, tasks, make_rng(seed, purpose))
    return Measured(origin.weights, evaluation, {**origin.about, "config": {"evaluation": settings}})


def stream_of(origin: Origin) -> tuple[Purpose, int]:
    """Return a run's random stream of measurement.

    It is the one at the end of a training, unless the file names another.
    """
    stream = origin.about.get("stream")
    if not isinstance(stream, dict):
        return Purpose.TEST, origin.seed
    seed = stream.get("seed")
    return Purpose(stream.get("purpose")), seed if isinstance(seed, int) else origin.seed


def train_again(
    plan: Plan, root: Path, parallel: int, *, resume: bool
) -> tuple[list[Number], dict[str, list[Measured]]]:
    """Train a result's seeds again, and compare its tables and curves.

    Args:
        parallel: runs at a time; 0 for one a core.

    Returns:
        Every number, and the new evaluations by their agent's label.

    Raises:
        MetarlError: if there are runs already, or a seed fails.
    """
    measured, curves = {}, {}
    for group in plan.groups:
        folders = train_group(group, group.label or plan.folder.name, root, parallel, resume=resume)
        measured[group.label] = [read_evaluation(folder) for folder in folders]
        curves[group.label] = average([read_metrics(folder) for folder in folders])
    numbers = compare_evaluations(plan, measured, root / "tables", trained=True)
    published = curves_of(plan.folder)
    for group in plan.groups:
        # a mean over seeds is not comparable with that of fewer
        if is_whole(plan):
            rows = published[group.label]
            window, found = window_of(rows), curves[group.label]
            curve = [
                {name: str(value) for name, value in row.items()}
                for row in (windowed(found, window) if window else found)
            ]
            numbers += compare_curves("curves.csv" if group.label else "curve.csv", group.label, rows, curve)
    return numbers, measured


def train_group(group: Group, name: str, root: Path, parallel: int, *, resume: bool) -> list[Path]:
    """Train one config's seeds; return their runs."""
    config = dataclasses.replace(group.config, name=name)
    for seed in group.seeds:
        folder = root / f"{name}-seed{seed}"
        if (folder / CONFIG).is_file():
            if not resume:
                raise MetarlError(
                    f"{folder} exists already; resume it with --resume, or choose other --runs."
                )
            continue
        own = dataclasses.replace(config, seed=seed, name=folder.name)
        write_folder(folder, {CONFIG: encode_json(to_json(own), indent=2)})
    sweep = Sweep(config, "", (), group.seeds, root)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with locked(sweep.folder):
        failed = train_all(sweep, parallel, resume="--resume")
    if failed:
        raise MetarlError(describe_failures(failed, len(sweep.runs)))
    return [run.folder for run in sweep.runs]


def compare_evaluations(
    plan: Plan, measured: Mapping[str, list[Measured]], folder: Path, *, trained: bool
) -> list[Number]:
    """Compare published tables of evaluations with new ones.

    Args:
        measured: the new evaluations by label, one for each seed.
        folder: where the new tables are written.
        trained: whether the agents were trained again. A seed with other bits is another seed, so where a
            seed's numbers are not equal, only the rows of all seeds are compared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = []
    if "" in measured:
        seeds = plan.groups[0].seeds
        files = write_seeds(folder, seeds, [each.evaluation for each in measured[""]])
        names = [f"seed {seed}" for seed in seeds]
        for file in files:
            if not (plan.folder / file.name).is_file():
                continue
            keeps = rows_of([*names, SEEDS_OF_ALL] if is_whole(plan) else names)
            found = compare_tables(
                file.name, keeps(read_rows(plan.folder / file.name)), keeps(read_rows(file))
            )
            exact = all(one.verdict == "equal" for one in found)
            if trained and not exact and len(names) > 1 and is_whole(plan):
                keeps = rows_of([SEEDS_OF_ALL])
                found = compare_tables(
                    file.name, keeps(read_rows(plan.folder / file.name)), keeps(read_rows(file))
                )
            numbers += found
    elif is_whole(plan):
        evaluations = on_common_axis([evaluated(group, measured[group.label]) for group in plan.groups])
        rows = [row_of(summarize_run(run.name, run)) for run in evaluations]
        write_csv(folder / "agents.csv", rows)
        numbers += compare_tables(
            "agents.csv", read_rows(plan.folder / "agents.csv"), read_rows(folder / "agents.csv")
        )
    return numbers


def evaluated(group: Group, measured: list[Measured]) -> EvaluatedRun:
    """Return a group's evaluations under its label."""
    label = group.origins[0].label if group.origins else group.label
    evaluations: tuple[Evaluation, ...] = tuple(each.evaluation for each in measured)
    config = group.config
    return EvaluatedRun(
        label, config.suite, evaluations, tuple(measured), config.success_bonus, config.agent.kind
    )


def is_whole(plan: Plan) -> bool:
    """Return whether every seed is reproduced."""
    return all(len(group.seeds) == group.published_seeds for group in plan.groups)


def rows_of(seeds: list[str]) -> Callable[[Rows], Rows]:
    """Return a function that keeps these seeds' rows."""
    return lambda rows: [row for row in rows if row.get("seeds") in seeds]


def window_of(rows: Rows) -> float:
    """Return the steps of a curve's windows; 0 if it has every iteration."""
    if "iteration" in rows[0]:
        return 0.0
    return number(rows[0].get("env_steps", "")) or 0.0
