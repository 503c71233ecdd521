"""``metarl compare``: is one run, or one sweep, better than another on the same held-out tasks?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metarl.cli.console import console, say
from metarl.errors import MetarlError, require
from metarl.evaluation.comparability import unrecorded
from metarl.evaluation.statistics import Bootstrap
from metarl.reporting.comparison import Contender, Verdict, compare, read_contender
from metarl.reporting.figures.profiles import write_profiles
from metarl.reporting.tables import verdict_table
from metarl.storage.files import all_or_none, write_json
from metarl.text import count
from metarl.types import Json


@dataclass(frozen=True, kw_only=True)
class CompareArguments:
    """Compare two finished runs, or sweeps of several seeds, on the held-out tasks of their suite."""

    runs: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """Folders of two runs or sweeps."""
    step: int = -1
    """Adaptation steps after which they are compared; -1 for the last."""
    over: Literal["both", "seeds"] = "both"
    """Claim of the intervals: about fresh seeds on fresh tasks, or about fresh seeds on these tasks.

    The latter is rliable's bootstrap, too narrow where seeds are few, or good or bad on all tasks.
    """
    output: Path | None = None
    """Folder for comparison.json, and for performance profiles; by default only a table is printed."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(-1 <= self.step, "step must be 0 or more, or -1 for the last", self.step)


def compare_command(arguments: list[str]) -> None:
    """Compare two runs or sweeps: interquartile means, probability of improvement, profiles."""
    wanted = tyro.cli(CompareArguments, args=arguments, prog="metarl compare")
    ours, theirs = (read_contender(folder) for folder in wanted.runs)
    step = ours.evaluations[0].adaptation_steps if wanted.step < 0 else wanted.step
    verdicts = compare(ours, theirs, step, Bootstrap(over=wanted.over))
    say(
        f"A: {describe(ours)}\nB: {describe(theirs)}\n"
        f"On {len(ours.evaluations[0].tasks)} held-out tasks of {ours.label}, "
        f"after {count(step, 'adaptation step')}.\n"
        f"A was trained for {ours.training}.\nB was trained for {theirs.training}."
    )
    for sentence in unrecorded([*ours.sides, *theirs.sides]):
        say(sentence)
    for quantity, verdict in verdicts.items():
        console.print(verdict_table(quantity, verdict))
    if wanted.output is not None:
        wanted.output.mkdir(parents=True, exist_ok=True)
        with all_or_none(wanted.output, ("comparison", "profile")):
            files = write(wanted.output, ours, theirs, step, verdicts)
        say(f"Wrote {', '.join(str(path) for path in files)}.")


def describe(contender: Contender) -> str:
    """Say what is compared."""
    return f"{contender.name}, {count(len(contender.evaluations), 'seed')}"


def write(
    folder: Path, ours: Contender, theirs: Contender, step: int, verdicts: dict[str, Verdict]
) -> list[Path]:
    """Write the numbers and the performance profiles.

    Raises:
        MetarlError: if there is a comparison already.
    """
    path = folder / "comparison.json"
    if path.exists():
        raise MetarlError(f"{path} exists already; choose another folder with --output.")
    content: dict[str, Json] = {
        "ours": ours.name,
        "theirs": theirs.name,
        "training": {"ours": ours.training, "theirs": theirs.training},
        "adaptation_steps": step,
        **{quantity: verdict.to_json() for quantity, verdict in verdicts.items()},
    }
    write_json(path, content, indent=2)
    stages = {f"A: {ours.name}": (ours.evaluations, step), f"B: {theirs.name}": (theirs.evaluations, step)}
    return [
        path,
        *write_profiles(folder, stages, f"{ours.label}, after {count(step, 'adaptation step')}"),
    ]
