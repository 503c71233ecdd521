"""Recurrent cells: a sequence is its steps, whole or in chunks, and gradients are those of the loop."""

from __future__ import annotations

import pytest
import torch

from metarl.errors import MetarlError
from metarl.networks import compiled_recurrence
from metarl.networks.recurrent import Cell, LinearCell, make_cell
from metarl.networks.recurrent_scan import accumulate_, gated_layer
from metarl.types import Params

STEPS, BATCH, INPUTS, SIZE = 7, 3, 4, 5


@pytest.fixture(params=["compiled", "operations"], autouse=True)
def _recurrence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the compiled recurrence and with PyTorch's operations, as without a compiler."""
    if request.param == "operations":
        monkeypatch.setattr(compiled_recurrence, "load", lambda: None)
    elif compiled_recurrence.load() is None:
        pytest.skip("there is no C compiler")


def draw(name: str) -> tuple[Cell, Params, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a cell, its parameters, inputs, a first memory and a live mask with gaps, in float64."""
    cell, generator = make_cell(name, INPUTS, SIZE), torch.Generator().manual_seed(0)
    params = cell.initial_params(generator, torch.float64)
    inputs = torch.randn(STEPS, BATCH, INPUTS, generator=generator, dtype=torch.float64)
    memory = torch.randn(BATCH, SIZE, generator=generator, dtype=torch.float64)
    live = torch.rand(STEPS, BATCH, generator=generator) < 0.7
    return cell, params, inputs, memory, live


def loop(
    cell: Cell, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
) -> torch.Tensor:
    states = []
    for step, alive in zip(inputs, live, strict=True):
        memory = torch.where(alive.unsqueeze(1), cell.step(params, step, memory), memory)
        states.append(memory)
    return torch.stack(states)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", ["gru", "linear"])
def test_sequence_is_its_steps(name: str, gaps: bool) -> None:
    cell, params, inputs, memory, live = draw(name)
    mask = live if gaps else torch.ones_like(live)
    found = cell.sequence(params, inputs, memory, mask)
    torch.testing.assert_close(found, loop(cell, params, inputs, memory, mask), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["gru", "linear"])
def test_dead_step_leaves_memory_alone(name: str) -> None:
    cell, params, inputs, memory, live = draw(name)
    live[3] = False
    states = cell.sequence(params, inputs, memory, live)
    assert torch.equal(states[3], states[2])
    garbage = inputs.clone()
    garbage[3] = 1e9
    assert torch.equal(cell.sequence(params, garbage, memory, live), states)


@pytest.mark.parametrize("name", ["gru", "linear"])
def test_chunks_with_stored_memory_are_the_whole(name: str) -> None:
    cell, params, inputs, memory, live = draw(name)
    whole = cell.sequence(params, inputs, memory, live)
    first = cell.sequence(params, inputs[:3], memory, live[:3])
    second = cell.sequence(params, inputs[3:], first[-1], live[3:])
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)


def test_gru_is_pytorchs() -> None:
    cell, params, inputs, memory, live = draw("gru")
    with torch.random.fork_rng():
        theirs = torch.nn.GRU(INPUTS, SIZE, dtype=torch.float64)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    theirs.load_state_dict(dict(zip(names, params.values(), strict=True)))
    expected, _ = theirs(inputs, memory.unsqueeze(0))
    found = cell.sequence(params, inputs, memory, torch.ones_like(live))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["gru", "linear"])
def test_gradients_are_those_of_the_loop(name: str) -> None:
    cell, params, inputs, memory, live = draw(name)
    leaves = [value.requires_grad_() for value in (*params.values(), inputs, memory)]
    weights = torch.randn(STEPS, BATCH, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = [
        torch.autograd.grad((weights * states(params, inputs, memory, live)).sum(), leaves)
        for states in (cell.sequence, lambda *given: loop(cell, *given))
    ]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 6, 9])
def test_gradient_of_the_gated_layer_is_that_of_finite_differences(steps: int, gaps: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, inputs, start = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((6, 4), (6,), (steps, 2, 4), (2, 3))
    )
    live = torch.rand(steps, 2, generator=generator) < (0.6 if gaps else 2.0)
    assert torch.autograd.gradcheck(lambda *given: gated_layer(*given, live), [weight, bias, inputs, start])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 9, 17, 40])
def test_blocks_of_a_recurrence_are_its_steps(steps: int, reverse: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    factors, values = (torch.randn(2, steps, 3, generator=generator, dtype=torch.float64)).unbind()
    start = torch.randn(3, generator=generator, dtype=torch.float64)
    expected, state = torch.empty_like(values), start
    for step in reversed(range(steps)) if reverse else range(steps):
        state = factors[step] * state + values[step]
        expected[step] = state
    found = accumulate_(factors.clone(), values.clone(), start, reverse=reverse)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_long_memories_of_a_long_sequence_are_exact_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    factors, values = 1 - 1e-3 * torch.rand(5000, 4, generator=generator), 1e-3 * torch.ones(5000, 4)
    exact = accumulate_(factors.double(), values.double(), torch.zeros(4, dtype=torch.float64))
    found = accumulate_(factors.clone(), values.clone(), torch.zeros(4))
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0.0)


def test_linear_cell_by_hand() -> None:
    cell = LinearCell(1, 1)
    params = {
        "cell.weight": torch.tensor([[0.0], [1.0]]),
        "cell.bias": torch.tensor([0.0, 0.0]),
    }
    states = cell.sequence(
        params, torch.tensor([[[1.0]], [[-2.0]]]), torch.tensor([[0.4]]), torch.ones(2, 1) > 0
    )
    first = 0.5 * 0.4 + 0.5 * torch.tanh(torch.tensor(1.0))  # the gate is 1/2
    second = 0.5 * first + 0.5 * torch.tanh(torch.tensor(-2.0))
    torch.testing.assert_close(states.flatten(), torch.stack([first, second]))


def test_fresh_linear_memories_last_for_1_to_100_steps() -> None:
    params = LinearCell(8, 4000).initial_params(torch.Generator().manual_seed(0))
    steps = 1 / torch.sigmoid(params["cell.bias"][:4000])
    assert 1 <= steps.min() < 1.1
    assert 90 < steps.max() <= 100.1
    assert float(steps.median()) == pytest.approx(10, rel=0.1)  # even on a log scale


def test_unknown_cell_is_refused_with_the_nearest() -> None:
    with pytest.raises(MetarlError, match="no recurrent cell called 'lineer'; did you mean 'linear'"):
        make_cell("lineer", 1, 1)
