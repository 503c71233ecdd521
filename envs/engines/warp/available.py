"""The way to the GPU's physics, an extra: asked for where it is not installed, it says what to do."""

from __future__ import annotations

from metarl.errors import EngineError


def is_warp(engine: str) -> bool:
    """Whether an engine's name is that of MuJoCo Warp."""
    return engine.partition(":")[0] == "warp"


def device_of(engine: str) -> str:
    """Return the device that an engine's name gives, or ``auto``."""
    return engine.partition(":")[2] or "auto"


def not_installed(error: ModuleNotFoundError) -> EngineError:
    """Return the error that says which package is missing and what to do."""
    return EngineError(
        f"The engine warp needs {error.name}, which is not installed here: "
        "`make setup-warp` makes the environment .venv-warp for it."
    )
