"""Meta-gradients where the expected return after adapting is known exactly, as a function of theta.

What each estimator's expectation is, with J the expected return and tau the episodes that are adapted from:

- DiCE with the expected inner gradient: the gradient of ``J(theta + lr grad J(theta))``, exactly.
- Any estimator with sampled tau: the mean over tau of ``(d adapt / d theta)' grad J(adapt(theta, tau))``,
  where the derivative of ``adapt`` is that of its own inner loss. For none of them but E-MAML is this the
  gradient of the mean return after adapting: the sampling of tau depends on theta too, and goes uncredited.
- E-MAML: the gradient of ``E over tau ~ pi_theta of J(adapt(theta, tau))``, exactly.
- LVC and ProMP's first step: as LVC's Hessian, without what a step changes of later ones (test_surrogates).

Returns are divided by the number of steps throughout, as the losses' means over transitions are.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from metarl.agents.e_maml import log_density
from metarl.learning.adaptation import adapt
from metarl.learning.advantages import Batch
from metarl.learning.surrogates import clipped_ratio, dice, likelihood_ratio, low_variance_curvature
from metarl.types import Params
from support import tabular

LR = 1.5
HORIZON, EPISODES_EACH = 2, 2
WORLD = tabular.episodes(HORIZON)
SETS = WORLD.all_sets(EPISODES_EACH)


def by_ratio(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return likelihood_ratio(log_probs, batch.log_probs, batch)


def clipped(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return clipped_ratio(log_probs, batch.log_probs, batch, clip=0.3)


@dataclass(frozen=True)
class Estimator:
    """What an agent's meta-gradient is made of."""

    inner: tabular.Loss
    outer: tabular.Loss = tabular.policy_gradient
    credits_sampling: bool = False


ESTIMATORS = {
    "maml": Estimator(tabular.policy_gradient),
    "e-maml": Estimator(tabular.policy_gradient, credits_sampling=True),
    "dice": Estimator(dice),
    "lvc": Estimator(low_variance_curvature),
    "promp": Estimator(by_ratio, clipped),
}
NAMES = pytest.mark.parametrize("name", list(ESTIMATORS))


def adapted(leaf: torch.Tensor, inner: Batch, loss: tabular.Loss) -> torch.Tensor:
    """Take the inner step from stacked tables ``[M, S, A]``."""
    params: Params = {"logits": leaf}
    moved = adapt(tabular.policy, params, [inner], inner_lr=LR, loss=tabular.of_policy(loss))
    return moved["logits"]


def leaves(count: int) -> torch.Tensor:
    return tabular.THETA.expand(count, 2, 2).clone().requires_grad_()


