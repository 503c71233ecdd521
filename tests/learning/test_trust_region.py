"""Outer steps on plain functions: the Gauss-Newton product, and the trust region case by case."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from metarl.learning.trust_region import (
    LossAndKL,
    TrustRegionConfig,
    TrustRegionStep,
    gauss_newton_product,
    trust_region_step,
)
from metarl.types import Params

HESSIAN = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 4.0]], dtype=torch.float64)
SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
START = LossAndKL(torch.tensor(0.0).double(), torch.tensor(0.0).double())
EXACT = TrustRegionConfig(max_kl=0.01, cg_damping=0.0)


def point() -> Params:
    return {"a": torch.tensor([1.0, 2.0]).double(), "b": torch.tensor([[3.0]]).double()}


def as_params(vector: torch.Tensor) -> Params:
    return {"a": vector[:2], "b": vector[2:].reshape(1, 1)}


def moved_by(params: Params) -> torch.Tensor:
    return torch.cat([(params[name] - point()[name]).reshape(-1) for name in params])


def linear_loss_quadratic_kl(params: Params) -> LossAndKL:
    change = moved_by(params)
    return LossAndKL(SLOPE @ change, 0.5 * change @ HESSIAN @ change)


def take(
    evaluate: Callable[[Params], LossAndKL] = linear_loss_quadratic_kl,
    *,
    slope: torch.Tensor = SLOPE,
    hessian: torch.Tensor = HESSIAN,
    config: TrustRegionConfig = EXACT,
    params: Params | None = None,
) -> TrustRegionStep:
    start = params if params is not None else point()
    return trust_region_step(start, as_params(slope), lambda v: hessian @ v, evaluate, START, config)


def test_step_is_the_natural_gradient_at_the_edge_of_the_region() -> None:
    # The least loss on the ellipsoid 1/2 s'Hs = d is at s = -sqrt(2 d / g'H^-1 g) H^-1 g. A shade inside the
    # region, for the exact edge is as likely to be out of bounds by rounding.
    natural = torch.linalg.solve(HESSIAN, SLOPE)
    expected = -torch.sqrt(2 * EXACT.max_kl / (SLOPE @ natural)) * natural

    def lenient(params: Params) -> LossAndKL:
        loss, kl = linear_loss_quadratic_kl(params)
        return LossAndKL(loss, kl * (1 - 1e-9))

    step = take(lenient)
    assert step.accepted
    assert step.metrics["line_search_trials"] == 1
    torch.testing.assert_close(moved_by(step.params), expected, rtol=1e-9, atol=1e-12)


def test_step_has_the_names_and_shapes_it_was_given() -> None:
    step = take()
    assert {name: value.shape for name, value in step.params.items()} == {"a": (2,), "b": (1, 1)}


def test_damping_is_added_to_the_curvature() -> None:
    config = TrustRegionConfig(max_kl=0.01, cg_damping=5.0)
    damped = HESSIAN + 5.0 * torch.eye(3, dtype=torch.float64)
    natural = torch.linalg.solve(damped, SLOPE)
    expected = -torch.sqrt(0.02 / (SLOPE @ natural)) * natural
    torch.testing.assert_close(moved_by(take(config=config).params), expected, rtol=1e-9, atol=1e-12)


def test_step_is_shortened_until_the_divergence_is_within_bounds() -> None:
    # A KL that is truly four times its quadratic model: 0.8^4 = 0.41 is the first share below a half.
    step = take(lambda params: LossAndKL(SLOPE @ moved_by(params), 4 * linear_loss_quadratic_kl(params).kl))
    assert step.metrics["line_search_trials"] == 5
    assert step.metrics["kl"] == pytest.approx(4 * 0.01 * 0.8**8)


def test_step_is_shortened_until_the_loss_improves() -> None:
    full = float(linear_loss_quadratic_kl(take().params).loss)

    def bowl(params: Params) -> LossAndKL:
        loss, kl = linear_loss_quadratic_kl(params)
        # Falls at first, is back at its start a little below half of the full step.
        return LossAndKL(loss - 2.2 * loss * loss / full, kl)

    step = take(bowl)
    assert step.accepted
    assert step.metrics["line_search_trials"] == 5
    assert step.metrics["surrogate_after"] < 0


def nothing_but(loss: float, kl: float) -> Callable[[Params], LossAndKL]:
    return lambda _: LossAndKL(torch.tensor(loss).double(), torch.tensor(kl).double())


FAILURES = {
    "the loss stays the same": nothing_but(0.0, 0.0),
    "the loss grows": nothing_but(1.0, 0.0),
    "the divergence is too large": nothing_but(-1.0, 0.02),
    "the loss is no number": nothing_but(math.nan, 0.0),
    "the divergence is no number": nothing_but(-1.0, math.nan),
    "both are infinite": nothing_but(-math.inf, math.inf),
}


@pytest.mark.parametrize("evaluate", FAILURES.values(), ids=FAILURES.keys())
def test_failed_line_search_leaves_the_parameters_untouched(evaluate: Callable[[Params], LossAndKL]) -> None:
    params = point()
    step = take(evaluate, params=params)
    assert not step.accepted
    assert all(step.params[name] is params[name] for name in params)
    assert all(torch.equal(value, point()[name]) for name, value in params.items())
    assert step.metrics["step_accepted"] == 0.0
    assert (step.metrics["surrogate_after"], step.metrics["kl"]) == (0.0, 0.0)


DEGENERATE = {
    "no slope": (torch.zeros(3).double(), HESSIAN),
    "no curvature": (SLOPE, torch.zeros(3, 3).double()),
    "negative curvature": (SLOPE, -HESSIAN),
    "a slope that is no number": (SLOPE * math.nan, HESSIAN),
    "a curvature that is no number": (SLOPE, HESSIAN * math.nan),
}


@pytest.mark.parametrize(("slope", "hessian"), DEGENERATE.values(), ids=DEGENERATE.keys())
def test_step_without_a_direction_leaves_the_parameters_untouched(
    slope: torch.Tensor, hessian: torch.Tensor
) -> None:
    params = point()
    step = take(nothing_but(-1.0, 0.0), slope=slope, hessian=hessian, params=params)
    assert not step.accepted
    assert all(step.params[name] is params[name] for name in params)


def test_metrics_tell_how_it_went() -> None:
    step = take()
    after = linear_loss_quadratic_kl(step.params)
    assert step.metrics["kl"] == float(after.kl)
    assert step.metrics["surrogate_before"] == 0.0
    assert step.metrics["surrogate_after"] == float(after.loss)
    assert step.metrics["gradient_norm"] == pytest.approx(float(SLOPE.norm()))


def test_line_search_takes_no_more_trials_than_allowed() -> None:
    trials: list[Params] = []

    def refuse(params: Params) -> LossAndKL:
        trials.append(params)
        return LossAndKL(torch.tensor(1.0), torch.tensor(0.0))

    take(refuse, config=TrustRegionConfig(max_backtracks=3))
    assert len(trials) == 3


def test_gauss_newton_product_is_that_of_the_dense_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    fisher = torch.rand(4, generator=generator, dtype=torch.float64) + 0.5

    def outputs(vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tanh(weight @ vector) * vector[0], vector[1:].square()

    leaf = {"x": torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)}
    product = gauss_newton_product(
        outputs(leaf["x"]), leaf, lambda change: [fisher * change[0], 3.0 * change[1]]
    )
    parts = torch.autograd.functional.jacobian(outputs, leaf["x"].detach())
    jacobian = torch.cat([part for part in parts if isinstance(part, torch.Tensor)])
    metric = torch.diag(torch.cat([fisher, torch.full((2,), 3.0)]))
    for vector in torch.eye(3, dtype=torch.float64):
        expected = jacobian.T @ metric @ jacobian @ vector
        torch.testing.assert_close(product(vector), expected, rtol=1e-12, atol=1e-12)


def test_gauss_newton_product_of_a_parameter_that_is_not_read_is_zero() -> None:
    leaves = {name: torch.ones(2, dtype=torch.float64, requires_grad=True) for name in ("read", "unread")}
    product = gauss_newton_product([leaves["read"].square()], leaves, lambda change: change)
    assert product(torch.tensor([1.0, 2.0, 3.0, 4.0]).double()).tolist() == [4.0, 8.0, 0.0, 0.0]
