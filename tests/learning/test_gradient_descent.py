"""Outer steps by gradients, against torch's own optimisers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from metarl.errors import Stopped
from metarl.learning.gradient_descent import (
    DescentConfig,
    LearningRateSchedule,
    LossAndMetrics,
    OuterOptimizer,
    adam_step,
    descend_objective,
    start_descent,
)
from metarl.types import Params

Optimizer = Callable[[list[torch.Tensor], float], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizer] = {
    "adam": lambda leaves, lr: torch.optim.Adam(leaves, lr=lr),
    "adamw": lambda leaves, lr: torch.optim.AdamW(leaves, lr=lr),
    "rmsprop": lambda leaves, lr: torch.optim.RMSprop(leaves, lr=lr),
    "sgd": lambda leaves, lr: torch.optim.SGD(leaves, lr=lr),
}
START: Params = {
    "matrix": torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64),
    "unused": torch.tensor([4.0], dtype=torch.float64),
    "vector": torch.tensor([0.1, -0.3], dtype=torch.float64),
}


def loss(params: Params) -> torch.Tensor:
    return (params["matrix"] @ params["vector"]).square().sum() + params["matrix"].sin().sum()


def objective(params: Params) -> LossAndMetrics:
    return LossAndMetrics(loss(params), {"size": float(params["vector"].detach().norm())})


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_steps_are_those_of_torch(name: OuterOptimizer) -> None:
    config = DescentConfig(outer_lr=0.03, outer_optimizer=name)
    leaves = {key: value.clone().requires_grad_() for key, value in START.items()}
    optimizer = OPTIMIZERS[name](list(leaves.values()), 0.03)
    params, memory = START, start_descent(START, config)
    for steps in (1, 3, 2):  # what is remembered goes on from call to call
        for _ in range(steps):
            optimizer.zero_grad()
            loss(leaves).backward()
            for (
                leaf
            ) in leaves.values():  # AdamW shrinks what has a gradient of zero, and leaves what has none
                leaf.grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            optimizer.step()
        params, memory, _ = descend_objective(params, memory, [objective], config, steps=steps)
        for key, value in leaves.items():
            torch.testing.assert_close(params[key], value.detach(), rtol=1e-12, atol=1e-13)


def test_single_precision_stays_single() -> None:
    start = {name: value.float() for name, value in START.items()}
    config = DescentConfig()
    params, memory, _ = descend_objective(start, start_descent(start, config), [objective], config)
    assert {value.dtype for value in params.values()} == {torch.float32}
    assert {value.dtype for name, value in memory.items() if name != "adam.count"} == {torch.float32}


def test_metrics_tell_what_was_before_the_first_step() -> None:
    config = DescentConfig(outer_lr=0.5, outer_optimizer="sgd")
    _, _, metrics = descend_objective(START, {}, [objective], config, steps=4)
    assert metrics["surrogate_before"] == pytest.approx(float(loss(START)))
    assert metrics["size"] == pytest.approx(0.1**0.5)
    leaves = {key: value.clone().requires_grad_() for key, value in START.items()}
    slopes = torch.autograd.grad(loss(leaves), list(leaves.values()), allow_unused=True)
    norm = sum(float(slope.square().sum()) for slope in slopes if slope is not None) ** 0.5
    assert metrics["gradient_norm"] == pytest.approx(norm)


def test_steps_change_none_of_their_arguments() -> None:
    config = DescentConfig()
    start = {name: value.clone() for name, value in START.items()}
    memory = start_descent(start, config)
    copies = {name: value.clone() for name, value in memory.items()}
    descend_objective(start, memory, [objective], config, steps=3)
    assert all(torch.equal(start[name], value) for name, value in START.items())
    assert all(torch.equal(memory[name], value) for name, value in copies.items())
    assert not any(value.requires_grad for value in start.values())


def test_first_adam_step_is_as_long_whatever_the_gradient() -> None:
    # m / (1 - b1) = g and v / (1 - b2) = g^2: the step is lr g / |g|
    start = {"x": torch.tensor([1.0, 1.0], dtype=torch.float64)}
    slopes = {"x": torch.tensor([1e-3, -1e3], dtype=torch.float64)}
    moved, memory = adam_step(start, start_descent(start, DescentConfig()), slopes, 0.1)
    torch.testing.assert_close(moved["x"], torch.tensor([0.9, 1.1], dtype=torch.float64), rtol=1e-5, atol=0.0)
    assert float(memory["adam.count"]) == 1.0


def test_named_optimizers_remember_apart() -> None:
    config = DescentConfig()
    actor, critic = (start_descent(START, config, name=name) for name in ("actor", "critic"))
    assert not actor.keys() & critic.keys()
    together = descend_objective(START, actor | critic, [objective], config, name="actor")
    alone = descend_objective(START, actor, [objective], config, name="actor")
    assert all(torch.equal(together.params[key], value) for key, value in alone.params.items())
    assert all(torch.equal(together.memory[key], value) for key, value in critic.items())
    assert float(together.memory["actor.count"]) == 1.0


def test_long_gradients_are_scaled_down() -> None:
    config = DescentConfig(outer_lr=1.0, outer_optimizer="sgd", max_gradient_norm=0.01)
    params, _, metrics = descend_objective(START, {}, [objective], config)
    assert metrics["gradient_norm"] > 0.01
    length = sum(float((params[key] - value).square().sum()) for key, value in START.items()) ** 0.5
    assert length == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("schedule", "share"),
    [("linear", [1, 0.5, 0, 0]), ("cosine", [1, 0.5, 0, 0]), ("cooldown", [1, 1, 0, 0])],
)
def test_schedules_fall_by_updates(schedule: LearningRateSchedule, share: list[float]) -> None:
    config = DescentConfig(outer_lr=0.1, outer_optimizer="sgd", lr_schedule=schedule, lr_iterations=2)
    constant = DescentConfig(outer_lr=0.1, outer_optimizer="sgd")
    memory = start_descent(START, config)
    full = descend_objective(START, {}, [objective], constant).params
    for part in share:
        params, memory, _ = descend_objective(START, memory, [objective], config)
        for key, value in START.items():
            torch.testing.assert_close(params[key] - value, part * (full[key] - value))


def test_a_cooldown_is_linear_in_the_last_fifth() -> None:
    config = DescentConfig(outer_lr=0.1, lr_schedule="cooldown", lr_iterations=10)
    assert [config.learning_rate(updates) for updates in (0, 8, 9, 10)] == pytest.approx([0.1, 0.1, 0.05, 0])


def test_stops_between_steps() -> None:
    answers = iter([False, True])
    with pytest.raises(Stopped):
        descend_objective(
            START,
            {},
            [objective],
            DescentConfig(outer_optimizer="sgd"),
            steps=3,
            should_stop=lambda: next(answers),
        )