def drawn(table: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the log density of all that was adapted from, ``[M]``, as E-MAML's own code has it."""
    log_probs = tabular.log_prob(tabular.policy({"logits": table}, batch.observations), batch.actions)
    return log_density(log_probs, batch)


def exact_given(inner: Batch, estimator: Estimator) -> torch.Tensor:
    """Return each sample's meta-gradient ``[M, S, A]`` with the exact return of its adapted policy."""
    leaf = leaves(len(inner.weights))
    worth = WORLD.expected_return(adapted(leaf, inner, estimator.inner)) / HORIZON
    if estimator.credits_sampling:
        worth = worth + worth.detach() * drawn(leaf, inner)
    return torch.autograd.grad(worth.sum(), leaf)[0]


def chances(logits: torch.Tensor) -> torch.Tensor:
    """Return how likely each set of episodes is."""
    return WORLD.probabilities(logits)[SETS].prod(dim=1)


def expectation(name: str) -> torch.Tensor:
    """Return an estimator's mean over all sets of episodes that may be adapted from."""
    samples = exact_given(WORLD.batch(SETS, tabular.THETA), ESTIMATORS[name])
    return torch.einsum("n,nsa->sa", chances(tabular.THETA), samples)


def whole_distribution() -> Batch:
    """Return all episodes as one task's, weighted as THETA makes them likely: the expected inner gradient."""
    every = torch.arange(len(WORLD.world)).unsqueeze(0)
    return WORLD.batch(every, tabular.THETA, WORLD.probabilities(tabular.THETA).unsqueeze(0))


def after_expected_step(logits: torch.Tensor) -> float:
    """Return ``J(theta + lr grad J(theta))``, per step."""
    slope = torch.autograd.functional.jacobian(WORLD.expected_return, logits)
    return float(WORLD.expected_return(logits + LR / HORIZON * slope)) / HORIZON


def after_sampled_step(logits: torch.Tensor) -> float:
    """Return the mean over episodes that ``logits`` draw of the return after adapting by them, per step."""
    table = logits.expand(len(SETS), 2, 2).clone().requires_grad_()
    moved = adapted(table, WORLD.batch(SETS, logits), tabular.policy_gradient).detach()
    return float(chances(logits) @ WORLD.expected_return(moved)) / HORIZON


def meta_gradient_of_expected_step(loss: tabular.Loss) -> torch.Tensor:
    (slope,) = exact_given(whole_distribution(), Estimator(loss))
    return slope


def test_dice_gives_the_exact_meta_gradient_of_the_expected_step() -> None:
    exact = tabular.central_differences(after_expected_step, tabular.THETA)
    assert tabular.relative_error(meta_gradient_of_expected_step(dice), exact) < 1e-9


@pytest.mark.parametrize("loss", [low_variance_curvature, by_ratio, tabular.policy_gradient])
def test_other_surrogates_do_not_quite(loss: tabular.Loss) -> None:
    exact = tabular.central_differences(after_expected_step, tabular.THETA)
    assert tabular.relative_error(meta_gradient_of_expected_step(loss), exact) > 0.03


def test_e_maml_gives_the_exact_meta_gradient_of_the_sampled_step() -> None:
    exact = tabular.central_differences(after_sampled_step, tabular.THETA)
    assert tabular.relative_error(expectation("e-maml"), exact) < 1e-9


@pytest.mark.parametrize("name", ["maml", "dice", "lvc", "promp"])
def test_without_that_credit_none_does(name: str) -> None:
    exact = tabular.central_differences(after_sampled_step, tabular.THETA)
    assert tabular.relative_error(expectation(name), exact) > 0.01


def test_e_maml_credits_the_episodes_of_a_second_step_through_the_first() -> None:
    world, count = tabular.episodes(2), 8
    first, second = (
        side.reshape(-1, 1) for side in torch.meshgrid(*[torch.arange(count)] * 2, indexing="ij")
    )

    def walk(table: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tables after one step and after two, and the two batches' log densities."""
        one = world.batch(first, logits)
        moved = adapted(table, one, tabular.policy_gradient)
        two = world.batch(second, moved.detach())
        return adapted(moved, two, tabular.policy_gradient), drawn(table, one), drawn(moved, two)

    def expected_return(logits: torch.Tensor) -> float:
        table = logits.expand(count**2, 2, 2).clone().requires_grad_()
        end, *densities = walk(table, logits)
        likely = world.world[first[:, 0]] * world.world[second[:, 0]] * sum(densities).exp()
        return float((likely * world.expected_return(end)).sum().detach())

    leaf = leaves(count**2)
    end, *densities = walk(leaf, tabular.THETA)
    worth = world.expected_return(end)
    (samples,) = torch.autograd.grad((worth + worth.detach() * sum(densities)).sum(), leaf)
    likely = world.world[first[:, 0]] * world.world[second[:, 0]] * sum(densities).detach().exp()
    exact = tabular.central_differences(expected_return, tabular.THETA)
    assert tabular.relative_error(torch.einsum("n,nsa->sa", likely, samples), exact) < 1e-9


def sampled(name: str, count: int, seed: int = 0) -> torch.Tensor:
    """Draw an estimator ``count`` times, episodes before and after adapting both sampled, ``[M, S, A]``."""
    estimator, generator = ESTIMATORS[name], torch.Generator().manual_seed(seed)
    tables = tabular.THETA.expand(count, 2, 2)
    inner = WORLD.batch(WORLD.draw(tables, EPISODES_EACH, generator), tabular.THETA)
    leaf = leaves(count)
    end = adapted(leaf, inner, estimator.inner)
    outer = WORLD.batch(WORLD.draw(end.detach(), EPISODES_EACH, generator), end.detach())
    loss = tabular.of_policy(estimator.outer)(None, {"logits": end}, outer)
    if estimator.credits_sampling:
        returns = (outer.weights * outer.advantages).unflatten(1, (-1, HORIZON))[..., 0].sum(dim=1)
        others = (returns.sum() - returns) / (count - 1)
        loss = loss - (returns - others) * drawn(leaf, inner)
    return -torch.autograd.grad(loss.sum(), leaf)[0]


SAMPLES = 40_000


def distances(samples: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return how many standard errors the samples' mean is from a value, for each of the parameters."""
    error = samples.std(dim=0) / len(samples) ** 0.5
    return (samples.mean(dim=0) - value).abs() / error


@NAMES
def test_estimator_averages_to_its_expectation(name: str) -> None:
    samples, wanted = sampled(name, SAMPLES), expectation(name)
    assert (
        distances(samples, wanted).max() < 3.5
    )  # of four numbers, two of them free: beyond by chance in 1000
    assert distances(samples, torch.zeros(2, 2)).min() > 10, "there are enough samples to tell"


@pytest.mark.parametrize(
    ("one", "other"), [("maml", "dice"), ("dice", "lvc"), ("maml", "e-maml"), ("lvc", "maml")]
)
def test_samples_tell_the_estimators_apart(one: str, other: str) -> None:
    assert distances(sampled(one, SAMPLES), expectation(other)).max() > 5


def test_promp_starts_as_lvc() -> None:
    torch.testing.assert_close(sampled("promp", 50), sampled("lvc", 50), rtol=1e-12, atol=1e-13)


def total_variance(samples: torch.Tensor) -> torch.Tensor:
    return samples.flatten(1).var(dim=0).sum()


def ratio_of_variances(one: str, other: str) -> list[float]:
    """Return the ratio in each of ten independent lots of samples."""
    return [
        float(total_variance(sampled(one, 4000, seed)) / total_variance(sampled(other, 4000, seed)))
        for seed in range(10)
    ]


@pytest.mark.parametrize(("one", "other"), [("lvc", "maml"), ("dice", "lvc"), ("e-maml", "dice")])
def test_variance_grows_from_maml_over_lvc_to_dice_and_most_by_credit(one: str, other: str) -> None:
    # ten lots: LVC 1.16 to 1.22 times MAML's, DiCE 1.40 to 1.44 times LVC's, E-MAML 2.1 to 2.4 times DiCE's
    assert min(ratio_of_variances(one, other)) > 1
