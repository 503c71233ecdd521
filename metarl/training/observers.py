"""Observers of a run.

Progress bars, loggers, anything that follows a run without taking part.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Observer(Protocol):
    """Observer of a run; its exceptions end the run."""

    def on_step(self, episodes: int) -> None:
        """Receive the running episodes before a vector step.

        It is their number.
        """
        ...

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Receive an iteration's metrics.

        Iteration 0 is before training.
        """
        ...


@runtime_checkable
class HearsNotices(Protocol):
    """Observer that shows notices.

    Without any such observer, they are logged.
    """

    def on_notice(self, sentence: str) -> None:
        """Show a notice."""
        ...
