"""The ELBO against torch.distributions, closed forms and plain loops; its gradient by finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Independent, Normal, kl_divergence

from metarl.functional.distributions import Gaussian
from metarl.learning.elbo import (
    Picks,
    Prediction,
    all_steps,
    belief_divergences,
    elbo_loss,
    random_steps,
    sample_latents,
    unit_log_likelihood,
)

STEPS, TRIALS, LATENT = 6, 2, 3


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_beliefs() -> Gaussian:
    return Gaussian(normal(0, STEPS, TRIALS, LATENT), 0.3 * normal(1, STEPS, TRIALS, LATENT))


def theirs(belief: Gaussian, *index: int) -> Independent:
    return Independent(Normal(belief.mean[index], belief.log_std[index].exp()), 1)


def live_of(*lengths: int) -> torch.Tensor:
    return torch.arange(STEPS).unsqueeze(1) < torch.tensor(lengths)


def test_divergences_are_from_the_belief_before_and_first_from_the_prior() -> None:
    beliefs = drawn_beliefs()
    found = belief_divergences(beliefs)
    prior = Independent(Normal(torch.zeros(LATENT).double(), torch.ones(LATENT).double()), 1)
    for trial in range(TRIALS):
        before = prior
        for step in range(STEPS):
            belief = theirs(beliefs, step, trial)
            expected = kl_divergence(belief, before)
            torch.testing.assert_close(found[step, trial], expected)
            before = belief


def test_divergence_is_the_mean_of_log_ratios() -> None:
    beliefs = drawn_beliefs()
    draws = sample_latents(
        Gaussian(*(part[3:4].expand(200_000, TRIALS, LATENT) for part in beliefs)),
        torch.Generator().manual_seed(0),
    )
    for trial in range(TRIALS):
        ratios = theirs(beliefs, 3, trial).log_prob(draws[:, trial]) - theirs(beliefs, 2, trial).log_prob(
            draws[:, trial]
        )
        error = float(ratios.std()) / math.sqrt(len(ratios))
        assert float(belief_divergences(beliefs)[3, trial]) == pytest.approx(
            float(ratios.mean()), abs=4 * error
        )


def test_likelihood_is_torchs() -> None:
    predicted, seen = normal(0, 4, 5, 3), normal(1, 5, 3)
    expected = Normal(predicted, 1.0).log_prob(seen).sum(dim=-1)
    torch.testing.assert_close(unit_log_likelihood(predicted, seen), expected)


def test_latents_have_the_beliefs_moments_and_let_gradients_through() -> None:
    mean, log_std = normal(0, LATENT).requires_grad_(), normal(1, LATENT).requires_grad_()
    draws = sample_latents(
        Gaussian(mean.expand(100_000, LATENT), log_std.expand(100_000, LATENT)),
        torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(draws.mean(dim=0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(draws.std(dim=0).log(), log_std, rtol=0, atol=0.02)
    of_mean, of_log_std = torch.autograd.grad(draws[0].sum(), (mean, log_std))
    torch.testing.assert_close(of_mean, torch.ones(LATENT).double())
    torch.testing.assert_close(of_log_std, (draws[0] - mean).detach())  # d(std noise)/d(log std)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_random_steps_are_live_and_unbiased(count: int) -> None:
    live, generator = live_of(6, 4), torch.Generator().manual_seed(0)
    values = torch.where(live, normal(0, STEPS, TRIALS), torch.nan)
    sums = []
    for _ in range(2000):
        picks = random_steps(live, count, generator)
        assert picks.steps.shape == (count, TRIALS)
        sums.append((picks.weights * picks.of(values)).sum(dim=0))
    found = torch.stack(sums)
    error = found.std(dim=0) / math.sqrt(len(found))
    assert bool(((found.mean(dim=0) - values.nansum(dim=0)).abs() <= 4 * error + 1e-6).all())


@pytest.mark.parametrize("count", [0, STEPS, 100])
def test_all_steps_are_picked_where_no_fewer_are_asked_for(count: int) -> None:
    live = live_of(6, 4)
    picks, expected = random_steps(live, count, torch.Generator()), all_steps(live)
    assert torch.equal(picks.steps, expected.steps)
    assert torch.equal(picks.weights, live.float())


def linear_decoder(weight: torch.Tensor) -> Prediction:
    """Return a decoder that predicts ``x + m . weight`` of a step x, with targets."""

    def decode(steps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        return steps.unsqueeze(0) + (latents @ weight).unsqueeze(1).unsqueeze(-1)

    return Prediction("reward", decode, normal(4, STEPS, TRIALS, 1), normal(5, STEPS, TRIALS, 1), 0.7)


def test_bound_is_that_of_a_loop_over_times_and_steps() -> None:
    beliefs, live, weight = drawn_beliefs(), live_of(6, 4), normal(2, LATENT)
    prediction, latents = linear_decoder(weight), normal(3, STEPS, TRIALS, LATENT)
    found = elbo_loss(
        beliefs, [prediction], times=all_steps(live), steps=all_steps(live), latents=latents, kl_weight=0.3
    )
    bounds, errors = [], []
    for trial, length in enumerate((6, 4)):
        for time in range(length):
            bound = -0.3 * float(belief_divergences(beliefs)[time, trial])
            for step in range(length):
                predicted = prediction.inputs[step, trial, 0] + latents[time, trial] @ weight
                seen = prediction.targets[step, trial, 0]
                bound += 0.7 * float(Normal(predicted, 1.0).log_prob(seen))
                errors.append(float((predicted - seen) ** 2))
            bounds.append(bound)
    assert float(found.loss) == pytest.approx(-sum(bounds) / len(bounds))
    assert found.metrics["elbo"] == pytest.approx(sum(bounds) / len(bounds))
    assert found.metrics["reward_error"] == pytest.approx(sum(errors) / len(errors))


def test_bound_averages_to_the_closed_form_of_a_linear_decoder() -> None:
    beliefs, live, weight = drawn_beliefs(), live_of(6, 6), normal(2, LATENT)
    prediction, generator = linear_decoder(weight), torch.Generator().manual_seed(0)
    times = all_steps(live)
    found = torch.stack(
        [
            elbo_loss(
                beliefs,
                [prediction],
                times=times,
                steps=random_steps(live, 4, generator),
                latents=sample_latents(beliefs, generator),
                kl_weight=1.0,
            ).loss
            for _ in range(1000)
        ]
    )
    # E log N(y; x + w'm, 1) = log N(y; x + w'mu, 1) - 1/2 sum_k w_k^2 sigma_k^2
    at_mean = prediction.inputs.unsqueeze(0) + (beliefs.mean @ weight).unsqueeze(1).unsqueeze(-1)
    spread = 0.5 * (weight.square() * (2 * beliefs.log_std).exp()).sum(dim=-1).unsqueeze(1)
    likelihood = (unit_log_likelihood(at_mean, prediction.targets) - spread).sum(dim=1)
    expected = (belief_divergences(beliefs) - 0.7 * likelihood).mean()
    error = float(found.std()) / math.sqrt(len(found))
    assert float(found.mean()) == pytest.approx(float(expected), abs=4 * error)


def test_gradient_is_that_of_finite_differences() -> None:
    live = live_of(6, 4)

    def loss(mean: torch.Tensor, log_std: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        beliefs, generator = Gaussian(mean, log_std), torch.Generator().manual_seed(0)
        times, steps = random_steps(live, 3, generator), random_steps(live, 4, generator)
        latents = sample_latents(Gaussian(*(times.of(part) for part in beliefs)), generator)
        return elbo_loss(
            beliefs, [linear_decoder(weight)], times=times, steps=steps, latents=latents, kl_weight=0.3
        ).loss

    inputs = (*drawn_beliefs(), normal(2, LATENT))
    assert gradcheck(loss, tuple(part.requires_grad_() for part in inputs))


def test_picks_gather_each_trial_by_itself() -> None:
    values = torch.arange(12).view(STEPS, TRIALS)
    picks = Picks(torch.tensor([[5, 0], [1, 2]]), torch.ones(2, 2))
    assert picks.of(values).tolist() == [[10, 1], [2, 5]]
    assert torch.equal(picks.of(values.unsqueeze(-1)), picks.of(values).unsqueeze(-1))
