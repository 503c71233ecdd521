"""Layers of tanh units: values are PyTorch's, gradients those of finite differences."""

from __future__ import annotations

import pytest
import torch

from metarl.networks.tanh_layer import fast_tanh, separate_layers, tanh_layer


def test_tanh_by_the_sigmoid_is_tanh() -> None:
    values = torch.linspace(-12, 12, 1001)
    torch.testing.assert_close(fast_tanh(values), torch.tanh(values), rtol=0.0, atol=3e-7)
    exact = values.double().requires_grad_()
    assert torch.autograd.gradcheck(fast_tanh, [exact])
    torch.testing.assert_close(fast_tanh(exact), torch.tanh(exact), rtol=0.0, atol=1e-15)


@pytest.mark.parametrize("sizes", [(4,), (4, 3), (2, 1, 3)])
def test_layer_of_several_inputs_is_that_of_their_concatenation(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, sum(sizes), generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    inputs = [torch.randn(6, size, generator=generator, dtype=torch.float64) for size in sizes]
    expected = torch.tanh(torch.nn.functional.linear(torch.cat(inputs, dim=1), weight, bias))
    torch.testing.assert_close(tanh_layer(weight, bias, *inputs), expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_the_layer_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 5), (3,), (4, 2), (4, 3))
    given = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]
    assert torch.autograd.gradcheck(tanh_layer, given)
    # inputs that are data, as observations are, need no gradient
    assert torch.autograd.gradcheck(tanh_layer, [*given[:2], given[2].detach(), given[3]])


def test_separate_layers_read_their_own_columns() -> None:
    generator = torch.Generator().manual_seed(2)
    shapes = ((5, 7), (2, 3), (2,), (1, 4), (1,))
    given = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]
    hidden, first, first_bias, second, second_bias = given
    expected = hidden[:, :3] @ first.t() + first_bias, hidden[:, 3:] @ second.t() + second_bias
    for found, wanted in zip(separate_layers(*given), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(separate_layers, given)
    # an output that nothing reads has no part in the gradients
    (slope,) = torch.autograd.grad(separate_layers(*given)[0].sum(), hidden)
    assert not slope[:, 3:].any()
