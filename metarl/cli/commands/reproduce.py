"""``metarl reproduce``: compute published results again.

Every number is compared with the one in the result's folder.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from metarl.cli.commands.evaluate import says
from metarl.cli.commands.reproduce_training import evaluate_again, is_whole, train_again
from metarl.cli.console import console, say
from metarl.errors import MetarlError
from metarl.reporting.number_comparison import Number, compare_tables, read_rows
from metarl.reporting.reproduction_plan import Plan, Program, find_results, plan
from metarl.reporting.reproduction_tables import (
    Outcome,
    differences,
    outcome_table,
    plan_table,
    write_outcomes,
)
from metarl.reporting.result_folder import write_origins
from metarl.settings import Settings, Workers
from metarl.storage.files import check_writable

RESULTS = Path("results")
OF_TRAININGS = ("parallel", "runs", "resume", "keep_weights")  # options that serve trainings alone


@dataclass(frozen=True, kw_only=True)
class ReproduceArguments(Settings):
    """Compute published results again and compare every number; exit code 1 if one differs.

    Results with weights are evaluated again, in minutes. Others are trained again, which can take hours:
    --plan says how long. Results without training are made again by their program.
    """

    results: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of results; by default all in results/."""
    plan: bool = False
    """Print what would be done, and how long it took, without doing it."""
    train: bool = False
    """Train again even where there are weights."""
    seeds: Annotated[int, Ge(0)] = 0
    """Seeds to reproduce per result; 0 for all.
    Each is compared with its own numbers."""
    minutes: Annotated[float, Ge(0)] = 0.0
    """Leave out results that took longer than this.
    Those of unknown time too; 0 leaves none out."""
    parallel: Workers = 0
    """Trainings at once; 0 for one a core.
    The numbers do not depend on it."""
    runs: Path = Path("runs") / "reproduce"
    """Folder of the trainings' runs."""
    resume: bool = False
    """Resume trainings of an earlier call in --runs."""
    keep_weights: bool = False
    """Keep weights of trainings with all numbers equal.
    They go into the result's folder."""
    output: Path | None = None
    """Folder for reproduction.csv (every number), reproduction.json and the files made again."""


def reproduce_command(arguments: list[str]) -> None:
    """Compute published results again and compare every number."""
    options = tyro.cli(ReproduceArguments, args=arguments, prog="metarl reproduce")
    plans = plans_of(options)
    check_trainings(arguments, plans)
    console.print(plan_table(plans))
    for sentence in notes(plans):
        say(sentence)
    if options.plan:
        return
    if options.output is not None:
        check_writable(options.output, folder=True)
    outcomes = []
    for each in plans:
        outcomes.append(reproduce(each, options))
        if options.output is not None:
            write_outcomes(options.output, outcomes)
    console.print(outcome_table(outcomes))
    for outcome in outcomes:
        for sentence in differences(outcome):
            say(sentence)
    if options.output is not None:
        say(f"Wrote reproduction.csv, reproduction.json in {options.output}.")
    if any(outcome.verdict == "different" for outcome in outcomes):
        sys.exit(1)


def check_trainings(arguments: Sequence[str], plans: Sequence[Plan]) -> None:
    """Check that options of trainings have one to serve.

    Raises:
        MetarlError: names the options if nothing is trained.
    """
    given = [name for name in OF_TRAININGS if says(arguments, name)]
    if given and not any(each.how == "train" and not each.left_out for each in plans):
        named = ", ".join("--" + name.replace("_", "-") for name in given)
        verb = "is" if len(given) == 1 else "are"
        raise MetarlError(
            f"{named} {verb} for results that are trained again, and none of these is; add --train."
        )


def plans_of(options: ReproduceArguments) -> list[Plan]:
    """Return the plan of each result.

    Raises:
        MetarlError: if a folder holds no result.
    """
    roots = options.results or (RESULTS,)
    plans = []
    for root in roots:
        folders = find_results(root)
        if not folders:
            raise MetarlError(f"Expected a result, or a folder of results, got {root}, which holds no table.")
        for folder in folders:
            name = name_of(folder)
            found = plan(folder, name, train=options.train, seeds=options.seeds)
            plans.append(dataclasses.replace(found, skipped=too_long(found, options.minutes)))
    return plans


