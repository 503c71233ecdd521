"""Loggers by name: where a run's metrics go beside its folder.

A package declares its own as ``[project.entry-points."metarl.loggers"]``: a class or function that is called
with the config and the run's folder when training begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from metarl.config import ExperimentConfig
from metarl.plugins import entry_points


class Logger(Protocol):
    """Receiver of a run's metrics; its exceptions end the run."""

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Receive an iteration's metrics; after a resumed stop an iteration may come again."""

    def close(self) -> None:
        """Finish, however the run ended."""


MakeLogger: TypeAlias = Callable[[ExperimentConfig, Path], Logger]


def find_loggers(names: Sequence[str]) -> list[MakeLogger]:
    """Load loggers by name; MetarlError if there is none or it does not load."""
    return [cast("MakeLogger", entry_points.load(entry_points.LOGGERS, name)) for name in names]


@contextmanager
def opened(makers: Sequence[MakeLogger], config: ExperimentConfig, folder: Path) -> Iterator[list[Logger]]:
    """Make loggers, and close them at the end."""
    with ExitStack() as stack:
        loggers: list[Logger] = []
        for make in makers:
            loggers.append(make(config, folder))
            stack.callback(loggers[-1].close)
        yield loggers
