"""Temporary signal handlers."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def handled(numbers: Sequence[signal.Signals], handler: Handler) -> Iterator[None]:
    """Handle signals inside the block; outside the main thread Python allows none."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler_before in before.items():
            # Python cannot put back a handler of C code, for which it gives None.
            signal.signal(number, signal.SIG_DFL if handler_before is None else handler_before)
