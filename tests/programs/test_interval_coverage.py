"""The program that simulates how often intervals hold the truth: its truths, its methods, its tables."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.special import expit

METHODS = ("metarl", "percentile", "widened percentile", "studentised", "Satterthwaite")


@pytest.fixture
def program(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root))
    return importlib.import_module("benchmarks.learning.interval_coverage")


def held(program: ModuleType, method: str, seeds: int, spread: tuple[float, float, float]) -> float:
    """Return how often intervals of normal scores on 50 tasks hold their true mean of 0."""
    rng = np.random.default_rng(0)
    found = program.METHODS[method](program.Spread(*spread).draw(rng, 400, seeds, 50), rng)
    return float(np.mean((found.low <= 0) & (found.high >= 0)))


def test_three_seeds_need_more_than_a_percentile_bootstrap(program: ModuleType) -> None:
    spread = (1.0, 0.2, 0.3)
    assert held(program, "percentile", 3, spread) < 0.8
    assert held(program, "metarl", 3, spread) >= 0.93
    assert held(program, "widened percentile", 3, spread) >= 0.92


def test_satterthwaite_falls_short_with_two_seeds(program: ModuleType) -> None:
    spread = (1.0, 1.0, 0.3)
    assert held(program, "Satterthwaite", 2, spread) < 0.92
    assert held(program, "metarl", 2, spread) >= 0.93


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_agree_where_seeds_are_many(program: ModuleType, method: str) -> None:
    rng, spread = np.random.default_rng(1), program.Spread(1.0, 0.0, 0.0)
    found = program.METHODS[method](spread.draw(rng, 20, 200, 20), rng)
    assert np.mean(found.high - found.low) == pytest.approx(spread.ideal_width(200, 20), rel=0.08)


def test_effect_of_a_single_seed_is_no_part_of_its_scores(program: ModuleType) -> None:
    scores = program.Spread(100.0, 1.0, 0.0).draw(np.random.default_rng(0), 50, 1, 50)
    assert scores.std() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.98])
def test_log_odds_give_the_rate(program: ModuleType, rate: float) -> None:
    noise = 1.5 * np.random.default_rng(0).normal(size=200_000)
    assert expit(program.log_odds(rate, 1.5) + noise).mean() == pytest.approx(rate, abs=0.003)


def test_tables_have_every_kind_of_number(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SPREADS", program.SPREADS[:1])
    monkeypatch.setattr(program, "ALL_SPREADS", program.SPREADS[:1])
    monkeypatch.setattr(program, "RESAMPLES", 20)
    program.main(output=tmp_path, repetitions=2)
    with (tmp_path / "coverage.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["interval"] for row in rows} == set(METHODS)
    kinds = {"mean", "interquartile mean", "success rate", "probability of improvement"}
    assert {row["statistic"] for row in rows} == kinds
    assert all(0 <= float(row["coverage"]) <= 1 for row in rows)
    with (tmp_path / "equal_agents.csv").open() as file:
        assert {row["quantity"] for row in csv.DictReader(file)} == {"return", "success"}
