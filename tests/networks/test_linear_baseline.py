"""The linear feature baseline: its features by hand, its fit by least squares, and singular data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.functional.returns import discounted_returns
from metarl.networks.linear_baseline import (
    constant_reward_values,
    fit_linear,
    linear_features,
    predict_linear,
    transitions_per_feature,
)
from support import tiny

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def problem(seed: int = 0, *, tasks: int = 4, episodes: int = 3, steps: int = 8, size: int = 5) -> Problem:
    """Draw features, targets and a mask."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(tasks, episodes, steps, size, generator=generator, dtype=torch.float64)
    targets = torch.randn(tasks, episodes, steps, generator=generator, dtype=torch.float64)
    mask = torch.arange(steps) < torch.randint(2, steps + 1, (tasks, episodes, 1), generator=generator)
    return features, targets, mask


def least_squares(features: torch.Tensor, targets: torch.Tensor, ridge: float) -> np.ndarray:
    """Solve one task's ridge regression as least squares with ``sqrt(ridge) I`` below the features."""
    rows, size = features.numpy(), features.shape[-1]
    augmented = np.concatenate([rows, np.sqrt(ridge) * np.eye(size)])
    return np.linalg.lstsq(augmented, np.concatenate([targets.numpy(), np.zeros(size)]), rcond=None)[0]


def test_features_by_hand() -> None:
    features = linear_features(torch.tensor([[0.5, -2.0], [0.0, 3.0]]), torch.tensor([0, 50]))
    expected = [[0.5, -2.0, 0.25, 4.0, 0.0, 0.0, 0.0, 1.0], [0.0, 3.0, 0.0, 9.0, 0.5, 0.25, 0.125, 1.0]]
    assert features.tolist() == expected


def test_observations_are_clipped() -> None:
    features = linear_features(torch.tensor([[1e30, -1e30]]), torch.tensor([0]))
    assert features[0, :4].tolist() == [10.0, -10.0, 100.0, 100.0]


def test_features_are_double_precision() -> None:
    assert linear_features(torch.zeros(2, 3, dtype=torch.float32), torch.arange(2)).dtype == torch.float64


def test_steps_broadcast_over_tasks_and_episodes() -> None:
    features = linear_features(torch.zeros(2, 3, 4, 1), torch.arange(4))
    assert torch.equal(features[..., 2], (torch.arange(4).double() / 100).expand(2, 3, 4))


@pytest.mark.parametrize("ridge", [1e-5, 0.1, 10.0])
def test_fit_is_least_squares_for_each_task(ridge: float) -> None:
    features, targets, mask = problem()
    weights = fit_linear(features, targets, mask, ridge=ridge)
    for task in range(4):
        live = mask[task]
        expected = least_squares(features[task][live], targets[task][live], ridge)
        np.testing.assert_allclose(weights[task].numpy(), expected, rtol=1e-9)


def test_masked_steps_do_not_count() -> None:
    features, targets, mask = problem()
    elsewhere = torch.where(mask.unsqueeze(-1), features, 1e3)
    weights = fit_linear(elsewhere, targets, mask)
    assert torch.equal(weights, fit_linear(features, targets, mask))
    assert torch.equal(weights, fit_linear(features, torch.where(mask, targets, -1e3), mask))


def test_linear_targets_are_found_again() -> None:
    features, _, mask = problem()
    wanted = torch.tensor([1.0, -2.0, 0.5, 0.0, 100.0], dtype=torch.float64)
    weights = fit_linear(features, features @ wanted, mask, ridge=1e-12)
    torch.testing.assert_close(weights, wanted.expand(4, 5), rtol=1e-9, atol=1e-9)


def test_fit_is_accurate_where_single_precision_is_not() -> None:
    # Time and its powers are nearly collinear: over 500 steps the squared condition number passes 1e7.
    features = linear_features(problem(steps=500)[0][:2, :1, :, :4], torch.arange(500))
    mask = torch.ones(2, 1, 500, dtype=torch.bool)
    wanted = torch.linspace(-3, 3, 12, dtype=torch.float64)
    predicted = predict_linear(fit_linear(features, features @ wanted, mask, ridge=1e-9), features)
    torch.testing.assert_close(predicted, features @ wanted, rtol=1e-6, atol=1e-6)


