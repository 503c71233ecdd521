"""The pace of the control loop, on a simulated clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.deploy.clock import Pacer, SimulatedClock, WallClock, spread_of


def test_steps_stay_on_the_grid_whatever_they_take() -> None:
    clock = SimulatedClock()
    pacer = Pacer(clock, 50.0)
    rng = np.random.default_rng(0)
    for tick in range(1, 1001):
        clock.advance(rng.uniform(0.0, 0.019))
        pacer.wait()
        assert clock.now() == pytest.approx(0.02 * tick, abs=1e-12)
    assert pacer.missed == 0
    assert spread_of(pacer.periods) == pytest.approx((0.02, 0.02, 0.02))


def test_a_late_step_misses_its_deadline_and_waits_for_the_next_tick() -> None:
    clock = SimulatedClock()
    pacer = Pacer(clock, 10.0)
    clock.advance(0.25)  # past the ticks at 0.1 and 0.2
    pacer.wait()
    assert (clock.now(), pacer.missed) == (pytest.approx(0.3), 1)
    pacer.wait()
    assert (clock.now(), pacer.missed) == (pytest.approx(0.4), 1)


@given(st.lists(st.floats(0.0, 0.3), min_size=1, max_size=30))
def test_no_wait_ends_before_its_work_or_off_the_grid(works: list[float]) -> None:
    clock = SimulatedClock()
    pacer = Pacer(clock, 20.0)
    for work in works:
        clock.advance(work)
        done = clock.now()
        pacer.wait()
        assert done - 1e-9 <= clock.now() <= done + 0.05 + 1e-9
        assert clock.now() / 0.05 == pytest.approx(round(clock.now() / 0.05), abs=1e-6)


def test_without_a_frequency_nothing_waits() -> None:
    clock = SimulatedClock()
    pacer = Pacer(clock, 0.0)
    clock.advance(0.7)
    pacer.wait()
    assert (clock.now(), pacer.missed, pacer.periods) == (0.7, 0, [0.7])


def test_wall_clock_sleeps_until_a_moment_and_not_for_one_that_has_passed() -> None:
    clock = WallClock()
    begin = clock.now()
    clock.sleep_until(begin + 0.02)
    assert clock.now() >= begin + 0.02
    clock.sleep_until(begin)


def test_spread_is_that_of_numpy() -> None:
    seconds = np.random.default_rng(1).exponential(size=500)
    assert spread_of(seconds.tolist()) == pytest.approx(
        (np.median(seconds), np.quantile(seconds, 0.99), seconds.max())
    )
    assert spread_of([]) is None
