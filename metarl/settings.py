"""The root of what agents are configured by: checks of settings, of which none can be left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen settings that are checked when they are made.

    A class with checks of its own extends ``__post_init__`` and calls ``super().__post_init__()`` in it. Each
    class of a config that inherits from several is then checked once.
    """

    def __post_init__(self) -> None:
        """Check nothing: the chain of checks ends here."""
