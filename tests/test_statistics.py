"""Aggregates and their intervals: against loops, ``rliable``, hand-computed numbers and known coverage."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from metarl.errors import MetarlError
from metarl.statistics import (
    Bootstrap,
    Interval,
    aggregates,
    confidence_interval,
    interquartile_mean,
    median,
    paired_gain,
    performance_profile,
    probability_of_improvement,
    share_worse,
)

FEW = Bootstrap(resamples=999)
BY_TASK = Bootstrap(over="seeds", resamples=20_000)


def waves(seeds: int, tasks: int, shift: float) -> npt.NDArray[np.float64]:
    """Return scores of an algorithm without a random number in them, so that others can compute on them."""
    seed, task = np.arange(seeds)[:, None], np.arange(tasks)
    return np.round(np.sin(1.7 * seed + 0.9 * task + shift) + 0.2 * task + 0.3 * shift, 3)


OURS, THEIRS = waves(5, 7, 0.0), waves(4, 7, 1.0)


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
    intervals = [confidence_interval(rng.normal(3.0, 2.0, size=30), rng, FEW) for _ in range(400)]
    coverage = np.mean([low <= 3.0 <= high for _, low, high in intervals])
    assert 0.90 <= coverage <= 0.98


def test_lower_level_gives_narrower_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    wide = confidence_interval(values, np.random.default_rng(1), Bootstrap(level=0.95))
    narrow = confidence_interval(values, np.random.default_rng(1), Bootstrap(level=0.5))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_same_generator_state_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=12)
    assert confidence_interval(values, np.random.default_rng(5)) == confidence_interval(
        values, np.random.default_rng(5)
    )


def test_interval_of_very_many_tasks_fits_in_memory() -> None:
    interval = confidence_interval(np.random.default_rng(0).normal(size=6000), np.random.default_rng(1), FEW)
    # By the central limit theorem, 1.96 / sqrt(6000) on either side.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / np.sqrt(6000), rel=0.1)


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.1, 0.1], [0.0, 0.0], [1.0] * 7])
def test_single_or_equal_values_have_no_width(values: list[float]) -> None:
    interval = confidence_interval(np.array(values), np.random.default_rng(0))
    assert interval == Interval(values[0], values[0], values[0])


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [1.0, float("inf")], [[[1.0, 2.0]]]])
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


def test_aggregates_by_hand() -> None:
    # Sorted: 0 1 2 3 4 5 6 100; without the lowest and the highest two, 2 3 4 5 are left.
    scores = np.array([[0.0, 3.0, 6.0, 1.0], [100.0, 2.0, 5.0, 4.0]])
    found = aggregates(scores, np.random.default_rng(0), FEW)
    assert found.mean.mean == pytest.approx(121 / 8)
    assert found.iqm.mean == 3.5
    # Means of the tasks over both seeds: 50, 2.5, 5.5 and 2.5.
    assert found.median.mean == 4.0


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (3, 3), (4, 2), (7, 5), (9, 5)])
def test_interquartile_mean_leaves_out_a_quarter_rounded_down(count: int, kept: int) -> None:
    scores = np.array([[float(10**i) for i in range(count)]])
    cut = (count - kept) // 2
    assert interquartile_mean(scores) == pytest.approx(scores[0, cut : cut + kept].mean())


def test_median_is_over_tasks_of_the_mean_over_seeds() -> None:
    assert median(np.array([[0.0, 0.0, 9.0], [0.0, 9.0, 9.0]])) == 4.5


# What rliable 1.2.0 computes on OURS and THEIRS (numpy 2.4.6, np.random.seed(0)), its aggregates with
# get_interval_estimates(reps=20000), its probability of improvement with reps=4000, its profile with
# create_performance_profile(reps=10000). It is no dependency: beside pandas 3 and statsmodels 0.15 it cannot
# be imported. A quantile of so many resamples is good to 0.01 here.
RLIABLE = {
    "mean": (0.59985714, 0.37222786, 0.82848714),
    "iqm": (0.58278947, 0.30905, 0.87926447),
    "median": (0.6434, 0.3104, 0.9338),
}
RLIABLE_IMPROVEMENT = (0.38571429, 0.24285714, 0.54285714)
RLIABLE_PROFILE = [
    (0.74285714, 0.6, 0.85714286),
    (0.51428571, 0.34285714, 0.65714286),
    (0.28571429, 0.14285714, 0.42857143),
]


def assert_agree(found: Interval, expected: tuple[float, float, float], tolerance: float) -> None:
    assert found.mean == pytest.approx(expected[0], abs=1e-7)
    assert found[1:] == pytest.approx(expected[1:], abs=tolerance)


@pytest.mark.parametrize("name", list(RLIABLE))
def test_aggregates_agree_with_rliable(name: str) -> None:
    found = aggregates(OURS, np.random.default_rng(0), BY_TASK)
    assert_agree(getattr(found, name), RLIABLE[name], tolerance=0.015)


def test_probability_of_improvement_agrees_with_rliable() -> None:
    found = probability_of_improvement(OURS, THEIRS, np.random.default_rng(0), BY_TASK)
    assert_agree(found, RLIABLE_IMPROVEMENT, tolerance=0.008)


def test_performance_profile_agrees_with_rliable() -> None:
    profile = performance_profile(OURS, np.array([0.0, 0.5, 1.0]), np.random.default_rng(0), BY_TASK)
    for share, expected in zip(profile.shares, RLIABLE_PROFILE, strict=True):
        assert_agree(share, expected, tolerance=1 / 35 + 1e-6)  # it moves by one score of 35 at a time


def test_probability_of_improvement_by_hand() -> None:
    # Task 0: ours 1 and 3 against 2, one of two pairs is won. Task 1: a tie and a loss.
    ours, theirs = np.array([[1.0, 5.0], [3.0, 4.0]]), np.array([[2.0, 5.0]])
    found = probability_of_improvement(ours, theirs, np.random.default_rng(0), FEW)
    assert found.mean == pytest.approx((0.5 + 0.25) / 2)


def test_probabilities_of_improvement_of_two_runs_add_up_to_one() -> None:
    one = probability_of_improvement(OURS, THEIRS, np.random.default_rng(0), FEW)
    other = probability_of_improvement(THEIRS, OURS, np.random.default_rng(0), FEW)
    assert one.mean + other.mean == pytest.approx(1.0)


def test_run_that_always_wins_improves_for_certain() -> None:
    always = probability_of_improvement(OURS + 10, THEIRS, np.random.default_rng(0), FEW)
    assert always == (1.0, 1.0, 1.0)


def test_runs_on_different_tasks_are_not_compared() -> None:
    with pytest.raises(MetarlError, match="the same tasks, but there are 7 and 6"):
        probability_of_improvement(OURS, THEIRS[:, :6], np.random.default_rng(0))


def test_share_worse_by_hand() -> None:
    before, after = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.4, 0.5, 0.6, 0.7])
    assert share_worse(before, after, np.random.default_rng(0)).mean == 0.25


def test_nothing_is_worse_where_nothing_changes() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert share_worse(values, values, np.random.default_rng(0)) == (0.0, 0.0, 0.0)


def coverage(over: Literal["both", "seeds"], seeds: int) -> float:
    """Return how often the interval holds the true mean where seeds differ, tasks differ, and both do."""
    rng = np.random.default_rng(1)
    how = Bootstrap(over=over, resamples=499)
    hits = 0
    for _ in range(150):
        shared = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, 30))
        interval = confidence_interval(shared + 0.5 * rng.normal(size=(seeds, 30)), rng, how)
        hits += interval.low <= 0 <= interval.high
    return hits / 150


def test_drawing_whole_seeds_and_tasks_covers_what_scores_of_a_seed_share() -> None:
    assert coverage("both", 10) >= 0.88
    assert coverage("seeds", 10) <= 0.5  # which is why it is not the default


def test_scores_of_one_seed_have_no_width_over_seeds() -> None:
    interval = confidence_interval(OURS[0], np.random.default_rng(0), BY_TASK)
    assert interval.low == interval.high == pytest.approx(interval.mean)


def test_strata_keep_their_numbers_of_tasks() -> None:
    # Within a family all tasks are alike, so only who is drawn from which family could move the mean.
    values, families = np.array([0.0, 0.0, 10.0, 10.0, 10.0]), ("push", "push", "reach", "reach", "reach")
    kept = confidence_interval(values, np.random.default_rng(0), Bootstrap(strata=families))
    mixed = confidence_interval(values, np.random.default_rng(0))
    assert (kept.low, kept.high) == (6.0, 6.0)
    assert mixed.low < 6.0 < mixed.high


def test_one_stratum_for_each_task_is_wanted() -> None:
    with pytest.raises(MetarlError, match="there are 2 for 3 tasks"):
        confidence_interval(np.arange(3.0), np.random.default_rng(0), Bootstrap(strata=("a", "b")))


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"resamples": 0}])
def test_impossible_bootstraps_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(MetarlError, match=next(iter(wrong))):
        Bootstrap(**wrong)  # type: ignore[arg-type]  # the values are what is tested


def test_large_tables_of_scores_fit_in_memory() -> None:
    scores = np.random.default_rng(0).normal(size=(10, 2000))
    interval = confidence_interval(scores, np.random.default_rng(1), FEW)
    assert interval.low < interval.mean < interval.high
