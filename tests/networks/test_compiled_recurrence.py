"""The recurrence in C is that of PyTorch's operations, which serve where there is no compiler."""

from __future__ import annotations

import pytest
import torch

from metarl.networks import compiled_recurrence
from metarl.networks.recurrent_scan import gated_layer

NO_COMPILER = pytest.mark.skipif(compiled_recurrence.load() is None, reason="there is no C compiler")
UNITS, INPUTS = 5, 4


def states_and_gradients(
    steps: int, batch: int, dtype: torch.dtype, *, gaps: bool, strided: bool = False
) -> list[torch.Tensor]:
    """Return the states and the gradients of their weighted sum by weight, bias, inputs and start."""
    generator = torch.Generator().manual_seed(steps)
    shapes = ((2 * UNITS, INPUTS), (2 * UNITS,), (steps, batch, INPUTS), (batch, UNITS))
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    weight, bias, inputs, start = leaves = [leaf.to(dtype).requires_grad_() for leaf in leaves]
    live = torch.rand(steps, batch, generator=generator) < (0.6 if gaps else 2.0)
    weights = torch.randn(steps, batch, UNITS, generator=generator, dtype=torch.float64).to(dtype)
    if strided:  # as of a sum over all states, whose gradient is one number in a view
        weights, start = weights[:1, :1, :1].expand_as(weights), start.t().contiguous().t()
    states = gated_layer(weight, bias, inputs, start, live)
    return [states.detach(), *torch.autograd.grad((weights * states).sum(), leaves)]


@NO_COMPILER
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 3), (2, 1), (17, 2), (40, 3)])
@pytest.mark.parametrize(("dtype", "exact"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_compiled_recurrence_is_that_of_the_operations(
    dtype: torch.dtype,
    exact: float,
    steps: int,
    batch: int,
    gaps: bool,
    strided: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = states_and_gradients(steps, batch, dtype, gaps=gaps, strided=strided)
    monkeypatch.setattr(compiled_recurrence, "load", lambda: None)
    expected = states_and_gradients(steps, batch, dtype, gaps=gaps, strided=strided)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs, rtol=exact, atol=exact)


@NO_COMPILER
def test_gradients_can_be_taken_twice_from_one_graph() -> None:
    weight = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    inputs, start = torch.randn(5, 2, 4, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    bias = torch.zeros(6, dtype=torch.float64)
    states = gated_layer(weight, bias, inputs, start, torch.ones(5, 2, dtype=torch.bool))
    first, second = (torch.autograd.grad(states.sum(), weight, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_other_precisions_take_the_operations() -> None:
    states = states_and_gradients(3, 2, torch.bfloat16, gaps=False)[0]
    exact = states_and_gradients(3, 2, torch.float64, gaps=False)[0]
    torch.testing.assert_close(states.double(), exact, rtol=0.0, atol=0.05)


def test_without_a_compiler_there_is_one_line_and_the_operations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    compiled_recurrence.load.cache_clear()
    try:
        found = states_and_gradients(9, 2, torch.float64, gaps=True)
    finally:
        compiled_recurrence.load.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "Linear memories learn by PyTorch's operations, which takes 5 % longer: "
        "CC=no-such-compiler names no program ('no-such-compiler' is not found)."
    ]
    assert all(bool(tensor.isfinite().all()) for tensor in found)
