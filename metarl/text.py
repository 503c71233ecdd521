"""Words for terminals, figures and pages."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """Format a count: ``1 seed`` or ``3 seeds``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(value: object, most: int = 60) -> str:
    """Return a value's code on one short line, for messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(words: Sequence[str]) -> str:
    """Join words as in a sentence: ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def letter(place: int) -> str:
    """Return a short name by place: A to Z, then AA, AB, …."""
    return (letter(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def stage_name(steps: int, trial: str = "parallel") -> str:
    """Name a number of adaptation steps, or of a trial's episodes."""
    if trial == "sequential":
        return f"after {count(steps, 'episode')}" if steps else "first episode"
    return f"after {count(steps, 'adaptation step')}" if steps else "before adaptation"
