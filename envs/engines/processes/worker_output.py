"""Limits of workers' output to standard error.

A program's standard output is its own, and an environment that prints at every step would bury it.
"""

from __future__ import annotations

import io
from typing import TextIO

MOST_PRINTED = 10_000  # characters of one worker


class CappedOutput(io.TextIOBase):
    """Passes ``most`` characters on to ``target``, says so once, and drops the rest."""

    def __init__(self, target: TextIO, most: int = MOST_PRINTED) -> None:
        super().__init__()
        self._target, self._left, self._most = target, most, most

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Pass on what is within the limit."""
        if self._left > 0:
            self._target.write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._target.write(
                    f"\nThe environments of a worker have printed {self._most} characters; "
                    "what they print from now on is dropped.\n"
                )
            self._target.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing: all is passed on at once."""
