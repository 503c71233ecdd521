"""Names of the engine warp, and the error that says how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from metarl.errors import EngineError


def device_of(engine: str) -> str:
    """Return an engine name's device, or ``auto``."""
    return engine.partition(":")[2] or "auto"


@contextmanager
def extra_imported() -> Iterator[None]:
    """Import modules that need the extra; raise ``EngineError`` if a package is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise EngineError(
            f"The engine warp needs {error.name}, which is not installed here: "
            "`make setup-warp` makes the environment .venv-warp for it."
        ) from error
