"""How sentences are put together, wherever they are read: in a terminal, a figure or a page."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Write a number with its noun, ``1 seed`` or ``3 seeds``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def stage_name(steps: int) -> str:
    """Name a number of adaptation steps."""
    return f"after {count(steps, 'adaptation step')}" if steps else "before adaptation"
