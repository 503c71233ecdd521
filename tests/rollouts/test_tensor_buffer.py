"""Episodes written down as tensors are those that arrays give, from the same scripted world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from metarl.errors import NonFiniteError
from metarl.rollouts.collect import collect
from metarl.success_bonus import BonusVectorEnv, TensorBonusVectorEnv
from metarl.types import Rollout, Task
from metarl.vector_env import TensorVectorEnv
from support import tiny
from support.tensor_climb import SCRIPT, TASKS, TensorClimbEnv


def run(env: tiny.ClimbEnv, tasks: list[Task] = TASKS, horizon: int = 4) -> Rollout:
    actor = tiny.ScriptedActor(SCRIPT)
    return collect(env, tasks, actor, episodes=2, horizon=horizon, rng=np.random.default_rng(0))


def test_an_environment_speaks_tensors_only_if_it_says_so() -> None:
    assert isinstance(TensorClimbEnv(4, horizon=4), TensorVectorEnv)
    assert not isinstance(tiny.ClimbEnv(4, horizon=4), TensorVectorEnv)


@pytest.mark.parametrize("says_success", [True, False])
@pytest.mark.parametrize("horizon", [3, 4])
def test_rollout_is_that_of_arrays(horizon: int, says_success: bool) -> None:
    arrays, tensors = (
        run(kind(5, horizon=4, says_success=says_success), horizon=horizon)
        for kind in (tiny.ClimbEnv, TensorClimbEnv)
    )
    expected, found = arrays.tensors(), tensors.tensors()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("kind", [tiny.ClimbEnv, TensorClimbEnv])
def test_what_is_chosen_for_an_ended_episode_counts_for_nothing(kind: type[tiny.ClimbEnv]) -> None:
    script = [[[1.0, 1.0, 1.0, math.nan], [3.0, *[math.nan] * 3]], SCRIPT[1]]
    found = collect(
        kind(5, horizon=4),
        TASKS,
        tiny.ScriptedActor(script),
        episodes=2,
        horizon=4,
        rng=np.random.default_rng(0),
    )
    expected = run(kind(5, horizon=4)).tensors()
    assert all(torch.equal(value, expected[name]) for name, value in found.tensors().items())


@pytest.mark.parametrize("kind", [BonusVectorEnv, TensorBonusVectorEnv])
def test_no_reward_follows_an_episode_in_a_slot_that_goes_on_saying_success(
    kind: type[BonusVectorEnv],
) -> None:
    env = TensorClimbEnv(5, horizon=4)
    plain, paid = run(env), run(kind(env, 10.0))  # type: ignore[arg-type]  # wrapped, it takes the same calls
    assert not plain.mask.all()
    assert not paid.rewards[~paid.mask].any()
    solved = torch.tensor([[[0, 1, 0, 0], [0] * 4], [[0, 0, 0, 1], [0] * 4]])
    assert torch.equal(paid.rewards - plain.rewards, 10.0 * solved)


@pytest.mark.parametrize(("quantity", "step"), [("observation", 2), ("reward", 2)])
def test_number_that_is_not_finite_is_named_by_task_and_step(quantity: str, step: int) -> None:
    env = TensorClimbEnv(4, horizon=4)
    env.poison = (quantity, 1, 2)
    with pytest.raises(NonFiniteError, match=rf"The {quantity} of task .* at step {step} is not finite"):
        run(env)


def test_last_observation_that_is_not_finite_is_noticed() -> None:
    env = TensorClimbEnv(4, horizon=4)
    env.poison = ("observation", 3, 2)
    with pytest.raises(NonFiniteError, match=r"observation .* at step 4 "):
        run(env)
