"""Discrete actions end to end: CartPole with changed poles, from the physics to an agent that adapts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig, meta_objective
from metarl.config import EvaluationConfig, SamplingConfig, construct
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.toy.cart_pole import TEST, TRAIN, CartPoleConfig
from metarl.envs.toy.poles import change_pole
from metarl.evaluation.evaluate import evaluate
from metarl.functional.distributions import Categorical, kl_divergence
from metarl.functional.params import gradient, requires_grad
from metarl.networks.policies import CategoricalMLPPolicy
from metarl.plugins import registry
from metarl.rollouts.collect import collect
from metarl.spaces import action_size, env_actions
from metarl.tasks import TaskDistribution
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params
from metarl.vector_env import TaskVectorEnv
from support import suite_contract
from support.agents import GRADIENT_BASED


@pytest.fixture(scope="module")
def suite() -> ProcessTasks:
    return CartPoleConfig(horizon=12).build()


@pytest.fixture(scope="module")
def env(suite: ProcessTasks) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS, num_workers=1)
    yield env
    env.close()


@pytest.mark.parametrize("claim", suite_contract.SUITE_CLAIMS, ids=lambda claim: claim.__name__)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: ProcessTasks) -> None:
    claim(suite)


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: ProcessTasks, env: TaskVectorEnv
) -> None:
    claim(suite, env)


def test_held_out_poles_lie_outside_the_training_ranges(suite: ProcessTasks) -> None:
    for index, name in enumerate(("half_length", "mass", "force")):
        train = [abs(task.parameters[index]) for task in suite.sample(200, np.random.default_rng(0))]
        test = [abs(task.parameters[index]) for task in suite.tasks("test")]
        assert TRAIN[name][0] <= min(train) <= max(train) <= TRAIN[name][1]
        assert TEST[name][0] <= min(test) <= max(test) <= TEST[name][1]
        assert TRAIN[name][1] <= TEST[name][0]


def test_half_of_the_motors_are_reversed() -> None:
    forces = [task.parameters[2] for task in CartPoleConfig().build().sample(400, np.random.default_rng(0))]
    assert np.mean(np.array(forces) < 0) == pytest.approx(0.5, abs=5 * 0.5 / 400**0.5)
    sound = CartPoleConfig(reversed_motor=False).build().sample(20, np.random.default_rng(0))
    assert min(task.parameters[2] for task in sound) > 0


def test_what_changes_the_pole_in_a_worker_imports_no_torch() -> None:
    program = f"import sys, {change_pole.__module__}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_first_step_of_a_changed_pole_by_hand() -> None:
    env = gymnasium.make("CartPole-v1").unwrapped
    assert isinstance(env, CartPoleEnv)
    change_pole(env, {"half_length": 0.8, "mass": 0.2, "force": -9.0})
    env.reset(seed=0)
    env.state = np.zeros(4)  # upright and at rest
    after, *_ = env.step(1)
    # f = -9 / 1.2; theta'' = -f / (l (4/3 - m / M)); x'' = f - m l theta'' / M; v = 0.02 x''
    push = -9.0 / 1.2
    turning = -push / (0.8 * (4 / 3 - 0.2 / 1.2))
    np.testing.assert_allclose(
        after, [0, 0.02 * (push - 0.2 * 0.8 * turning / 1.2), 0, 0.02 * turning], rtol=1e-6
    )


def test_choices_reach_the_environment_as_numbers_from_the_spaces_start() -> None:
    space = gymnasium.spaces.Discrete(3, start=5)
    actions = env_actions(space, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert actions.tolist() == [7, 5]
    assert actions.dtype == space.dtype
    assert action_size(space) == 3


def test_rollout_holds_one_hot_actions(suite: ProcessTasks, env: TaskVectorEnv) -> None:
    agent = MAMLTRPOConfig(hidden_sizes=(4,)).build(
        suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
    )
    rollout = collect(
        env,
        suite.tasks("train")[:2],
        agent.initial_actor(2),
        episodes=2,
        horizon=12,
        rng=np.random.default_rng(0),
    )
    assert rollout.actions.shape == (2, 2, 12, 2)
    assert torch.equal(rollout.actions.sum(dim=-1), rollout.mask.float())
    assert set(rollout.actions.unique().tolist()) == {0.0, 1.0}


def update_inputs(suite: ProcessTasks, env: TaskVectorEnv) -> tuple[MAMLTRPO, list[object]]:
    agent = MAMLTRPOConfig(hidden_sizes=(4,), curvature_stride=1).build(
        suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
    )
    agent.params = {name: value.double() for name, value in agent.params.items()}
    done = meta_iteration(
        MAMLTRPOConfig(hidden_sizes=(4,)).build(
            suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
        ),
        env,
        suite.tasks("train")[:2],
        episodes=2,
        horizon=12,
        rng=np.random.default_rng(0),
    )
    batches = []
    for rollout in done.rollouts:
        batch = agent.config.batch(rollout)
        doubled = {
            name: getattr(batch, name).double()
            for name in ("observations", "actions", "advantages", "weights", "log_probs")
        }
        batches.append(type(batch)(**doubled, horizon=batch.horizon))
    return agent, batches


def test_meta_gradient_is_the_finite_difference(suite: ProcessTasks, env: TaskVectorEnv) -> None:
    agent, (inner, outer) = update_inputs(suite, env)
    uniform = Categorical(torch.ones(2, 24, 2, dtype=torch.float64))

    def loss(params: Params) -> torch.Tensor:
        adapted = agent.inner_loop(params, agent.per_task(params, 2), [inner], first_order=False)
        return meta_objective(agent.policy(adapted, outer.observations), uniform, outer).loss

    theta = requires_grad(agent.params)
    for name, slope in gradient(loss(theta), theta).items():
        step = torch.zeros_like(slope)
        step.view(-1)[0] = 1e-5
        moved = [loss(requires_grad({**agent.params, name: agent.params[name] + s * step})) for s in (1, -1)]
        numeric = float((moved[0] - moved[1]).detach()) / 2e-5
        assert float(slope.view(-1)[0]) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_curvature_is_the_hessian_of_the_divergence(suite: ProcessTasks, env: TaskVectorEnv) -> None:
    agent, (inner, outer) = update_inputs(suite, env)
    theta = requires_grad(agent.params)
    adapted = agent.inner_loop(theta, agent.per_task(theta, 2), [inner], first_order=False)
    distribution = agent.policy(adapted, outer.observations)
    old = Categorical(distribution.logits.detach())
    divergence = (outer.weights * kl_divergence(old, distribution)).sum(dim=1).mean()
    vector = torch.randn(
        sum(value.numel() for value in theta.values()),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    slope = torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(divergence, list(theta.values()), create_graph=True)]
    )
    hessian = torch.cat([g.reshape(-1) for g in torch.autograd.grad(slope @ vector, list(theta.values()))])
    frozen = {name: value.detach() for name, value in adapted.items()}
    product = agent.curvature(theta, frozen, [inner], outer)(vector)
    torch.testing.assert_close(product, hessian, rtol=1e-6, atol=1e-12)  # the weights are single precision


def test_categorical_policy_is_chosen_for_choices(suite: ProcessTasks) -> None:
    agent = MAMLTRPOConfig().build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    assert isinstance(agent.policy, CategoricalMLPPolicy)
    assert (agent.policy.observation_size, agent.policy.action_size) == (4, 2)


@pytest.mark.parametrize("name", GRADIENT_BASED)
def test_policy_gradient_agents_update_on_choices(suite: ProcessTasks, env: TaskVectorEnv, name: str) -> None:
    config = construct(registry.agent(name), {"hidden_sizes": (4,)})
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    rng = np.random.default_rng(0)
    done = meta_iteration(agent, env, suite.tasks("train")[:2], episodes=2, horizon=12, rng=rng)
    assert all(value.isfinite().all() for value in agent.state().tensors.values())
    assert 0 < done.metrics["entropy"] < np.log(2)
    assert "std" not in done.metrics


@pytest.mark.slow
def test_maml_trpo_learns_to_adapt_to_poles_it_has_not_balanced() -> None:
    suite = CartPoleConfig(horizon=60).build()
    agent = MAMLTRPOConfig(inner_lr=0.5, gae_lambda=0.97).build(
        suite, seed=1, device=torch.device("cpu"), sampling=SamplingConfig()
    )
    env = suite.make_vector_env(100)
    rng = np.random.default_rng(0)
    measured = EvaluationConfig(episodes=5, adaptation_episodes=10)
    try:
        for _ in range(15):
            meta_iteration(agent, env, suite.sample(10, rng), episodes=10, horizon=60, rng=rng)
        found = evaluate(agent, env, suite.tasks("test"), measured, adaptation_steps=1, horizon=60, rng=rng)
    finally:
        env.close()
    before, after = found.task_returns.mean(axis=0)
    assert after > before + 10
