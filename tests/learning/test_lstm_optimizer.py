"""The LSTM as inner optimiser: by hand, against torch's own cell for one coordinate, and its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from metarl.functional.params import flatten, gradient, requires_grad, stack
from metarl.learning.adaptation import adapt
from metarl.learning.advantages import Batch, make_batch, normalize
from metarl.learning.lstm_optimizer import CELL, GATES, HIDDEN, LSTMOptimizer, log_scaled, remember
from metarl.types import Params
from support import tiny
from support.meta_gradients import slopes_along

OPTIMIZER = LSTMOptimizer(hidden_size=3)
NAMES = tuple(tiny.POLICY.shapes)


def weights(seed: int = 0, spread: float = 0.5) -> Params:
    """Draw weights in float64 that are far from the special ones of the start."""
    generator = torch.Generator().manual_seed(seed)
    drawn = OPTIMIZER.initial_weights(generator, forget=0.95, inner_lr=0.2, dtype=torch.float64)
    return {
        name: value + spread * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in drawn.items()
    }


def batches(steps: int, tasks: Sequence[int] = (0, 1, 2)) -> list[Batch]:
    rollouts = [tiny.take_tasks(tiny.random_rollout(seed), tasks) for seed in range(steps)]
    return [make_batch(one, normalize(one.rewards, one.mask, "std")) for one in rollouts]


def started(theta: Params, tasks: int = 3) -> Params:
    stacked = stack(theta, tasks)
    return {**stacked, **OPTIMIZER.blank_memory(stacked)}


def adapted(theta: Params, own: Params, data: list[Batch], *, first_order: bool = False) -> Params:
    start = started(theta, len(data[0].weights))
    return adapt(
        tiny.POLICY, start, data, inner_lr=OPTIMIZER.rule(own), first_order=first_order, adaptable=NAMES
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, (0.0, 1.0)),
        (-math.e, (0.1, -1.0)),
        (math.exp(-5), (-0.5, 1.0)),
        (0.0, (-1.0, 0.0)),
        (-0.5 * math.exp(-10), (-1.0, -0.5)),
    ],
)
def test_log_scaling_by_hand(value: float, expected: tuple[float, float]) -> None:
    found = log_scaled(torch.tensor(value, dtype=torch.float64))
    assert found.tolist() == pytest.approx(list(expected), abs=1e-12)


def test_log_scaling_has_finite_slopes_everywhere() -> None:
    values = torch.tensor([0.0, 1e-30, -1e-6, 1e-4, 1.0, -1e6], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_scaled(values).sum(), [values])
    assert slope.isfinite().all()
    torch.testing.assert_close(slope[4:], torch.tensor([0.1, -1e-7], dtype=torch.float64))


def one_coordinate(own: Params) -> nn.LSTMCell:
    """Return torch's cell with the weights of the first layer; its gates come in torch's order."""
    cell = nn.LSTMCell(4, OPTIMIZER.hidden_size, dtype=torch.float64)
    read = torch.cat([own["lstm.gradient"], own["lstm.loss"]])
    zeros = torch.zeros_like(own["lstm.bias"])

    def reorder(columns: torch.Tensor) -> torch.Tensor:
        take, keep, show, offered = columns.chunk(4, dim=-1)
        return torch.cat([take, keep, offered, show], dim=-1)

    cell.load_state_dict(
        {
            "weight_ih": reorder(read).T,
            "weight_hh": reorder(own["lstm.hidden"]).T,
            "bias_ih": reorder(own["lstm.bias"]),
            "bias_hh": zeros,
        }
    )
    return cell


def test_batched_steps_are_torchs_cell_for_each_coordinate_alone() -> None:
    own, generator = weights(), torch.Generator().manual_seed(1)
    theta = {"a": torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)}
    gradients = [torch.randn(2, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3)]
    losses = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    params = {**theta, **OPTIMIZER.blank_memory(theta)}
    for slope, loss in zip(gradients, losses, strict=True):
        params = {**params, **OPTIMIZER.rule(own)(params, {"a": slope}, loss)}
    cell, value = one_coordinate(own), theta["a"][1, 0, 1]
    state, before = None, torch.zeros(2, dtype=torch.float64)
    for slope, loss in zip(gradients, losses, strict=True):
        read = torch.cat([log_scaled(slope[1, 0, 1]), log_scaled(loss[1])])
        state = cell(read.unsqueeze(0), state)
        forget, take = torch.sigmoid(
            state[0][0] @ own["gates.hidden"]
            + value * own["gates.parameter"]
            + before * own["gates.previous"]
            + own["gates.bias"]
        )
        value, before = forget * value - take * slope[1, 0, 1], torch.stack([forget, take])
    torch.testing.assert_close(params["a"][1, 0, 1], value.detach(), rtol=1e-12, atol=1e-12)


def test_it_starts_as_a_gradient_step_that_forgets_almost_nothing() -> None:
    own = OPTIMIZER.initial_weights(
        torch.Generator().manual_seed(0), forget=0.999, inner_lr=0.1, dtype=torch.float64
    )
    theta, data = tiny.tiny_params(), batches(1)
    found = adapted(requires_grad(theta), own, data, first_order=True)
    assert (found[GATES][..., 0] > 0.998).all()
    assert ((found[GATES][..., 1] - 0.1).abs() < 0.005).all()
    plain = adapt(tiny.POLICY, requires_grad(stack(theta, 3)), data, inner_lr=0.1)
    for name in NAMES:
        torch.testing.assert_close(found[name], plain[name], rtol=0.01, atol=0.005)


def test_second_step_depends_on_what_the_first_one_left() -> None:
    theta, own = requires_grad(tiny.tiny_params()), weights()
    both = adapted(theta, own, batches(2))
    first = adapted(theta, own, batches(1))
    forgetful = {**first, **OPTIMIZER.blank_memory({name: first[name] for name in NAMES})}
    again = adapt(tiny.POLICY, forgetful, batches(2)[1:], inner_lr=OPTIMIZER.rule(own), adaptable=NAMES)
    kept = adapt(tiny.POLICY, first, batches(2)[1:], inner_lr=OPTIMIZER.rule(own), adaptable=NAMES)
    assert all(torch.equal(both[name], kept[name]) for name in both)
    assert not torch.equal(both["log_std"], again["log_std"])


def test_batched_adaptation_is_that_of_each_task_alone() -> None:
    theta, own, data = requires_grad(tiny.tiny_params()), weights(), batches(2)
    together = adapted(theta, own, data)
    for task in range(3):
        alone = adapted(theta, own, batches(2, [task]))
        for name in together:
            torch.testing.assert_close(together[name][task], alone[name][0], rtol=1e-11, atol=1e-12)


def test_gradient_of_one_step_is_that_of_central_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    own, theta = weights(), torch.randn(2, 4, generator=generator, dtype=torch.float64)
    slopes, losses = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((2, 4), (2,)))
    memory = OPTIMIZER.blank_memory({"a": theta})
    memory = remember(own, memory, theta, slopes, losses)  # so that it is not blank
    inputs = {**own, **memory, "theta": theta, "slopes": slopes, "losses": losses}

    def total(given: Params) -> torch.Tensor:
        kept = {name: given[name] for name in (HIDDEN, CELL, GATES)}
        after = remember(given, kept, given["theta"], given["slopes"], given["losses"])
        return sum((value.square().sum() for value in after.values()), torch.zeros(()))

    leaves = requires_grad(inputs)
    found = flatten(gradient(total(leaves), leaves))
    axes = torch.eye(len(found), dtype=torch.float64)
    expected = slopes_along(lambda given: float(total(given)), inputs, axes, h=1e-4)
    assert float((found - expected).norm() / expected.norm()) < 1e-7
