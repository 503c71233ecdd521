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


@contextlib.contextmanager
def deferred(numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[None]:
    """Let a signal act only after the block, or at once when it comes a second time.

    For imports: what a handler raises in the middle of one may be lost there, or become another exception.
    """
    before = {number: signal.getsignal(number) for number in numbers}
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if came and callable(handler):
            handler(number, frame)
        came.append(number)

    try:
        # a signal that is ignored or ends the process goes on doing so
        with handled([number for number, handler in before.items() if callable(handler)], hold):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])
