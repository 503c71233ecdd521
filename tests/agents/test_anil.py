"""ANIL and BOIL: their outer gradients, and that what must not adapt does not, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from metarl.agents.anil import ANIL, BOIL, ANILConfig, BOILConfig, head
from metarl.agents.maml_trpo import MAMLTRPO
from metarl.errors import MetarlError
from metarl.learning.advantages import Batch
from metarl.types import Params
from support import tiny
from support.learned_agents import moved_by_adapting
from support.meta_gradients import error_of_outer_gradient, inner_gradient, rollouts_of

HEAD = {"layer_2.weight", "layer_2.bias", "log_std"}
BODY = {"layer_0.weight", "layer_0.bias", "layer_1.weight", "layer_1.bias"}
BOTH = pytest.mark.parametrize(("kind", "adapts"), [("anil", HEAD), ("boil", BODY)])


def tiny_agent(kind: str, steps: int = 1) -> MAMLTRPO:
    settings = {"inner_lr": 0.4, "curvature_stride": 1}
    if kind == "anil":
        return ANIL(replace(ANILConfig(**settings), adaptation_steps=steps), tiny.POLICY, tiny.tiny_params())
    return BOIL(replace(BOILConfig(**settings), adaptation_steps=steps), tiny.POLICY, tiny.tiny_params())


@BOTH
@pytest.mark.parametrize("steps", [1, 2])
def test_outer_gradient_is_that_of_central_differences_of_the_loop(
    kind: str, adapts: set[str], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_hand(theta: Params, own: Sequence[Batch]) -> Params:
        for batch in own[:-1]:
            slopes, _ = inner_gradient(theta, batch)
            theta = {
                name: value - 0.4 * slopes[name] if name in adapts else value for name, value in theta.items()
            }
        return theta

    error = error_of_outer_gradient(tiny_agent(kind, steps), rollouts_of(steps), by_hand, monkeypatch)
    assert error < 1e-6


@BOTH
def test_what_must_not_adapt_does_not_change_by_a_bit(kind: str, adapts: set[str]) -> None:
    assert moved_by_adapting(tiny_agent(kind), tiny.random_rollout(0)) == adapts


@BOTH
def test_every_parameter_is_meta_learned(kind: str, adapts: set[str]) -> None:
    agent = tiny_agent(kind)
    before = agent.params
    assert agent.update(rollouts_of(episodes=8))["step_accepted"] == 1.0
    assert all((agent.params[name] != before[name]).any() for name in HEAD | BODY)


def test_head_and_body_are_the_whole_policy() -> None:
    names = set(tiny.POLICY.shapes)
    assert set(head(names)) == HEAD
    assert names - HEAD == BODY


def test_head_of_many_layers_is_the_last_one() -> None:
    names = [f"layer_{layer}.bias" for layer in range(12)] + ["log_std"]
    assert head(names) == ["layer_11.bias", "log_std"]


def test_boil_without_a_body_is_refused() -> None:
    with pytest.raises(MetarlError, match="needs a hidden layer"):
        BOILConfig(hidden_sizes=())
