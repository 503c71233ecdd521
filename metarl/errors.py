"""Errors that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from metarl.text import shown


class MetarlError(ValueError):
    """A refused request: what was expected and found."""


class NonFiniteError(MetarlError):
    """NaN or infinity from an environment."""


class NonFiniteActionError(NonFiniteError):
    """NaN or infinity from a policy, which is the agent's fault."""

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step  # step of the episode, where it is known


class AgentFormError(MetarlError):
    """An agent's method that returned something of another form than the protocol's."""


class Stopped(Exception):
    """The run was stopped; finished iterations are saved."""


class EngineError(MetarlError):
    """Exception of an environment, or workers that keep dying after restarts."""


class RankLostError(MetarlError):
    """A rank of a training died, was halted or does not answer."""


@contextmanager
def naming(place: object) -> Iterator[None]:
    """Name a file, or a part of it, in refusals of its content."""
    try:
        yield
    except MetarlError as error:
        raise MetarlError(f"{place}: {error}") from error


def require(condition: bool, wanted: str, came: object) -> None:
    """Raise MetarlError unless a condition holds, which with NaN it never does."""
    if not condition:
        raise MetarlError(f"{wanted}, but it is {came}.")


LISTED_NAMES = 40  # most names that :func:`unknown_name` lists


def unknown_name(kind: str, name: object, known: Iterable[str]) -> MetarlError:
    """Return the error for an unknown ``kind`` (singular, ``"suite"``), with the nearest known."""
    names = sorted(known)
    if not isinstance(name, str):
        return MetarlError(f"Expected the name of a {kind}, got {shown(name)}.")
    if not names:
        return MetarlError(f"There is no {kind} called {name!r}, nor any other.")
    # at least 60 % alike, so that a name of another thing is not taken for a slip
    nearest = difflib.get_close_matches(name, names, n=1)
    more = f" and {len(names) - LISTED_NAMES} more" if len(names) > LISTED_NAMES else ""
    hint = (
        f"did you mean {nearest[0]!r}?" if nearest else f"known are: {', '.join(names[:LISTED_NAMES])}{more}."
    )
    return MetarlError(f"There is no {kind} called {name!r}; {hint}")
