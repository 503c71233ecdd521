"""The Gaussian and the categorical against torch.distributions, and what their samples look like."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, OneHotCategorical, kl_divergence

from metarl.functional import distributions
from metarl.functional.distributions import Categorical, Gaussian


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(seed: int) -> Gaussian:
    """Return means ``[3, 7, 2]`` with deviations ``[3, 1, 2]``, as a policy does."""
    return Gaussian(draw(seed, 3, 7, 2), draw(seed + 100, 3, 1, 2))


def reference(one: Gaussian) -> Independent:
    return Independent(Normal(one.mean, one.log_std.exp().expand_as(one.mean)), 1)


def test_log_prob_is_torchs() -> None:
    values = draw(9, 3, 7, 2)
    torch.testing.assert_close(
        distributions.log_prob(gaussian(0), values),
        reference(gaussian(0)).log_prob(values),
        rtol=1e-12,
        atol=0,
    )


def test_log_prob_adds_over_components() -> None:
    one = gaussian(0)
    parts = [
        distributions.log_prob(Gaussian(one.mean[..., i : i + 1], one.log_std[..., i : i + 1]), torch.ones(1))
        for i in range(2)
    ]
    torch.testing.assert_close(distributions.log_prob(one, torch.ones(2)), sum(parts))


def test_kl_divergence_is_torchs() -> None:
    torch.testing.assert_close(
        distributions.kl_divergence(gaussian(0), gaussian(1)),
        kl_divergence(reference(gaussian(0)), reference(gaussian(1))),
        rtol=1e-12,
        atol=0,
    )


def test_kl_divergence_from_itself_is_exactly_zero() -> None:
    assert not distributions.kl_divergence(gaussian(0), gaussian(0)).any()


def test_entropy_is_torchs() -> None:
    torch.testing.assert_close(
        distributions.entropy(gaussian(0)), reference(gaussian(0)).entropy()[:, :1], rtol=1e-12, atol=0
    )


def test_fisher_product_is_the_hessian_of_the_kl_divergence() -> None:
    one = Gaussian(draw(0, 2), draw(1, 2))

    def divergence(point: torch.Tensor) -> torch.Tensor:
        return distributions.kl_divergence(one, Gaussian(point[:2], point[2:]))

    hessian = torch.autograd.functional.hessian(divergence, torch.cat(one))
    change = draw(2, 4)
    product = distributions.fisher_product(one, Gaussian(change[:2], change[2:]))
    torch.testing.assert_close(torch.cat(product), hessian @ change, rtol=1e-10, atol=1e-10)


def test_samples_have_the_mean_and_deviation() -> None:
    one = Gaussian(torch.tensor([[1.0, -2.0]]).expand(100_000, 2), torch.tensor([[0.5, 3.0]]).log())
    samples = distributions.sample(one, torch.Generator().manual_seed(0))
    # Standard errors: of the means sigma / sqrt(n), of the deviations sigma / sqrt(2 n).
    for component, (mean, std) in enumerate([(1.0, 0.5), (-2.0, 3.0)]):
        error = std / 100_000**0.5
        assert samples[:, component].mean() == pytest.approx(mean, abs=5 * error)
        assert samples[:, component].std() == pytest.approx(std, abs=5 * error)
    assert torch.corrcoef(samples.T)[0, 1].abs() < 5 / 100_000**0.5


def test_samples_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (
        distributions.sample(gaussian(0), torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_gradient_flows_through_samples() -> None:
    mean = torch.zeros(3, requires_grad=True)
    one = Gaussian(mean, torch.zeros(3, requires_grad=True))
    assert not distributions.sample(one, torch.Generator().manual_seed(0)).requires_grad


def categorical(seed: int) -> Categorical:
    """Return logits ``[3, 7, 4]``, as a policy does."""
    return Categorical(2 * draw(seed, 3, 7, 4))


def one_hot(*indices: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(indices), 4).double()


def choices(one: Categorical) -> OneHotCategorical:
    return OneHotCategorical(logits=one.logits)


def test_log_probability_of_a_choice_is_torchs() -> None:
    values = one_hot(*[i % 4 for i in range(21)]).reshape(3, 7, 4)
    torch.testing.assert_close(
        distributions.log_prob(categorical(0), values),
        choices(categorical(0)).log_prob(values),
        rtol=1e-12,
        atol=0,
    )


def test_log_probability_by_hand() -> None:
    # logits log 1, log 2, log 5 are the probabilities 1/8, 2/8, 5/8
    one = Categorical(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log())
    probability = distributions.log_prob(one, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)).exp()
    assert float(probability) == pytest.approx(0.25, rel=1e-14)


def test_kl_divergence_and_entropy_of_choices_are_torchs() -> None:
    one, other = categorical(0), categorical(1)
    torch.testing.assert_close(
        distributions.kl_divergence(one, other),
        kl_divergence(choices(one), choices(other)),
        rtol=1e-10,
        atol=0,
    )
    torch.testing.assert_close(distributions.entropy(one), choices(one).entropy(), rtol=1e-12, atol=0)
    assert not distributions.kl_divergence(one, one).any()


def test_fisher_product_of_choices_is_the_hessian_of_the_kl_divergence() -> None:
    one = Categorical(draw(0, 4))
    hessian = torch.autograd.functional.hessian(
        lambda logits: distributions.kl_divergence(one, Categorical(logits)), one.logits
    )
    change = draw(2, 4)
    (product,) = distributions.fisher_product(one, Categorical(change))
    torch.testing.assert_close(product, hessian @ change, rtol=1e-10, atol=1e-10)


def test_choices_are_drawn_as_often_as_they_are_likely() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.7])
    one = Categorical(probabilities.log().expand(100_000, 3))
    drawn = distributions.sample(one, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sum(dim=-1), torch.ones(100_000))
    # standard error sqrt(p (1 - p) / n)
    for share, probability in zip(drawn.mean(dim=0).tolist(), probabilities.tolist(), strict=True):
        assert share == pytest.approx(probability, abs=5 * (probability * (1 - probability) / 1e5) ** 0.5)


def test_choices_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (
        distributions.sample(categorical(0), torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_most_likely_values_are_the_mean_and_the_best_choice() -> None:
    assert torch.equal(distributions.mode(gaussian(0)), gaussian(0).mean)
    assert torch.equal(
        distributions.mode(Categorical(torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]))),
        torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    )


def test_deviation_at_its_bound_has_a_slope_whatever_the_slope_of_clamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # as PyTorch 2.14 clamps; before it, clamp has a slope at its bounds
    monkeypatch.setattr(torch.Tensor, "clamp", torch.nn.functional.hardtanh)
    bounds = torch.tensor([0.1, 2.0]).log()
    values = torch.tensor([0.01, 0.1, 0.5, 2.0, 4.0]).log().requires_grad_()
    held = distributions.bounded_log_std(values, 0.1, 2.0)
    assert torch.equal(held, torch.cat([bounds[:1], values[1:4], bounds[1:]]))
    (slope,) = torch.autograd.grad(held.sum(), [values])
    assert slope.tolist() == [0, 1, 1, 1, 0]
