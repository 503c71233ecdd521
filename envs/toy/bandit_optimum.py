"""Optimal play of Bernoulli bandits with arms uniform in 0..1: exact optimum and indices.

An arm that paid ``wins`` times and failed ``losses`` times has the posterior Beta(wins + 1, losses + 1), with
mean ``(wins + 1) / (wins + losses + 2)``. Tables are indexed by ``[wins, losses]``.

- :class:`BayesOptimal` is exact, by dynamic programming over the multiset of the arms' counts. For 5 arms and
  100 pulls there are too many states.
- :func:`gittins_indices` and :func:`finite_horizon_indices` need one arm at a time. The first are optimal for
  an endless discounted game (Gittins 1979), the second are nearly so for a fixed number of pulls (Lattimore
  2016, arXiv 1511.06014).
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.errors import require

Numbers: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.int64]
# sorted wins and losses of every arm: the order of the arms does not matter
Multiset: TypeAlias = tuple[tuple[int, int], ...]

MAX_STATES = 2_000_000


class Choice(NamedTuple):
    """The best value and action of a state."""

    value: float  # expected reward from here to the last pull
    arm: tuple[int, int]  # wins and losses of a best arm


def num_states(arms: int, pulls: int) -> int:
    """Return roughly how many states dynamic programming visits."""
    return math.comb(2 * arms + pulls, pulls) // math.factorial(arms)


def is_solvable(arms: int, pulls: int) -> bool:
    """Return whether :class:`BayesOptimal` takes bandits of these sizes."""
    return num_states(arms, pulls) <= MAX_STATES


class BayesOptimal:
    """Strategy of highest expected return, by dynamic programming.

    ``V(s) = max_i p_i (1 + V(s, arm i won)) + (1 - p_i) V(s, arm i lost)``, with the posterior means p_i, for
    episodes of ``pulls``. Too many states raise ``MetarlError``.
    """

    def __init__(self, arms: int, pulls: int) -> None:
        require(
            is_solvable(arms, pulls),
            f"Fewer arms or pulls are needed: dynamic programming can visit {MAX_STATES} states",
            num_states(arms, pulls),
        )
        self.arms, self.pulls = arms, pulls
        self._best = cache(self._choice)

    @cached_property
    def value(self) -> float:
        """Expected return over bandits from the prior."""
        return self._best(((0, 0),) * self.arms).value

    def choose(self, wins: Counts, losses: Counts) -> Counts:
        """Return the best arm ``[N]`` for counts ``[N, k]``; of equal arms the first."""
        counts = np.stack([wins, losses], axis=-1).tolist()
        states = [[(won, lost) for won, lost in each] for each in counts]
        return np.array([state.index(self._best(tuple(sorted(state))).arm) for state in states], np.int64)

    def _choice(self, state: Multiset) -> Choice:
        if sum(won + lost for won, lost in state) >= self.pulls:
            return Choice(0.0, state[0])
        return max((self._pulled(state, arm) for arm in dict.fromkeys(state)), key=lambda each: each.value)

    def _pulled(self, state: Multiset, arm: tuple[int, int]) -> Choice:
        won, lost = arm
        others = list(state)
        others.remove(arm)
        mean = (won + 1) / (won + lost + 2)
        after_win, after_loss = (
            self._best(tuple(sorted([*others, counts]))).value
            for counts in ((won + 1, lost), (won, lost + 1))
        )
        return Choice(mean * (1 + after_win) + (1 - mean) * after_loss, arm)


def gittins_indices(discount: float, pulls: int, *, lookahead: int = 0, grid: int = 501) -> Numbers:
    """Return Gittins indices of an endless discounted game, ``[pulls + 1, pulls + 1]``.

    The index of a state is the reward of a known arm at which playing on and retiring to that arm are worth
    the same (calibration; Gittins, Glazebrook and Weber 2011, chapter 8). For each reward r on a grid::

        V(w, l) = max(r / (1 - d), p (1 + d V(w + 1, l)) + (1 - p) d V(w, l + 1))

    backwards from ``lookahead`` pulls ahead, where an arm is taken to be known (0: as many as leave a weight
    of 1e-5 behind them); between two rewards of the grid the difference is interpolated. Entries of more than
    ``pulls`` are NaN.
    """
    require(0 < discount < 1, "discount must be above 0 and below 1", discount)
    # beyond this depth what is left is worth less than 1e-5 of the whole
    ahead = lookahead or math.ceil(math.log(1e-5) / math.log(discount))
    rewards = np.linspace(0, 1, grid)
    # a known arm that pays r for ever is worth r / (1 - discount)
    retired = rewards / (1 - discount)
    indices = np.full((pulls + 1, pulls + 1), np.nan)
    value = np.maximum(retired, _means(pulls + ahead)[:, None] / (1 - discount))
    for taken in range(pulls + ahead - 1, -1, -1):  # all states of this number of pulls, by wins
        mean = _means(taken)[:, None]
        # E[r + discount V], by Beta posteriors: a win adds 1 to wins, a loss to losses
        going_on = mean * (1 + discount * value[1:]) + (1 - mean) * discount * value[:-1]
        value = np.maximum(retired, going_on)
        if taken <= pulls:
            # the index is the r at which pulling and retiring are worth the same
            wins = np.arange(taken + 1)
            indices[wins, taken - wins] = _roots(going_on - retired, rewards)
    return indices


def finite_horizon_indices(pulls: int) -> Numbers:
    """Return indices by pulls left, wins, losses, ``[pulls + 1, pulls + 1, pulls + 1]``.

    The price r of a pull at which an arm, played for as long as it is worth it and at most ``left`` times,
    earns nothing (Bradt, Johnson and Karlin 1956; Lattimore 2016, section 2), on a grid of prices in 0..1::

        E_left(w, l) = max(0, p - r + p E_{left - 1}(w + 1, l) + (1 - p) E_{left - 1}(w, l + 1))

    States that an episode of ``pulls`` cannot come to, and ``left = 0``, are NaN.
    """
    prices = np.linspace(0, 1, 401)
    indices = np.full((pulls + 1, pulls + 1, pulls + 1), np.nan)
    earned = np.zeros((pulls + 1, pulls + 1, len(prices)))
    for left in range(1, pulls + 1):
        side = pulls - left + 1  # pulls taken before: 0 to side - 1
        count = np.arange(side)  # of wins, and of losses
        mean = ((count[:, None] + 1) / (np.add.outer(count, count) + 2))[..., None]
        pulled = mean - prices + mean * earned[1 : side + 1, :side] + (1 - mean) * earned[:side, 1 : side + 1]
        earned = np.maximum(pulled, 0)
        reached = np.add.outer(count, count) < side
        indices[left, :side, :side][reached] = _roots(pulled[reached], prices)
    return indices


def _means(taken: int) -> Numbers:
    """Return posterior means after ``taken`` pulls, by wins, ``[taken + 1]``."""
    return np.asarray((np.arange(taken + 1) + 1) / (taken + 2), np.float64)


def _roots(differences: Numbers, grid: Numbers) -> Numbers:
    """Return zero crossings of rows ``[N, G]`` that decrease along a grid ``[G]``."""
    after = np.clip((differences > 0).sum(axis=1), 1, len(grid) - 1)
    rows = np.arange(len(differences))
    above, below = differences[rows, after - 1], differences[rows, after]
    share = above / np.where(above > below, above - below, 1.0)
    return np.asarray(grid[after - 1] + np.clip(share, 0, 1) * (grid[after] - grid[after - 1]), np.float64)
