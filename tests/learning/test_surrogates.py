"""The inner surrogates: their gradients and Hessians on a world whose derivatives are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from metarl.learning.advantages import Batch
from metarl.learning.surrogates import clipped_ratio, dice, likelihood_ratio, low_variance_curvature
from support import tabular

EPISODES = tabular.episodes(3)
SURROGATES = {
    "maml": tabular.policy_gradient,
    "lvc": low_variance_curvature,
    "dice": dice,
    "ratio": lambda log_probs, batch: likelihood_ratio(log_probs, batch.log_probs, batch),
}
NAMES = pytest.mark.parametrize("name", list(SURROGATES))


def each_episode() -> Batch:
    """Return every episode as a task of its own, one episode each."""
    return EPISODES.batch(EPISODES.all_sets(1), tabular.THETA)


def derivatives(name: str, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return minus each task's gradient ``[M, 4]`` and Hessian ``[M, 4, 4]`` at THETA, times T."""
    leaf = tabular.THETA.expand(len(batch.weights), 2, 2).clone().requires_grad_()
    loss = tabular.of_policy(SURROGATES[name])(None, {"logits": leaf}, batch).sum()
    (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
    scale = -float(EPISODES.horizon)
    return scale * slope.detach().flatten(1), scale * tabular.jacobian(slope.flatten(1), leaf)


def expected(values: torch.Tensor) -> torch.Tensor:
    """Average over all episodes as likely as the policy at THETA makes them."""
    return torch.einsum("n,n...->...", EPISODES.probabilities(tabular.THETA), values)


def exact(order: int) -> torch.Tensor:
    """Return the expected return's gradient or Hessian, by differentiating the sum over all episodes."""
    function = torch.autograd.functional.hessian if order == 2 else torch.autograd.functional.jacobian
    return function(EPISODES.expected_return, tabular.THETA).reshape([4] * order)


def score_products() -> torch.Tensor:
    """Return ``H1 = E sum_t s_t s_t' Q_t``, from how often each state and action are met and their worth."""
    values, often = tabular.action_values(tabular.THETA, 3), tabular.visits(tabular.THETA, 3)
    worth = sum(chance * value for chance, value in zip(often, values, strict=True))
    return torch.einsum("sa,sap,saq->pq", worth, scores(), scores())


def later_changes() -> torch.Tensor:
    """Return ``H12 = E sum_t s_t (grad Q_t)'``: a step's score with the change of what it will earn."""

    def values(logits: torch.Tensor) -> torch.Tensor:
        return torch.stack(tabular.action_values(logits, 3))

    slopes = torch.autograd.functional.jacobian(values, tabular.THETA).flatten(3)
    often = torch.stack(tabular.visits(tabular.THETA, 3))
    return torch.einsum("tsa,sap,tsaq->pq", often, scores(), slopes)


def scores() -> torch.Tensor:
    """Return ``grad log pi(a|s)`` of every state and action, ``[S, A, 4]``."""
    table = torch.autograd.functional.jacobian(
        lambda logits: torch.log_softmax(logits, dim=-1), tabular.THETA
    )
    return table.flatten(2)


def test_listed_episodes_are_all_there_are() -> None:
    assert len(EPISODES.world) == 32  # two actions three times, two successors twice
    assert float(EPISODES.probabilities(tabular.THETA).sum()) == pytest.approx(1.0, abs=1e-14)


def test_expected_return_is_that_of_backward_induction() -> None:
    first = tabular.action_values(tabular.THETA, 3)[0][0]
    expected_return = (torch.softmax(tabular.THETA, dim=-1)[0] * first).sum()
    assert float(EPISODES.expected_return(tabular.THETA)) == pytest.approx(float(expected_return), rel=1e-13)


@NAMES
def test_every_surrogate_has_each_samples_policy_gradient(name: str) -> None:
    found, _ = derivatives(name, each_episode())
    usual, _ = derivatives("maml", each_episode())
    torch.testing.assert_close(found, usual, rtol=1e-12, atol=1e-13)


@NAMES
def test_expected_gradient_is_the_exact_one(name: str) -> None:
    slope, _ = derivatives(name, each_episode())
    assert tabular.relative_error(expected(slope), exact(1)) < 1e-12


def test_dice_hessian_is_unbiased() -> None:
    _, curvature = derivatives("dice", each_episode())
    assert tabular.relative_error(expected(curvature), exact(2)) < 1e-12


@pytest.mark.parametrize("name", ["lvc", "ratio"])
def test_lvc_hessian_lacks_what_a_step_changes_of_later_ones(name: str) -> None:
    _, curvature = derivatives(name, each_episode())
    lacking = later_changes() + later_changes().T
    assert lacking.norm() > 0.1 * exact(2).norm(), "the bias is there to be seen"
    assert tabular.relative_error(expected(curvature), exact(2) - lacking) < 1e-12


def test_hessian_of_mamls_programs_lacks_the_products_of_scores_too() -> None:
    _, curvature = derivatives("maml", each_episode())
    lacking = later_changes() + later_changes().T + score_products()
    assert score_products().norm() > 0.1 * exact(2).norm(), "the bias is there to be seen"
    assert tabular.relative_error(expected(curvature), exact(2) - lacking) < 1e-12


def test_lvc_is_unbiased_where_later_steps_cannot_change() -> None:
    single = tabular.episodes(1)
    batch = single.batch(single.all_sets(1), tabular.THETA)
    leaf = tabular.THETA.expand(2, 2, 2).clone().requires_grad_()
    loss = tabular.of_policy(low_variance_curvature)(None, {"logits": leaf}, batch).sum()
    (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
    curvature = -tabular.jacobian(slope.flatten(1), leaf)
    found = torch.einsum("n,npq->pq", single.probabilities(tabular.THETA), curvature)
    wanted = torch.autograd.functional.hessian(single.expected_return, tabular.THETA).reshape(4, 4)
    assert tabular.relative_error(found, wanted) < 1e-12


def test_dice_with_returns_as_advantages_is_the_original_up_to_a_constant() -> None:
    batch = each_episode()
    start = torch.randn(32, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pair = replace(
        batch,
        weights=torch.full((32, 9), 1 / 9, dtype=torch.float64),
        advantages=start.unflatten(1, (3, 3)).flip(-1).cumsum(-1).flip(-1).flatten(1),
    )
    leaf = torch.randn(32, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf.requires_grad_()

    def original(log_probs: torch.Tensor) -> torch.Tensor:
        summed = torch.stack(
            [  # three episodes of three steps, one after another
                torch.exp(part.sum(dim=1) - part.sum(dim=1).detach()) * start[:, first + step]
                for first in (0, 3, 6)
                for step in range(3)
                if (part := log_probs[:, first : first + step + 1]) is not None
            ]
        )
        return -summed.mean(dim=0)

    def curvature(loss: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(loss.sum(), leaf, create_graph=True)
        return tabular.jacobian(slope, leaf)

    torch.testing.assert_close(curvature(dice(leaf, pair)), curvature(original(leaf)), rtol=1e-11, atol=1e-13)


def test_thinned_batch_does_not_tell_its_episodes() -> None:
    batch = each_episode().subsample(2, at_least=1)
    with pytest.raises(AssertionError, match="does not say which episode"):
        dice(batch.log_probs, batch)


def by_hand(advantages: list[float]) -> Batch:
    """Return one task of four transitions."""
    four = torch.zeros(1, 4, 1, dtype=torch.float64)
    weights = torch.full((1, 4), 0.25, dtype=torch.float64)
    return Batch(four, four, torch.tensor([advantages]).double(), weights, four[..., 0], horizon=4)


def test_clip_cuts_the_gradient_where_a_ratio_has_gone_far_enough() -> None:
    # ratios 1.5, 1.5, 0.5, 0.5 with advantages 2, -2, 2, -2 and a clip of 0.2:
    # min(3, 2.4), min(-3, -2.4), min(1, 1.6), min(-1, -1.6): only the second and third are not clipped
    ratios = torch.tensor([[1.5, 1.5, 0.5, 0.5]], dtype=torch.float64)
    log_probs = ratios.log().requires_grad_()
    batch = by_hand([2.0, -2.0, 2.0, -2.0])
    loss = clipped_ratio(log_probs, torch.zeros(1, 4).double(), batch, clip=0.2)
    assert float(loss.detach()) == pytest.approx(-(2.4 - 3.0 + 1.0 - 1.6) / 4)
    (slope,) = torch.autograd.grad(loss.sum(), log_probs)
    # d(-r A / 4) / d log pi = -r A / 4
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.75, -0.25, 0.0]], dtype=torch.float64))


def test_clip_does_nothing_within_its_bounds() -> None:
    log_probs = torch.tensor([[0.1, -0.1, 0.05, 0.0]], dtype=torch.float64)
    batch, old = by_hand([1.0, -3.0, 2.0, 5.0]), torch.zeros(1, 4).double()
    torch.testing.assert_close(
        clipped_ratio(log_probs, old, batch, clip=0.2), likelihood_ratio(log_probs, old, batch)
    )


def test_likelihood_ratio_by_hand() -> None:
    log_probs = torch.tensor([[2.0, 1.0, 0.5, 1.0]], dtype=torch.float64).log()
    loss = likelihood_ratio(log_probs, torch.zeros(1, 4).double(), by_hand([1.0, 2.0, 4.0, -1.0]))
    assert float(loss) == pytest.approx(-(2.0 + 2.0 + 2.0 - 1.0) / 4)


@pytest.mark.parametrize("loss", [likelihood_ratio, partial(clipped_ratio, clip=0.2)])
def test_a_density_too_large_for_float32_past_an_episodes_end_changes_nothing(
    loss: Callable[..., torch.Tensor],
) -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0]])
    none = torch.zeros(1, 3, 1)
    batch = Batch(none, none, torch.tensor([[1.0, -2.0, 0.0]]), weights, torch.zeros(1, 3), horizon=3)
    log_probs = torch.tensor([[0.0, 0.0, 1000.0]], requires_grad=True)
    value = loss(log_probs, batch.log_probs, batch)
    assert value.item() == 0.5
    (slope,) = torch.autograd.grad(value.sum(), log_probs)
    assert slope.tolist() == [[-0.5, 1.0, 0.0]]
