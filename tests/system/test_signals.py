"""Signals inside a block, and after it."""

from __future__ import annotations

import signal

import pytest

from metarl.system.signals import deferred, handled


def interrupted(times: int = 1, error: Exception | None = None) -> list[int]:
    """Interrupt a block in which signals are deferred; return how many of the interrupts it went on after."""
    survived: list[int] = []

    def imports() -> None:
        with deferred():
            for number in range(times):
                signal.raise_signal(signal.SIGINT)
                survived.append(number)
            if error is not None:
                raise error

    with pytest.raises(KeyboardInterrupt):
        imports()
    return survived


def test_deferred_signal_acts_after_the_block() -> None:
    assert interrupted() == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_deferred_signal_outlives_an_exception_of_the_block() -> None:
    assert interrupted(error=ImportError("half imported")) == [0]


def test_second_signal_acts_at_once() -> None:
    assert interrupted(times=3) == [0]


def test_signal_goes_to_the_handler_of_before_and_an_ignored_one_to_nobody() -> None:
    heard = []
    with handled([signal.SIGTERM], lambda number, _: heard.append(number)):
        with deferred():
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
        assert heard == [signal.SIGTERM]
    with handled([signal.SIGINT], lambda *_: None):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with deferred():
            signal.raise_signal(signal.SIGINT)
