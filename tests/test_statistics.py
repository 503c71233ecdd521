"""The bootstrap intervals, against a bootstrap written as a loop and against known coverage."""

from __future__ import annotations

import numpy as np
import pytest

from metarl.errors import MetarlError
from metarl.statistics import Interval, confidence_interval, paired_gain


def test_interval_agrees_with_a_bootstrap_written_as_a_loop() -> None:
    values = np.array([-41.0, -30.5, -36.25, -55.0, -28.0, -33.0, -47.5, -39.0])
    rng = np.random.default_rng(1)
    means = sorted(float(np.mean(rng.choice(values, size=len(values)))) for _ in range(20_000))
    interval = confidence_interval(values, np.random.default_rng(2))
    # The standard deviation of the mean is 2.9; so many resamples place its 2.5 % quantile to 3 % of that.
    assert interval.low == pytest.approx(means[500], abs=0.35)
    assert interval.high == pytest.approx(means[19_499], abs=0.35)
    assert interval.mean == pytest.approx(sum(values) / 8)


def test_interval_holds_the_true_mean_in_95_percent_of_normal_samples() -> None:
    rng = np.random.default_rng(0)
    intervals = [confidence_interval(rng.normal(3.0, 2.0, size=30), rng) for _ in range(400)]
    coverage = np.mean([low <= 3.0 <= high for _, low, high in intervals])
    assert 0.90 <= coverage <= 0.98


def test_lower_level_gives_narrower_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    wide = confidence_interval(values, np.random.default_rng(1), level=0.95)
    narrow = confidence_interval(values, np.random.default_rng(1), level=0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_same_generator_state_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=12)
    assert confidence_interval(values, np.random.default_rng(5)) == confidence_interval(
        values, np.random.default_rng(5)
    )


def test_interval_of_very_many_tasks_fits_in_memory() -> None:
    interval = confidence_interval(np.random.default_rng(0).normal(size=6000), np.random.default_rng(1))
    # By the central limit theorem, 1.96 / sqrt(6000) on either side.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / np.sqrt(6000), rel=0.05)


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.1, 0.1], [0.0, 0.0], [1.0] * 7])
def test_single_or_equal_values_have_no_width(values: list[float]) -> None:
    interval = confidence_interval(np.array(values), np.random.default_rng(0))
    assert interval == Interval(values[0], values[0], values[0])


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [1.0, float("inf")], [[1.0, 2.0]]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(MetarlError, match="one finite value for each"):
        confidence_interval(np.array(values), np.random.default_rng(0))


def test_paired_gain_ignores_what_all_tasks_share() -> None:
    before = np.array([-100.0, 0.0, 55.0, 300.0])
    interval = paired_gain(before, before + np.array([1.0, 2.0, 3.0, 4.0]), np.random.default_rng(0))
    assert interval.mean == pytest.approx(2.5)
    assert 1.0 <= interval.low < interval.high <= 4.0


def test_paired_gain_of_different_numbers_of_tasks_is_refused() -> None:
    with pytest.raises(MetarlError, match="3 values before and 2 after"):
        paired_gain(np.zeros(3), np.zeros(2), np.random.default_rng(0))
