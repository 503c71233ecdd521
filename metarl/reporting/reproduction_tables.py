"""Tables and files of reproduced results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from metarl import __version__
from metarl.reporting.csv_files import write_csv
from metarl.reporting.number_comparison import Number, Verdict
from metarl.reporting.reproduction_plan import Plan
from metarl.reporting.table import Column, Row, Table, whole
from metarl.storage.files import write_json
from metarl.types import Json

OutcomeVerdict: TypeAlias = Literal["equal", "within", "different", "left out"]

MOST_SENTENCES = 5  # differing numbers that are printed for each result
_WORDS = {"evaluate": "evaluate", "train": "train", "program": "program", "nothing": "left out"}


@dataclass(frozen=True)
class Outcome:
    """A result, and every number of it that was computed again."""

    plan: Plan
    numbers: tuple[Number, ...]
    error: str = ""  # why it could not be computed; empty if it was
    seconds: float = 0.0

    @property
    def verdict(self) -> OutcomeVerdict:
        """The worst verdict of its numbers; a failure counts as different."""
        if self.plan.left_out:
            return "left out"
        verdicts = {number.verdict for number in self.numbers}
        if self.error or not verdicts or "different" in verdicts:
            return "different"
        return "within" if "within" in verdicts else "equal"

    def to_json(self) -> dict[str, Json]:
        """Return the outcome as plain JSON."""
        unnamed = sorted({name for group in self.plan.groups for name in group.unnamed})
        return {
            "result": self.plan.name,
            "how": self.plan.how,
            "reason": self.plan.skipped or self.plan.reason,
            "error": self.error,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 1),
            "published_seconds": round(self.plan.seconds, 1),
            "settings_not_named": list[Json](unnamed),
            "numbers": [number.to_json() for number in self.numbers],
        }


def plan_table(plans: Sequence[Plan]) -> Table:
    """Return what would be done for each result, and how long it took."""
    columns = (Column("how"), Column("seeds", whole), Column("env steps", whole), Column("took"))
    rows = tuple(
        Row(
            each.name,
            (
                _WORDS[each.how],
                sum(len(group.seeds) for group in each.groups) or None,
                each.env_steps or None,
                duration(each.seconds) if each.seconds else None,
            ),
        )
        for each in plans
    )
    caption = "took: on the machine that made it, one run after another"
    return Table("result", columns, rows, "plan", caption)


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Return one row for each result: how many numbers agree, and how long it took."""
    kinds: tuple[Verdict, ...] = ("equal", "within", "different")
    columns = (
        Column("how"),
        Column("numbers", whole),
        *(Column(kind, whole) for kind in kinds),
        Column("verdict"),
        Column("time"),
    )
    rows = []
    for outcome in outcomes:
        counts = Counter(number.verdict for number in outcome.numbers)
        parts = [counts[kind] if outcome.numbers else None for kind in kinds]
        total = len(outcome.numbers) or None
        said = "failed" if outcome.error else outcome.verdict
        seconds = outcome.seconds or outcome.plan.seconds
        took = duration(seconds) if seconds else None
        rows.append(Row(outcome.plan.name, (_WORDS[outcome.plan.how], total, *parts, said, took)))
    caption = (
        "equal: to nine digits; within: in the published 95 % interval, or the program's tolerance\n"
        "time: here; of those left out, on the machine that made them, one run after another"
    )
    return Table("result", columns, tuple(rows), "reproduced", caption)


def differences(outcome: Outcome) -> list[str]:
    """Return sentences about the numbers that differ."""
    if outcome.error:
        return [f"{outcome.plan.name} failed: {outcome.error}"]
    found = [number for number in outcome.numbers if number.verdict == "different"]
    said = [f"{outcome.plan.name}: {describe(number)}" for number in found[:MOST_SENTENCES]]
    more = len(found) - len(said)
    return [*said, f"{outcome.plan.name}: {more} more differ; --output lists them."] if more else said


def describe(number: Number) -> str:
    """Describe a number and the published one."""
    place = ", ".join(filter(None, (number.file, number.row, number.column)))
    if number.published is None:
        return f"{place} is not in the published table."
    published, got = f"{number.published:.6g}", "nothing"
    if number.reproduced is not None:
        got = f"{number.reproduced:.6g}"
        if got == published:  # they differ further on
            published, got = f"{number.published:.12g}", f"{number.reproduced:.12g}"
    if number.low is not None and number.high is not None:
        published += f" [{number.low:.6g}, {number.high:.6g}]"
    return f"{place}: expected {published}, got {got}."


def write_outcomes(output: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write ``reproduction.csv`` and ``reproduction.json``."""
    files = [output / "reproduction.csv", output / "reproduction.json"]
    rows: list[dict[str, str | float]] = [
        {
            "result": outcome.plan.name,
            "how": outcome.plan.how,
            **{name: "" if value is None else value for name, value in vars(number).items()},
        }
        for outcome in outcomes
        for number in outcome.numbers
    ]
    write_csv(files[0], rows)
    write_json(files[1], {"metarl": __version__, "results": [one.to_json() for one in outcomes]}, indent=2)
    return files


def duration(seconds: float) -> str:
    """Return a duration in few words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
