"""Running moments are those of all numbers at once."""

from __future__ import annotations

import pytest
import torch

from metarl.learning.running_scale import LEAST_DEVIATION, load_moments, no_moments, save_moments, with_batch


def test_moments_of_batches_are_those_of_all_numbers_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [5 + 3 * torch.randn(size, 2, generator=generator) for size in (7, 1, 30)]
    moments = no_moments(2)
    for batch in batches:
        moments = with_batch(moments, batch)
    variance, mean = torch.var_mean(torch.cat(batches).double(), dim=0, correction=0)
    assert float(moments.seen) == 38
    torch.testing.assert_close(moments.mean, mean)
    torch.testing.assert_close(moments.variance, variance)


def test_nothing_seen_scales_nothing() -> None:
    values = torch.tensor([[3.0, -4.0]])
    assert torch.equal(no_moments(2).scale(values), values)
    assert float(with_batch(no_moments(2), values[:0]).seen) == 0


def test_constant_numbers_are_not_blown_up() -> None:
    moments = with_batch(no_moments(), torch.full((9,), 2.0))
    assert float(moments.deviation) == torch.tensor(LEAST_DEVIATION)
    assert float(moments.scale(torch.tensor(2.0))) == 0.0
    assert float(moments.scale(torch.tensor(1e9))) == 10.0


def test_names_lead_back_to_the_moments() -> None:
    first = with_batch(no_moments(3), torch.arange(12.0).view(4, 3))
    second = with_batch(no_moments(), torch.arange(5.0))
    saved = save_moments({"x": first, "y": second}) | {"other": torch.ones(1)}
    for found, moments in zip(load_moments(saved, ("y", "x")), (second, first), strict=True):
        assert all(torch.equal(*pair) for pair in zip(found, moments, strict=True))


def test_a_least_deviation_keeps_what_is_new_small() -> None:
    seen = with_batch(no_moments(2), torch.tensor([[0.0, 0.0], [0.2, 2.0]]))  # deviations 0.1 and 1
    scale = seen.scale.at_least(0.5)
    assert scale(torch.tensor([1.1, 3.0])).tolist() == pytest.approx([2.0, 2.0])  # 10 before
