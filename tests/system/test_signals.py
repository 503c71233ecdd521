"""Signals inside a block, and after it."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from metarl.system.signals import deferred, handled


def test_deferred_signal_acts_after_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred():
        # an import may swallow what is raised in it
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        reached.append(signal.SIGINT)
    assert reached == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_deferred_signal_outlives_an_exception_of_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        raise ImportError("half imported")


def test_second_signal_acts_at_once() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
        signal.raise_signal(signal.SIGINT)
        reached.append(2)
    assert reached == [1]


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
