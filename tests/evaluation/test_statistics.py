"""Aggregates and their intervals: against loops, ``rliable``, hand-computed numbers and known coverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from metarl.errors import MetarlError
from metarl.evaluation.statistics import (
    RATE,
    Bootstrap,
    Interval,
    aggregates,
    confidence_interval,
    difference,
    interquartile_mean,
    mean_intervals,
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


def test_interval_of_one_seed_is_students_over_tasks() -> None:
    values = np.array([-41.0, -30.5, -36.25, -55.0, -28.0, -33.0, -47.5, -39.0])
    expected = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    interval = confidence_interval(values, np.random.default_rng(2))
    assert interval == pytest.approx((values.mean(), expected.low, expected.high))


def test_interval_of_seeds_and_tasks_by_hand() -> None:
    # Means of the seeds 1, 2, 3: standard error 1 / sqrt(3), times t(2) = 4.3027, is 2.4841. Means of the two
    # tasks 1 and 3: standard error 1, times t(1) = 12.7062.
    scores = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]])
    half = np.hypot(2.4841, 12.7062)
    found = confidence_interval(scores, np.random.default_rng(0))
    assert found == pytest.approx((2.0, 2.0 - half, 2.0 + half), rel=1e-4)


def test_strata_have_their_own_variances() -> None:
    # Two strata of two tasks: variances 2 and 8, so V = (1/2)^2 (2 / 2 + 8 / 2) = 1.25. Its parts are 0.25
    # and 1 with one degree of freedom each: 1.25^2 / (0.25^2 + 1) = 1.4706 together.
    values, strata = np.array([0.0, 2.0, 10.0, 14.0]), ("a", "a", "b", "b")
    found = confidence_interval(values, np.random.default_rng(0), Bootstrap(strata=strata))
    half = scipy.stats.t.ppf(0.975, 1.25**2 / (0.25**2 + 1)) * np.sqrt(1.25)
    assert found == pytest.approx((6.5, 6.5 - half, 6.5 + half))


def test_bootstrapped_variance_of_a_mean_is_its_formula() -> None:
    # Of three scores a quarter rounds down to nothing, so the interquartile mean is the mean.
    found = aggregates(np.array([1.0, 2.0, 6.0]), np.random.default_rng(0), Bootstrap(resamples=20_000))
    assert found.iqm == pytest.approx(found.mean, rel=0.03)


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
    gains = np.array([1.0, 2.0, 3.0, 4.0])
    interval = paired_gain(before, before + gains, np.random.default_rng(0))
    assert interval == pytest.approx(confidence_interval(gains, np.random.default_rng(0)))
    assert interval.mean == pytest.approx(2.5)


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


def test_always_winning_on_seven_tasks_leaves_room_for_others() -> None:
    always = probability_of_improvement(OURS + 10, THEIRS, np.random.default_rng(0), FEW)
    assert always.mean == always.high == 1.0
    assert always.low == pytest.approx(0.025 ** (1 / 7))  # all 7 of 7 by Clopper and Pearson
    by_task = probability_of_improvement(OURS + 10, THEIRS, np.random.default_rng(0), BY_TASK)
    assert by_task == (1.0, 1.0, 1.0)


def test_three_seeds_that_beat_three_others_everywhere_prove_nothing() -> None:
    # Of two equal agents whose seeds keep their order on all tasks, one does so in two of twenty cases.
    theirs = np.arange(3.0)[:, None] + np.zeros(50)
    found = probability_of_improvement(theirs + 3, theirs, np.random.default_rng(0))
    assert found.mean == 1.0
    assert found.low < 0.5
    many = np.arange(10.0)[:, None] + np.zeros(50)
    assert probability_of_improvement(many + 10, many, np.random.default_rng(0)).low > 0.6


def test_difference_by_hand() -> None:
    ours, theirs = np.array([[1.0, 5.0], [3.0, 7.0]]), np.array([[2.0, 4.0]])
    # Seeds of ours: means 3 and 5, standard error 1. Tasks: differences 0 and 2, standard error 1. t(1) each.
    found = difference(ours, theirs, np.random.default_rng(0))
    half = 12.7062 * np.sqrt(2)
    assert found == pytest.approx((1.0, 1.0 - half, 1.0 + half), rel=1e-4)


def test_runs_on_different_tasks_are_not_compared() -> None:
    with pytest.raises(MetarlError, match="the same tasks, but there are 7 and 6"):
        probability_of_improvement(OURS, THEIRS[:, :6], np.random.default_rng(0))


def test_share_worse_by_hand() -> None:
    before, after = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.4, 0.5, 0.6, 0.7])
    assert share_worse(before, after, np.random.default_rng(0)).mean == 0.25


def test_nothing_is_worse_where_nothing_changes() -> None:
    values = np.array([1.0, 2.0, 3.0])
    found = share_worse(values, values, np.random.default_rng(0))
    assert found.mean == found.low == 0.0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 3))  # none of 3 by Clopper and Pearson


SPREADS = [(0.3, 1.0, 0.3), (1.0, 1.0, 0.3), (1.0, 0.2, 0.3)]
"""Standard deviations of seeds, tasks and rest: seeds differ less than tasks, as much, and far more."""


def simulated(
    rng: np.random.Generator, shape: tuple[int, int, int], spread: tuple[float, float, float]
) -> npt.NDArray[np.float64]:
    """Return scores ``[repetitions, S, T]`` with the true mean 0."""
    count, seeds, tasks = shape
    parts = ((count, seeds, 1), (count, 1, tasks), shape)
    drawn = (size * rng.normal(size=part) for size, part in zip(spread, parts, strict=True))
    return np.asarray(sum(drawn), np.float64)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_interval_of_few_seeds_holds_the_truth(seeds: int, spread: tuple[float, float, float]) -> None:
    scores = simulated(np.random.default_rng(seeds), (600, seeds, 40), spread)
    found = [confidence_interval(each, np.random.default_rng(0), Bootstrap(resamples=200)) for each in scores]
    # Of 600 repetitions a true 95 % shows 93.2 % or more in 98 of 100 cases.
    assert np.mean([low <= 0 <= high for _, low, high in found]) >= 0.93
    ideal = 3.92 * np.sqrt(spread[0] ** 2 / seeds + spread[1] ** 2 / 40 + spread[2] ** 2 / (40 * seeds))
    if seeds == 10:
        assert np.mean([high - low for _, low, high in found]) <= 1.2 * ideal


@pytest.mark.parametrize("spread", SPREADS)
def test_interquartile_mean_of_three_seeds_holds_the_truth(spread: tuple[float, float, float]) -> None:
    scores, how = simulated(np.random.default_rng(7), (200, 3, 20), spread), Bootstrap(resamples=200)
    found = [aggregates(each, np.random.default_rng(0), how).iqm for each in scores]
    assert np.mean([low <= 0 <= high for _, low, high in found]) >= 0.92


@pytest.mark.parametrize("rate", [0.03, 0.97])
@pytest.mark.parametrize("seeds", [1, 3])
def test_interval_of_a_rate_near_its_bound_holds_the_truth(seeds: int, rate: float) -> None:
    rng = np.random.default_rng(5)
    chances = rng.beta(rate * 5, (1 - rate) * 5, size=(600, 1, 40)) + np.zeros((1, seeds, 1))
    scores = rng.binomial(3, chances) / 3
    found = mean_intervals(np.moveaxis(scores, 0, -1), rng, Bootstrap(bounds=RATE))
    assert np.mean([low <= rate <= high for _, low, high in found]) >= 0.93
    assert all(0 <= low <= mean <= high <= 1 for mean, low, high in found)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [3, 10])
def test_equal_agents_are_seldom_told_apart(seeds: int, spread: tuple[float, float, float]) -> None:
    rng, how = np.random.default_rng(seeds), Bootstrap(resamples=200)
    tasks = spread[1] * rng.normal(size=(200, 1, 40))
    own = (spread[0], 0.0, spread[2])
    pairs = [simulated(rng, (200, seeds, 40), own) + tasks for _ in range(2)]
    chances = [probability_of_improvement(*pair, rng, how) for pair in zip(*pairs, strict=True)]
    gaps = [difference(*pair, rng, how) for pair in zip(*pairs, strict=True)]
    assert np.mean([not low <= 0.5 <= high for _, low, high in chances]) <= 0.06
    assert np.mean([not low <= 0 <= high for _, low, high in gaps]) <= 0.06


@pytest.mark.parametrize("strata", [(), ("a", "a", "b", "b", "b"), ("a", "b", "b", "b", "b")])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_intervals_of_rates_stay_within_their_bounds(rate: float, strata: tuple[str, ...]) -> None:
    rng, how = np.random.default_rng(0), Bootstrap(bounds=RATE, resamples=50, strata=strata)
    for seeds in (1, 2, 3):
        ours, theirs = rng.binomial(2, rate, size=(seeds, 5)) / 2, rng.binomial(2, 0.5, size=(seeds, 5)) / 2
        shares = [*aggregates(ours, rng, how), share_worse(ours, theirs, rng, how)]
        shares.append(probability_of_improvement(ours, theirs, rng, how))
        assert all(0 <= low <= mean <= high <= 1 for mean, low, high in shares)
        changes = [paired_gain(ours, theirs, rng, how), difference(ours, theirs, rng, how)]
        assert all(-1 <= low <= mean <= high <= 1 for mean, low, high in changes)


@pytest.mark.parametrize("seeds", [1, 3])
def test_fifty_of_fifty_is_no_certainty(seeds: int) -> None:
    how = Bootstrap(bounds=RATE)
    found = confidence_interval(np.ones((seeds, 50)), np.random.default_rng(0), how)
    assert found == pytest.approx((1.0, 0.025 ** (1 / 50), 1.0))  # 50 of 50 by Clopper and Pearson: 92.9 %
    unchanged = paired_gain(np.ones(50), np.ones(50), np.random.default_rng(0), how)
    assert unchanged == pytest.approx((0.0, 0.025 ** (1 / 50) - 1, 1 - 0.025 ** (1 / 50)))


def test_interval_of_independent_bernoulli_tasks_is_clopper_and_pearsons() -> None:
    # The effective number of trials is (T - 1) T / (T + 1) (z / t)^2, with t(39) = 2.02269.
    values = np.repeat([0.0, 1.0], [4, 36])
    found = confidence_interval(values, np.random.default_rng(0), Bootstrap(bounds=RATE))
    trials = 39 * 40 / 41 * (scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, 39)) ** 2
    low = scipy.stats.beta.ppf(0.025, 0.9 * trials, 0.1 * trials + 1)
    high = scipy.stats.beta.ppf(0.975, 0.9 * trials + 1, 0.1 * trials)
    assert found == pytest.approx((0.9, low, high))


def test_drawing_seeds_for_each_task_is_too_narrow_where_seeds_differ() -> None:
    scores, how = (
        simulated(np.random.default_rng(1), (100, 10, 30), (1.0, 1.0, 0.5)),
        replace(FEW, over="seeds"),
    )
    found = [confidence_interval(each, np.random.default_rng(0), how) for each in scores]
    assert np.mean([low <= 0 <= high for _, low, high in found]) <= 0.5  # which is why it is not the default


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
