"""Words for terminals, figures and pages."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Format a count: ``1 seed`` or ``3 seeds``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def stage_name(steps: int) -> str:
    """Name a number of adaptation steps."""
    return f"after {count(steps, 'adaptation step')}" if steps else "before adaptation"
