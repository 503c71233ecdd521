"""Observers of a run: progress bars, loggers, anything that follows it without taking part."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Observer(Protocol):
    """Follows a run; an exception that it raises ends the run."""

    def on_step(self, episodes: int) -> None:
        """Receive the number of running episodes, before each vector step."""
        ...

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Receive the metrics of an iteration; iteration 0 is before training."""
        ...


@runtime_checkable
class HearsNotices(Protocol):
    """An observer that shows notices; where there is none, they are logged."""

    def on_notice(self, sentence: str) -> None:
        """Show a notice."""
        ...