def too_long(each: Plan, minutes: float) -> str:
    """Say why a result is not made again within this many minutes; empty if it is."""
    if each.how == "nothing" or minutes == 0:
        return ""
    if each.seconds == 0:
        return "how long it takes is not recorded"
    return f"it takes more than {minutes:g} minutes" if each.seconds > minutes * 60 else ""


def name_of(folder: Path) -> str:
    """Return a result's name below ``results``."""
    parts = folder.resolve().parts
    places = [place for place, part in enumerate(parts[:-1]) if part == RESULTS.name]
    return "/".join(parts[places[-1] + 1 :]) if places else folder.resolve().name


def notes(plans: Sequence[Plan]) -> list[str]:
    """Say which results are left out, trained again, or not quite the published ones."""
    found: dict[str, list[str]] = {}
    for each in plans:
        if each.left_out:
            said = f"Left out ({each.left_out}):"
        elif each.reason:
            said = f"Trained again ({each.reason}):"
        else:
            continue
        found.setdefault(said, []).append(each.name)
    sentences = [f"{said} {', '.join(names)}." for said, names in found.items()]
    for each in plans:
        unnamed = sorted({name for group in each.groups for name in group.unnamed})
        if unnamed and each.how == "train" and not each.left_out:
            sentences.append(
                f"{each.name}: its config does not name {', '.join(unnamed)}; today's defaults are taken."
            )
    return sentences


def reproduce(each: Plan, options: ReproduceArguments) -> Outcome:
    """Compute a result again; a failure of one does not stop the others."""
    if each.left_out:
        return Outcome(each, ())
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="metarl-") as temporary:
            (made := Path(temporary) / "made").mkdir()
            numbers = compute(each, options, made)
            if options.output is not None and any(made.iterdir()):
                shutil.copytree(made, options.output / each.name, dirs_exist_ok=True)
    except MetarlError as error:
        say(f"{each.name}: {error}")
        return Outcome(each, (), error=str(error), seconds=time.perf_counter() - start)
    return Outcome(each, tuple(numbers), seconds=time.perf_counter() - start)


def compute(each: Plan, options: ReproduceArguments, temporary: Path) -> Sequence[Number]:
    """Compute a result's numbers beside the published ones."""
    if each.program is not None:
        return run_program(each, each.program, temporary)
    if each.how == "evaluate":
        return evaluate_again(each, temporary)
    numbers, measured = train_again(each, options.runs / each.name, options.parallel, resume=options.resume)
    if options.keep_weights and is_whole(each) and all(number.verdict == "equal" for number in numbers):
        written = write_origins(each.folder, measured)
        say(f"{each.name}: wrote {', '.join(str(path) for path in written)}.")
    return numbers


def run_program(each: Plan, program: Program, temporary: Path) -> list[Number]:
    """Run a result's program, and compare its tables.

    Raises:
        MetarlError: if it is not there, or it fails.
    """
    root = root_of(each.folder)
    python = Path(sys.executable)
    if program.environment:
        python = root / program.environment / "bin" / "python"
        if not python.is_file():
            raise MetarlError(f"Expected the environment {program.environment} in {root}, got none.")
    arguments = [word.replace("{output}", str(temporary)) for word in program.arguments]
    command = [str(python), "-m", program.module, *arguments]
    say(f"{each.name}: running {program.module} {' '.join(arguments)}")
    ended = subprocess.run(command, cwd=root, check=False)  # a module of benchmarks, not a shell
    if ended.returncode != 0:
        raise MetarlError(f"{program.module} failed with exit code {ended.returncode}.")
    return [
        found
        for name in program.files
        for found in compare_tables(
            name,
            read_rows(each.folder / name),
            read_rows(temporary / name),
            tolerance=program.tolerance,
            ignored=program.ignored,
        )
    ]


def root_of(folder: Path) -> Path:
    """Return the folder with ``benchmarks`` above a result.

    Raises:
        MetarlError: if there is none.
    """
    for parent in folder.resolve().parents:
        if (parent / "benchmarks").is_dir():
            return parent
    raise MetarlError(
        f"Expected a folder benchmarks above {folder}, got none: take a clone of the repository."
    )
