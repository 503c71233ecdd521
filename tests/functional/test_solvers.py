"""Conjugate gradient against a dense solve; the line search case by case."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from metarl.functional.solvers import backtracking_line_search, conjugate_gradient


def positive_definite(size: int, seed: int = 0) -> torch.Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T / size + 0.1 * torch.eye(size, dtype=torch.float64)


def target(size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_conjugate_gradient_is_the_dense_solve(size: int) -> None:
    matrix, wanted = positive_definite(size), target(size)
    # In exact arithmetic as many products as there are dimensions; a few more for rounding.
    found = conjugate_gradient(lambda v: matrix @ v, wanted, iterations=2 * size, tolerance=1e-28)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, wanted), rtol=1e-9, atol=1e-9)


def test_conjugate_gradient_needs_one_product_for_each_distinct_eigenvalue() -> None:
    scales = torch.tensor([2.0, 2.0, 5.0, 5.0, 5.0], dtype=torch.float64)
    found = conjugate_gradient(lambda v: scales * v, target(5), iterations=2)
    torch.testing.assert_close(found, target(5) / scales, rtol=1e-12, atol=1e-12)


def test_conjugate_gradient_takes_no_more_products_than_allowed() -> None:
    products: list[torch.Tensor] = []

    def product(vector: torch.Tensor) -> torch.Tensor:
        products.append(vector)
        return positive_definite(20) @ vector

    conjugate_gradient(product, target(20), iterations=4, tolerance=0.0)
    assert len(products) == 4


def test_conjugate_gradient_stops_when_it_has_converged() -> None:
    products: list[torch.Tensor] = []

    def identity(vector: torch.Tensor) -> torch.Tensor:
        products.append(vector)
        return vector

    assert torch.equal(conjugate_gradient(identity, target(5), iterations=10), target(5))
    assert len(products) == 1


def test_conjugate_gradient_of_nothing_is_nothing() -> None:
    matrix, nothing = positive_definite(4), torch.zeros(4, dtype=torch.float64)
    assert not conjugate_gradient(lambda v: matrix @ v, nothing, iterations=5).any()


def test_singular_matrix_gives_a_finite_answer() -> None:
    scales = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = conjugate_gradient(lambda v: scales * v, torch.tensor([0.0, 1.0]).double(), iterations=5)
    assert torch.equal(found, torch.zeros(2, dtype=torch.float64))


def search(
    acceptable: Callable[[float], bool], max_trials: int = 4
) -> tuple[list[float], torch.Tensor, bool, int]:
    """Search from 1 along a step of 8, halved each time; return what was tried and what was found."""
    tried: list[float] = []

    def judge(point: torch.Tensor) -> bool:
        tried.append(float(point))
        return acceptable(float(point))

    found = backtracking_line_search(
        judge, torch.tensor([1.0]), torch.tensor([8.0]), shrink=0.5, max_trials=max_trials
    )
    return tried, found.point, found.accepted, found.trials


def test_full_step_is_tried_first() -> None:
    assert search(lambda point: True) == ([9.0], torch.tensor([9.0]), True, 1)


def test_first_acceptable_point_is_taken() -> None:
    assert search(lambda point: point < 4) == ([9.0, 5.0, 3.0], torch.tensor([3.0]), True, 3)


def test_last_trial_can_be_accepted() -> None:
    assert search(lambda point: point == 2.0) == ([9.0, 5.0, 3.0, 2.0], torch.tensor([2.0]), True, 4)


def test_failed_search_returns_the_very_start() -> None:
    start = torch.tensor([1.0, 2.0])
    found = backtracking_line_search(lambda point: False, start, start, shrink=0.8, max_trials=15)
    assert found.point is start
    assert (found.accepted, found.trials) == (False, 15)


def test_search_without_trials_judges_nothing() -> None:
    assert search(lambda point: True, max_trials=0) == ([], torch.tensor([1.0]), False, 0)


def test_not_a_number_is_backed_away_from() -> None:
    def loss(point: float) -> float:
        return math.nan if point > 4 else -point

    tried, point, accepted, _ = search(lambda point: loss(point) < 0)
    assert (tried[-1], float(point), accepted) == (3.0, 3.0, True)