COLUMNS = problem()[0][..., :1]
SINGULAR = {
    "all zero": torch.zeros(4, 3, 8, 4),
    "constant": torch.full((4, 3, 8, 4), 7.0),
    "duplicate columns": COLUMNS.expand(4, 3, 8, 4),
    "huge duplicate columns": 1e10 * COLUMNS.expand(4, 3, 8, 4),
    "one huge column": torch.cat([COLUMNS, torch.full((4, 3, 8, 1), 1e12)], dim=-1),
}


@pytest.mark.parametrize("features", SINGULAR.values(), ids=SINGULAR.keys())
def test_singular_data_never_give_a_nan(features: torch.Tensor) -> None:
    features = features.double()
    targets, mask = features.sum(dim=-1) + 1, torch.ones(4, 3, 8, dtype=torch.bool)
    weights = fit_linear(features, targets, mask)
    assert torch.isfinite(weights).all()
    assert torch.isfinite(predict_linear(weights, features)).all()


def test_constant_targets_are_predicted_from_the_constant() -> None:
    features = linear_features(torch.zeros(2, 3, 8, 4), torch.arange(8))
    targets, mask = torch.full((2, 3, 8), -5.0), torch.ones(2, 3, 8, dtype=torch.bool)
    predicted = predict_linear(fit_linear(features, targets, mask), features)
    torch.testing.assert_close(predicted, targets.double(), rtol=1e-5, atol=0)


def test_a_singular_task_changes_no_other() -> None:
    features, targets, mask = problem()
    alone = fit_linear(features[:1], targets[:1], mask[:1])
    features = features.clone()
    features[1] = 1e10 * features[1, ..., :1]
    torch.testing.assert_close(fit_linear(features, targets, mask)[:1], alone, rtol=1e-12, atol=0)


def test_task_without_a_live_step_gets_zero_weights() -> None:
    features, targets, mask = problem()
    mask[2] = False
    assert not fit_linear(features, targets, mask)[2].any()


def test_prediction_is_the_inner_product() -> None:
    features, _, _ = problem()
    weights = torch.arange(20.0, dtype=torch.float64).reshape(4, 5)
    expected = torch.einsum("mktf,mf->mkt", features, weights)
    torch.testing.assert_close(predict_linear(weights, features), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(predict_linear(weights, features[:, :, 0]), expected[:, :, 0])


def test_fit_ignores_numbers_under_a_false_mask() -> None:
    features, targets, mask = problem()
    nan = features.where(mask.unsqueeze(-1), torch.nan), targets.where(mask, torch.nan)
    assert torch.equal(fit_linear(*nan, mask), fit_linear(features, targets, mask))


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 500])
def test_value_of_a_constant_reward_is_exact(steps: int, discount: float) -> None:
    mask = torch.ones(2, 3, steps, dtype=torch.bool)
    mask[1, :, (steps + 1) // 2 :] = False  # episodes that all end early, as the task's longest does
    returns = discounted_returns(3.0 * mask.double(), mask, discount)
    found = constant_reward_values(returns, mask, discount)
    torch.testing.assert_close(torch.where(mask, found[:, None, :-1], 0.0), returns, rtol=1e-12, atol=1e-12)


def test_value_of_a_constant_reward_is_least_squares_on_two_columns() -> None:
    returns = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.tensor([[[True, True, True], [True, False, False]]])
    columns = np.array([[1.0, 1.75], [1.0, 1.5], [1.0, 1.0], [1.0, 1.75]])
    weights = np.linalg.lstsq(columns, returns[mask].numpy(), rcond=None)[0]
    expected = weights[0] + weights[1] * np.array([1.75, 1.5, 1.0, 0.0])
    np.testing.assert_allclose(constant_reward_values(returns, mask, 0.5)[0].numpy(), expected, rtol=1e-12)


def test_transitions_per_feature_are_those_of_the_shortest_task() -> None:
    rollout = tiny.random_rollout(0)  # 3 observations, so 10 features
    fewest = min(int(mask.sum()) for mask in rollout.mask)
    assert transitions_per_feature(rollout) == fewest / 10
