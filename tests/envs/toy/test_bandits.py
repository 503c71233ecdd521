"""Bernoulli bandits: the suite contract, and what arms pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from metarl.config import SamplingConfig, construct
from metarl.envs.toy.bandits import BanditsConfig, BanditTasks, BanditVectorEnv
from metarl.errors import MetarlError
from metarl.plugins import registry
from metarl.rollouts.scripted import play
from metarl.tasks import TaskDistribution
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv
from support import suite_contract
from support.agents import GRADIENT_BASED

ONLY_REWARDS_TELL = {"actions_have_an_effect", "reset_is_legal_before_set_tasks"}
"""They look at observations, which are constant here, and for rewards that are never 0: see below."""


@pytest.fixture(scope="module")
def suite() -> BanditTasks:
    return BanditsConfig(horizon=12).build()


@pytest.fixture(scope="module")
def env(suite: BanditTasks) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


def claims(listed: tuple[Callable[..., None], ...]) -> list[Callable[..., None]]:
    return [claim for claim in listed if claim.__name__ not in ONLY_REWARDS_TELL]


@pytest.mark.parametrize("claim", claims(suite_contract.SUITE_CLAIMS), ids=lambda claim: claim.__name__)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: BanditTasks) -> None:
    claim(suite)


@pytest.mark.parametrize("claim", claims(suite_contract.ENV_CLAIMS), ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: BanditTasks, env: TaskVectorEnv
) -> None:
    claim(suite, env)


def bandit(*probabilities: float) -> Task:
    return Task("bandits", probabilities, ",".join(map(str, probabilities)))


def pulling(*tasks: Task, arms: int = 2, pulls: int = 10) -> BanditVectorEnv:
    env = BanditTasks(arms=arms, horizon=pulls).make_vector_env(len(tasks))
    env.set_tasks(tasks)
    env.reset(seed=0)
    return env


def test_actions_change_what_is_earned_in_every_slot(suite: BanditTasks, env: TaskVectorEnv) -> None:
    drawn = [suite_contract.draw_actions(suite, suite.horizon, seed=seed) for seed in (0, 1)]
    one, other = (play(env, suite_contract.spread(suite), actions).rewards for actions in drawn)
    assert (one != other).any(axis=0).all()


def test_fresh_environment_runs_the_listed_training_tasks(suite: BanditTasks) -> None:
    actions = suite_contract.draw_actions(suite, suite.horizon)
    unset, given = suite.make_vector_env(4), suite.make_vector_env(4)
    unset.reset(seed=0)
    rewards = np.array([unset.step(action)[1] for action in actions])
    assert np.array_equal(rewards, play(given, suite.tasks("train")[:4], actions).rewards)


def test_certain_arms_always_pay_and_hopeless_ones_never() -> None:
    env = pulling(bandit(1.0, 0.0), bandit(0.0, 1.0))
    rewards = [env.step(np.array([0, 0]))[1].tolist() for _ in range(10)]
    assert rewards == [[1.0, 0.0]] * 10


def test_arm_pays_as_often_as_its_probability_says() -> None:
    env = pulling(*[bandit(0.3, 0.9)] * 500, pulls=20)
    paid = np.array([env.step(np.arange(500) % 2)[1] for _ in range(20)])
    # 5,000 pulls each: standard errors of 0.0065 and 0.0042
    assert paid[:, ::2].mean() == pytest.approx(0.3, abs=0.02)
    assert paid[:, 1::2].mean() == pytest.approx(0.9, abs=0.013)


def test_pulls_are_independent_of_one_another() -> None:
    env = pulling(*[bandit(0.5, 0.5)] * 1000, pulls=20)
    paid = np.array([env.step(np.zeros(1000))[1] for _ in range(20)])
    lagged = np.corrcoef(paid[:-1].ravel(), paid[1:].ravel())[0, 1]
    across = np.corrcoef(paid[:, :-1].ravel(), paid[:, 1:].ravel())[0, 1]
    assert abs(lagged) < 0.03  # 4 standard errors of 1 / sqrt(19,000)
    assert abs(across) < 0.03


def test_better_arm_pays_whenever_a_worse_one_would_have(suite: BanditTasks) -> None:
    env = suite.make_vector_env(2)
    tasks = [bandit(0.2, 0.2, 0.2, 0.2, 0.2), bandit(0.7, 0.7, 0.7, 0.7, 0.7)]
    rewards = suite_contract.play_alike(env, tasks, suite_contract.draw_actions(suite, 12)[:, :2]).rewards
    assert (rewards[:, 1] >= rewards[:, 0]).all()
    assert rewards[:, 1].sum() > rewards[:, 0].sum()


def test_observations_are_the_same_whatever_is_pulled(suite: BanditTasks, env: TaskVectorEnv) -> None:
    trajectory = play(env, suite_contract.spread(suite), suite_contract.draw_actions(suite, 12))
    assert not trajectory.observations.any()


def test_seedless_reset_goes_on_drawing() -> None:
    env = pulling(*[bandit(0.5, 0.5)] * 20)
    first = [env.step(np.zeros(20))[1].tolist() for _ in range(10)]
    env.reset()
    assert [env.step(np.zeros(20))[1].tolist() for _ in range(10)] != first


def test_arm_probabilities_are_uniform_and_independent() -> None:
    drawn = np.array([task.parameters for task in BanditTasks().sample(4000, np.random.default_rng(0))])
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.5, 0.9], axis=0).T, [[0.1, 0.5, 0.9]] * 5, atol=0.03
    )
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(5), atol=0.07)


def test_runs_are_named_after_arms_and_pulls() -> None:
    config = BanditsConfig(arms=3, horizon=100)
    assert (config.label, config.build().name) == ("bandits-3x100", "bandits-3x100")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arms": 1}, r"arms in \[2, 100\], got 1"),
        ({"arms": 101}, r"arms in \[2, 100\], got 101"),
        ({"horizon": 0}, r"horizon in \[1, 1000000\], got 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        BanditsConfig(**settings)


@pytest.mark.parametrize(
    "task", [bandit(0.5), bandit(0.5, 0.5, 0.5), bandit(0.5, 1.5), bandit(0.5, float("nan"))]
)
def test_tasks_that_are_no_such_bandits_are_refused(task: Task) -> None:
    env = BanditTasks(arms=2).make_vector_env(1)
    with pytest.raises(MetarlError, match="Expected a task of 2 probabilities"):
        env.set_tasks([task])


def test_one_arm_for_several_bandits_is_refused() -> None:
    env = BanditTasks(arms=2).make_vector_env(3)
    env.reset(seed=0)
    with pytest.raises(MetarlError, match=r"shape \(3,\), got \(1,\)"):
        env.step(np.array([1]))


@pytest.mark.parametrize("arm", [-1, 2])
def test_arm_that_there_is_not_is_refused(arm: int) -> None:
    with pytest.raises(MetarlError, match="arms must be between 0 and 1"):
        pulling(bandit(0.1, 0.2)).step(np.array([arm]))


def test_agent_that_cannot_choose_says_so() -> None:
    with pytest.raises(MetarlError, match="take an agent for choices, such as rl2"):
        registry.agent("pearl")().build(
            BanditsConfig().build(), seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
        )


@pytest.mark.parametrize("name", [*GRADIENT_BASED, "rl2"])
def test_gradients_and_memories_learn_from_bandits(name: str) -> None:
    suite = BanditsConfig(horizon=4).build()
    agent = construct(registry.agent(name), {}).build(
        suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
    )
    env, rng = suite.make_vector_env(6), np.random.default_rng(0)
    done = meta_iteration(agent, env, suite.sample(2, rng), episodes=3, horizon=4, rng=rng)
    assert all(value.isfinite().all() for value in agent.state().tensors.values())
    assert all(np.isfinite(value) for value in done.metrics.values())
