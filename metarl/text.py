"""Words for terminals, figures and pages."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Format a count: ``1 seed`` or ``3 seeds``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def stage_name(steps: int, trial: str = "parallel") -> str:
    """Name a number of adaptation steps, of a trial with a memory a number of episodes."""
    if trial == "sequential":
        return f"after {count(steps, 'episode')}" if steps else "first episode"
    return f"after {count(steps, 'adaptation step')}" if steps else "before adaptation"
