"""Findings of a suite's check: faults and doubts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from metarl.errors import MetarlError


class Fault(NamedTuple):
    """A promise that is not kept."""

    what: str  # the fault, in a sentence
    mend: str

    def __str__(self) -> str:
        return f"{self.what} {self.mend}"


class Doubt(NamedTuple):
    """A promise that the check could not judge."""

    what: str  # observation, and why it proves nothing, in sentences
    mend: str  # how the user can decide, in a sentence

    def __str__(self) -> str:
        return f"{self.what} {self.mend}"


Finding = Fault | Doubt


@dataclass(frozen=True)
class Findings:
    """All that a check found."""

    faults: list[Fault] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)  # unchecked parts of a slow or large suite


def describe_error(error: BaseException) -> str:
    """Return an exception's text in one line, without its full stop."""
    text = str(error) if isinstance(error, MetarlError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(".")
