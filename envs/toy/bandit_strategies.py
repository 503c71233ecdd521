"""Strategies for Bernoulli bandits, as baselines that see how often each arm won and lost.

Each plays N bandits at once. Equal arms differ by their place only, which makes no difference: all arms have
the same prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metarl.envs.toy.bandit_optimum import BayesOptimal, Counts, Numbers


class Strategy(Protocol):
    """A way to play."""

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return arms, ``[N]``, for counts ``[N, k]``."""


def best(scores: Numbers) -> Counts:
    """Return the arms of the first highest scores, ``[N]`` of ``[N, k]``."""
    return np.asarray(scores.argmax(axis=1), np.int64)


@dataclass(frozen=True)
class Random:
    """Any arm."""

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return arms drawn uniformly."""
        return rng.integers(wins.shape[1], size=len(wins))


@dataclass(frozen=True)
class Greedy:
    """The arm of the highest posterior mean."""

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return the arms that look best."""
        return best((wins + 1) / (wins + losses + 2))


@dataclass(frozen=True)
class Thompson:
    """Thompson sampling: an arm by the probability that it is the best (Thompson 1933)."""

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return a posterior bandit's best arms."""
        return best(rng.beta(wins + 1, losses + 1))


@dataclass(frozen=True)
class UCB1:
    """The arm of the highest upper confidence bound (Auer et al. 2002, figure 1)."""

    width: float = 1.0  # factor of the bound, 1 as published; less explores less

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return the arms of the highest bounds; arms that were never pulled come first."""
        pulls = wins + losses
        taken = np.maximum(pulls.sum(axis=1, keepdims=True), 1)
        tried = np.maximum(pulls, 1)
        bounds = wins / tried + self.width * np.sqrt(2 * np.log(taken) / tried)
        return best(np.where(pulls > 0, bounds, np.inf))


@dataclass(frozen=True, eq=False)
class Gittins:
    """The arm of the highest Gittins index, that of an endless discounted game."""

    table: Numbers  # [wins, losses], of gittins_indices

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return the arms of the highest indices."""
        return best(self.table[wins, losses])


@dataclass(frozen=True, eq=False)
class FiniteHorizonGittins:
    """The arm of the highest index for the pulls that are left."""

    table: Numbers  # [left, wins, losses], of finite_horizon_indices

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return the arms of the highest indices."""
        left = len(self.table) - 1 - (wins + losses).sum(axis=1, keepdims=True)
        return best(self.table[left, wins, losses])


@dataclass(frozen=True, eq=False)
class Optimal:
    """The Bayes-optimal arm."""

    solution: BayesOptimal

    def choose(self, wins: Counts, losses: Counts, rng: np.random.Generator) -> Counts:
        """Return the best arms."""
        return self.solution.choose(wins, losses)
