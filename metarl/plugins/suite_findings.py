"""Results of checking a suite: faults, and doubts where the check could not tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Fault(NamedTuple):
    """A promise that is not kept."""

    what: str
    """The fault, in a sentence."""
    mend: str
    """How to mend it, in a sentence."""

    def __str__(self) -> str:
        return f"{self.what} {self.mend}"


class Doubt(NamedTuple):
    """A promise that may or may not be kept: the check could not tell."""

    what: str
    """The observation, and why it proves nothing; one or two sentences."""
    mend: str
    """How the user can tell, or say so; a sentence."""

    def __str__(self) -> str:
        return f"{self.what} {self.mend}"


Finding = Fault | Doubt


@dataclass(frozen=True)
class Findings:
    """All that a check found."""

    faults: list[Fault] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    """Parts of a slow or large suite that were not looked at; sentences."""
