"""Optimal play of bandits: by hand, by published tables, and by enumeration of all that can happen."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from metarl.envs.toy.bandit_optimum import BayesOptimal, finite_horizon_indices, gittins_indices
from metarl.envs.toy.bandit_strategies import (
    UCB1,
    FiniteHorizonGittins,
    Gittins,
    Greedy,
    Optimal,
    Random,
    Strategy,
    Thompson,
)
from metarl.errors import MetarlError


def expected_return(strategy: Strategy, arms: int, pulls: int) -> float:
    """Return a deterministic strategy's expected return, over all outcomes of all pulls."""
    rng = np.random.default_rng(0)

    @cache
    def value(wins: tuple[int, ...], losses: tuple[int, ...]) -> float:
        if sum(wins) + sum(losses) == pulls:
            return 0.0
        arm = int(strategy.choose(np.array([wins]), np.array([losses]), rng)[0])
        mean = (wins[arm] + 1) / (wins[arm] + losses[arm] + 2)
        won, lost = (
            tuple(count + (place == arm) for place, count in enumerate(counts)) for counts in (wins, losses)
        )
        return mean * (1 + value(won, losses)) + (1 - mean) * value(wins, lost)

    return value((0,) * arms, (0,) * arms)


def test_two_arms_and_two_pulls_by_hand() -> None:
    # the first pull wins with 1/2; then that arm pays 2/3, and after a loss the other one 1/2
    assert BayesOptimal(2, 2).value == pytest.approx(1 / 2 + (2 / 3 + 1 / 2) / 2)


def test_two_arms_and_three_pulls_by_hand() -> None:
    # after win, win: 3/4; win, loss (mean 1/2, as the other arm): 1/2; loss, win: 2/3; loss, loss: 1/3 twice
    after_win = 2 / 3 * (1 + 3 / 4) + 1 / 3 * (1 / 2)
    after_loss = 1 / 2 * (1 + 2 / 3) + 1 / 2 * (1 / 3)
    assert BayesOptimal(2, 3).value == pytest.approx(1 / 2 + (after_win + after_loss) / 2)


def test_one_pull_earns_what_any_arm_does() -> None:
    assert BayesOptimal(7, 1).value == pytest.approx(0.5)


def test_value_is_what_the_optimal_choices_earn() -> None:
    solution = BayesOptimal(3, 7)
    assert expected_return(Optimal(solution), 3, 7) == pytest.approx(solution.value, abs=1e-12)


def test_no_other_strategy_earns_as_much() -> None:
    best = BayesOptimal(3, 8).value
    indices = Gittins(gittins_indices(0.9, 8)), FiniteHorizonGittins(finite_horizon_indices(8))
    earned = [expected_return(other, 3, 8) for other in (Greedy(), UCB1(), UCB1(0.2), *indices)]
    assert max(earned) <= best + 1e-9
    assert min(earned[3:]) > 0.995 * best  # both indices come close
    assert max(earned[1:2]) < 0.97 * best


def test_choices_do_not_depend_on_the_order_of_the_arms() -> None:
    wins, losses = np.array([[3, 0, 1]]), np.array([[1, 0, 2]])
    solution = BayesOptimal(3, 12)
    turned = [int(solution.choose(np.roll(wins, n), np.roll(losses, n))[0]) for n in range(3)]
    first = turned[0]
    assert turned == [first, (first + 1) % 3, (first + 2) % 3]


def test_with_one_pull_left_the_better_mean_is_pulled() -> None:
    wins, losses = np.array([[2, 1], [1, 1]]), np.array([[2, 0], [0, 2]])
    assert BayesOptimal(2, 6).choose(wins, losses).tolist() == [1, 0]
    assert BayesOptimal(2, 5).choose(wins[1:], losses[1:]).tolist() == [0]


def test_too_many_states_are_refused() -> None:
    with pytest.raises(MetarlError, match="Fewer arms or pulls are needed"):
        BayesOptimal(5, 100)


@pytest.mark.parametrize(
    ("wins", "losses", "index"),
    [(0, 0, 0.7029), (1, 0, 0.8001), (0, 1, 0.5001), (1, 1, 0.6346), (2, 0, 0.8452), (2, 1, 0.7072)],
)
def test_gittins_indices_are_the_published_ones(wins: int, losses: int, index: float) -> None:
    """Gittins, Glazebrook and Weber 2011, tables at the end of the book, discount 0.9."""
    assert gittins_indices(0.9, 3)[wins, losses] == pytest.approx(index, abs=6e-5)


