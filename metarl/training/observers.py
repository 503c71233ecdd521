"""Observers follow a run without taking part: progress bars, loggers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Observer(Protocol):
    """Observer of a run, which its exceptions end."""

    def on_step(self, episodes: int) -> None:
        """Receive the number of running episodes before a vector step."""

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Receive an iteration's metrics, 0 before training."""


@runtime_checkable
class HearsNotices(Protocol):
    """Observer that shows notices, which are logged without any such observer."""

    def on_notice(self, sentence: str) -> None:
        """Show a notice."""
