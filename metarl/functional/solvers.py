"""Conjugate gradients and backtracking line search, the solvers of trust-region methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch


def conjugate_gradient(
    product: Callable[[torch.Tensor], torch.Tensor],
    target: torch.Tensor,
    *,
    iterations: int,
    tolerance: float = 1e-10,
) -> torch.Tensor:
    """Solve ``H x = target`` by conjugate gradients.

    H is symmetric positive definite, and known by its products.
    Source: Hestenes and Stiefel 1952; Nocedal and Wright 2006, algorithm 5.2.

    Args:
        product: maps ``[P]`` to ``H [P]``.
        target: ``[P]``.
        iterations: the most products that are taken.
        tolerance: stop once the squared residual is below this share of the squared target.
    """
    solution = torch.zeros_like(target)
    residual = target.clone()
    direction = residual
    squared = residual.dot(residual)
    goal = tolerance * squared
    for _ in range(iterations):
        if squared <= goal:
            break
        image = product(direction)
        curvature = direction.dot(image)
        if curvature <= 0:  # H is singular along this direction, as far as the arithmetic can tell
            break
        length = squared / curvature
        solution = solution + length * direction
        residual = residual - length * image
        previous, squared = squared, residual.dot(residual)
        direction = residual + squared / previous * direction
    return solution


class LineSearch(NamedTuple):
    """Result of a line search."""

    point: torch.Tensor  # [P]: the accepted point, or the start itself
    accepted: bool  # whether any point was accepted
    trials: int  # points that were tried


def backtracking_line_search(
    acceptable: Callable[[torch.Tensor], bool],
    start: torch.Tensor,
    step: torch.Tensor,
    *,
    shrink: float,
    max_trials: int,
) -> LineSearch:
    """Return the first acceptable ``start + shrink^j step``.

    Points are ``[P]``, from j = 0 on; after ``max_trials`` it is ``start``, unchanged.
    """
    for trial in range(max_trials):
        point = start + shrink**trial * step
        if acceptable(point):
            return LineSearch(point, accepted=True, trials=trial + 1)
    return LineSearch(start, accepted=False, trials=max_trials)