@pytest.mark.parametrize(("discount", "index"), [(0.5, 0.5590), (0.95, 0.7614)])
def test_gittins_index_of_an_untried_arm_is_the_published_one(discount: float, index: float) -> None:
    assert gittins_indices(discount, 0)[0, 0] == pytest.approx(index, abs=6e-5)


def stopping_value(wins: int, losses: int, reward: float, discount: float, depth: int) -> float:
    """Return what an arm earns beside one that pays ``reward``, which is final; first pull forced."""

    @cache
    def value(won: int, lost: int, left: int) -> float:
        retired = reward / (1 - discount)
        return retired if left == 0 else max(retired, pulled(won, lost, left))

    def pulled(won: int, lost: int, left: int) -> float:
        mean = (won + 1) / (won + lost + 2)
        return mean * (1 + discount * value(won + 1, lost, left - 1)) + (1 - mean) * discount * value(
            won, lost + 1, left - 1
        )

    return pulled(wins, losses, depth)


@pytest.mark.parametrize(("wins", "losses", "discount"), [(0, 0, 0.7), (2, 1, 0.7), (0, 3, 0.8)])
def test_gittins_index_is_where_retiring_is_worth_the_same(wins: int, losses: int, discount: float) -> None:
    low, high = 0.0, 1.0
    for _ in range(30):  # bisection, by recursion from this state alone
        middle = (low + high) / 2
        better = stopping_value(wins, losses, middle, discount, 60) > middle / (1 - discount)
        low, high = (middle, high) if better else (low, middle)
    assert gittins_indices(discount, 4)[wins, losses] == pytest.approx(low, abs=1e-5)


def test_longer_lookahead_and_finer_grid_change_nothing_that_matters() -> None:
    table, finer = gittins_indices(0.9, 5), gittins_indices(0.9, 5, lookahead=300, grid=2001)
    np.testing.assert_allclose(table, finer, atol=2e-5)
    assert np.isnan(table[5, 1])  # six pulls, more than were asked for


def test_finite_horizon_index_of_one_pull_is_the_mean() -> None:
    table = finite_horizon_indices(6)[1]
    for wins, losses in ((0, 0), (3, 1), (0, 5)):
        assert table[wins, losses] == pytest.approx((wins + 1) / (wins + losses + 2), abs=1e-12)
    assert np.isnan(table[3, 3])


def test_finite_horizon_index_of_two_pulls_by_hand() -> None:
    # p - r + p (p' - r) = 0 with p = 1/2 and p' = 2/3 after a win; after a loss the arm is left
    assert finite_horizon_indices(2)[2, 0, 0] == pytest.approx((1 / 2 + 1 / 3) / (3 / 2), abs=1e-6)


def test_more_pulls_left_make_exploring_worth_more() -> None:
    untried = finite_horizon_indices(50)[1:, 0, 0]
    assert (np.diff(untried) > 0).all()


def test_indices_play_two_arms_as_the_optimum_does() -> None:
    best = BayesOptimal(2, 20).value
    earned = expected_return(FiniteHorizonGittins(finite_horizon_indices(20)), 2, 20)
    assert 0.999 * best < earned <= best + 1e-9


def test_ucb1_tries_every_arm_and_then_weighs_doubt_against_success() -> None:
    rng = np.random.default_rng(0)
    wins, losses = np.array([[1, 0, 0], [2, 0, 1], [1, 8, 0]]), np.array([[0, 1, 0], [1, 1, 1], [1, 2, 1]])
    # second row, six pulls: 2/3 + sqrt(2 ln 6 / 3) = 1.76, 0 + sqrt(2 ln 6) = 1.89, 1/2 + sqrt(ln 6) = 1.84
    # third, thirteen: 1/2 + sqrt(ln 13) = 2.10, 0.8 + sqrt(2 ln 13 / 10) = 1.52, 0 + sqrt(2 ln 13) = 2.26
    assert UCB1().choose(wins, losses, rng).tolist() == [2, 1, 2]
    assert UCB1(0.0).choose(wins[1:], losses[1:], rng).tolist() == [0, 1]


def test_thompson_draws_arms_as_often_as_they_are_the_best() -> None:
    rng = np.random.default_rng(0)
    wins, losses = np.full((40_000, 2), [1, 0]), np.zeros((40_000, 2), np.int64)
    # P(X > Y) for X of density 2x and Y uniform: E[X] = 2/3; three standard errors are 0.007
    assert (Thompson().choose(wins, losses, rng) == 0).mean() == pytest.approx(2 / 3, abs=0.0072)


def test_random_pulls_every_arm_equally_often() -> None:
    chosen = Random().choose(np.zeros((30_000, 3), np.int64), np.zeros((30_000, 3)), np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(chosen) / 30_000, 1 / 3, atol=0.009)
