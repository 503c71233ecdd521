"""PEARL: what it promises as an agent, its posterior by hand, and where its gradients go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution

from metarl.agents.pearl import PEARL, Networks, PEARLConfig, Seen, look_at
from metarl.config import AgentConfig, SamplingConfig
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.errors import MetarlError, Stopped
from metarl.functional.gaussian_products import posterior
from metarl.functional.params import flatten
from metarl.learning.sac import SAC, Noise, SACBatch, SACState
from metarl.meta_learner import Plan, inputs_at_start
from metarl.networks.policies import GaussianMLPPolicy
from metarl.networks.posterior_actor import LATENT, PosteriorActor
from metarl.training.experiment import meta_iteration
from metarl.types import Params, Rollout, State
from support import agent_contract, tiny
from support.learned_agents import assert_resumes_bit_for_bit
from support.probes import Probe

TINY = PEARLConfig(
    latent_size=2,
    hidden_sizes=(8, 7),
    encoder_sizes=(6,),
    tasks_per_step=2,
    batch_size=5,
    context_size=4,
    initial_iterations=0,
)
POINT_SIZED = GaussianMLPPolicy(observation_size=2, action_size=2)
ENCODER = Networks.of(TINY, observations=3, actions=2).encoder


@pytest.mark.parametrize("next_observation", [False, True])
@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(claim: Callable[[AgentConfig], None], next_observation: bool) -> None:
    claim(replace(TINY, next_observation_in_context=next_observation))


def agent_of(config: PEARLConfig = TINY, seed: int = 0) -> PEARL:
    agent = agent_contract.build(config, seed)
    assert isinstance(agent, PEARL)
    return agent


def adapted(agent: PEARL, *rollouts: Rollout) -> PosteriorActor:
    actor = agent.initial_actor(len(rollouts[0].mask), agent_contract.rng())
    for rollout in rollouts:
        actor = agent.adapt(actor, rollout, agent_contract.rng())
    return actor


def test_latents_come_from_the_prior_before_any_experience() -> None:
    agent = agent_of()
    drawn = agent.initial_actor(30, agent_contract.rng()).initial_memory(400)[LATENT].double()
    assert drawn.shape == (30, 400, 2)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=4 / np.sqrt(drawn.numel()))
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.02)
    # each task and each episode has its own
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[:, 0], drawn[:, 1])
    other = agent.initial_actor(30, np.random.default_rng(1)).initial_memory(400)[LATENT]
    assert not torch.equal(drawn, other.double())


def test_latent_stays_the_same_for_an_episode() -> None:
    agent = agent_of()
    actor = agent.initial_actor(3, agent_contract.rng())
    rollout = agent_contract.gather(actor, agent_contract.rng())
    assert torch.equal(rollout.initial_memory[LATENT], rollout.final_memory[LATENT])
    assert torch.equal(rollout.initial_memory[LATENT], actor.initial_memory(agent_contract.EPISODES)[LATENT])


@pytest.mark.parametrize("next_observation", [False, True])
def test_posterior_is_a_product_over_the_live_transitions_of_a_loop(next_observation: bool) -> None:
    agent = agent_of(replace(TINY, next_observation_in_context=next_observation, reward_scale=3.0))
    rollout = tiny.random_rollout(0, episodes=4, policy=POINT_SIZED, dtype=torch.float32)
    assert not rollout.mask.all()  # some episodes ended early
    params = agent.state().tensors
    found = adapted(agent, rollout).evidence
    for task in range(len(rollout.mask)):
        precision, weighted = torch.zeros(2), torch.zeros(2)
        for episode in range(4):
            steps = int(rollout.mask[task, episode].sum())
            observations = rollout.observations[task, episode, :steps]
            final = rollout.final_observations[task, episode].unsqueeze(0)
            parts = [
                observations,
                (rollout.actions[task, episode, :steps] / 0.1).clamp(
                    -1, 1
                ),  # the bounds of the point's moves
                3.0 * rollout.rewards[task, episode, :steps].unsqueeze(1),
                *([torch.cat([observations[1:], final])] if next_observation else []),
            ]
            hidden = torch.cat(parts, dim=1) @ params["encoder.layer_0.weight"]
            hidden = torch.relu(hidden + params["encoder.layer_0.bias"])
            raw = hidden @ params["encoder.layer_1.weight"] + params["encoder.layer_1.bias"]
            mean, variance = raw[:, :2], torch.nn.functional.softplus(raw[:, 2:])
            precision += (1 / variance).sum(dim=0)
            weighted += (mean / variance).sum(dim=0)
        torch.testing.assert_close(found.precision[task], precision, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.weighted_mean[task], weighted, rtol=1e-4, atol=1e-4)


def test_order_of_episodes_does_not_matter() -> None:
    agent = agent_of()
    rollout = agent_contract.meta_batch(agent)[0]
    other = rollout.map(lambda value: value[:, [2, 0, 3, 1]])
    one, two = (posterior(adapted(agent, part).evidence) for part in (rollout, other))
    torch.testing.assert_close(one.mean, two.mean)
    torch.testing.assert_close(one.log_std, two.log_std)


def test_adapting_to_rollouts_one_by_one_is_adapting_to_all() -> None:
    agent = agent_of()
    rollout = agent_contract.meta_batch(agent)[0]
    parts = [rollout.map(lambda value, at=at: value[:, at]) for at in (slice(0, 1), slice(1, 4))]
    for one, other in zip(adapted(agent, rollout).evidence, adapted(agent, *parts).evidence, strict=True):
        torch.testing.assert_close(one, other)


def test_experience_narrows_the_posterior() -> None:
    agent = agent_of()
    rollout = agent_contract.meta_batch(agent)[0]
    once, twice = (posterior(adapted(agent, *[rollout] * times).evidence) for times in (1, 2))
    torch.testing.assert_close(twice.log_std, once.log_std - 0.5 * np.log(2))
    torch.testing.assert_close(twice.mean, once.mean)
    drawn = adapted(agent, rollout).initial_memory(2000)[LATENT]
    torch.testing.assert_close(drawn.mean(dim=1), once.mean, rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.std(dim=1), once.log_std.exp(), rtol=0.1, atol=0)


def test_actions_fill_the_range_of_the_suite_with_their_density() -> None:
    agent = agent_of()
    actor = agent.initial_actor(2, agent_contract.rng())
    inputs = inputs_at_start(torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0)), 2)
    memory = actor.initial_memory(50)
    action, _ = actor.act(inputs, memory, torch.Generator().manual_seed(1))
    assert 0.05 < float(action.actions.abs().max()) < 0.1
    states = torch.cat([inputs.observations, memory[LATENT]], dim=-1).flatten(0, 1)
    gaussian = actor.policy(actor.params, states)
    maps = [TanhTransform(), AffineTransform(0.0, 0.1)]
    density = TransformedDistribution(Normal(gaussian.mean, gaussian.log_std.exp()), maps)
    expected = density.log_prob(action.actions.flatten(0, 1)).sum(dim=-1).view(2, 50)
    torch.testing.assert_close(action.log_probs, expected, rtol=1e-3, atol=1e-2)


def float64_problem() -> tuple[SAC, Params, Seen, SACBatch, Noise]:
    """Return a learner in float64, and three tasks' data for one gradient step."""
    generator = torch.Generator().manual_seed(0)
    networks = Networks.of(TINY, observations=3, actions=2)
    params = {
        **networks.policy.network.initial_params(generator, torch.float64),
        **networks.critic.network.initial_params(generator, torch.float64),
        "log_temperature": torch.tensor(-1.0, dtype=torch.float64),
    }
    encoder = networks.encoder.network.initial_params(generator, torch.float64)
    learner = SAC.of(networks.policy, networks.critic, replace(TINY, discount=0.0), params, encoder)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    seen = Seen(normal(3, 4, 3), normal(3, 4, 3), normal(3, 5, 6), normal(3, 2))
    batch = SACBatch(normal(12, 2).tanh(), normal(12), torch.zeros(12, dtype=torch.bool))
    return learner, encoder, seen, batch, Noise(normal(12, 2), normal(12, 2))


def encoder_slopes(learner: SAC, state: SACState, encoder: Params) -> torch.Tensor:
    """Return the gradient of the first step in the encoder: a tenth of it is Adam's mean."""
    return state.adam["critic.mean.weights"][-flatten(encoder).numel() :] / 0.1


def test_encoder_follows_the_critic_and_the_divergence_alone() -> None:
    learner, encoder, seen, batch, noise = float64_problem()
    look, start = look_at(ENCODER, seen, kl_weight=0.3), learner.start()
    after, _ = learner.step(start, batch, look, noise)
    slopes = encoder_slopes(learner, after, encoder)

    def loss(index: int, change: float) -> float:
        critic = start.critic.clone()
        critic[index] += change
        # with a discount of 0 the target is the reward, so nothing else reads the encoder
        _, said = learner.step(start._replace(critic=critic), batch, look, noise)
        return float(said.critic_loss + said.penalty)

    first, size = len(start.critic) - len(slopes), 1e-6
    for index in range(0, len(slopes), 5):
        expected = (loss(first + index, size) - loss(first + index, -size)) / (2 * size)
        assert float(slopes[index]) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert slopes.abs().max() > 1e-3


def test_actor_sends_no_gradient_to_the_encoder() -> None:
    learner, encoder, seen, batch, noise = float64_problem()
    look, start = look_at(ENCODER, seen, kl_weight=0.3), learner.start()
    other = start._replace(actor=start.actor + 0.3)  # another policy, with another loss
    one, two = (learner.step(state, batch, look, noise)[0] for state in (start, other))
    assert torch.equal(encoder_slopes(learner, one, encoder), encoder_slopes(learner, two, encoder))
    assert not torch.equal(one.adam["actor.mean.weights"], two.adam["actor.mean.weights"])


def test_states_of_tasks_together_are_those_of_each_alone() -> None:
    _, encoder, seen, _, _ = float64_problem()
    together = look_at(ENCODER, seen, kl_weight=1.0)(encoder)
    alone = [
        look_at(ENCODER, Seen(*(part[task : task + 1] for part in seen)), kl_weight=1.0)(encoder)
        for task in range(3)
    ]
    for name in ("states", "next_states"):
        expected = torch.cat([getattr(part, name) for part in alone])
        torch.testing.assert_close(getattr(together, name), expected, rtol=1e-12, atol=1e-12)
    mean = sum(float(part.penalty) for part in alone) / 3
    assert float(together.penalty) == pytest.approx(mean)


@pytest.mark.parametrize(("training_tasks", "tasks"), [(0, "meta-batch"), (5, "all tasks")])
def test_first_iterations_only_fill_the_buffer(training_tasks: int, tasks: str) -> None:
    config, sampling = replace(TINY, initial_iterations=2), SamplingConfig(training_tasks=training_tasks)
    agent = config.build(agent_contract.SUITE, seed=0, device=torch.device("cpu"), sampling=sampling)
    plans = [agent.plan(iteration) for iteration in range(3)]
    assert plans[:2] == [Plan(tasks, adaptation_steps=0, learns=False)] * 2  # type: ignore[arg-type]  # one of two
    assert plans[2] == Plan()
    before = agent.state()
    rollouts = agent_contract.meta_batch(agent)[:1]
    agent.remember(rollouts, agent_contract.TASKS)
    assert agent.replay.num_steps == rollouts[0].num_steps
    after = agent.state()
    assert all(torch.equal(value, after.tensors[name]) for name, value in before.tensors.items())


def test_newest_additions_are_the_episodes_with_which_a_trial_begins() -> None:
    agent = agent_of()
    rollouts = agent_contract.meta_batch(agent)
    agent.remember(rollouts, agent_contract.TASKS)
    rng = np.random.default_rng(0)
    for count in (1, 3, 5):
        drawn = agent.replay.sample(agent_contract.TASKS, 300, rng, newest=count).rewards
        first = torch.cat([rollout.rewards for rollout in rollouts], dim=1)[:, :count].flatten(1)
        for task in range(3):
            assert set(drawn[task].tolist()) == set(first[task].tolist())


def test_gradient_steps_are_a_share_of_the_environment_steps() -> None:
    agent = agent_of(replace(TINY, update_ratio=0.1))
    rollouts = agent_contract.meta_batch(agent)
    steps = sum(rollout.num_steps for rollout in rollouts)
    assert agent_contract.update(agent, rollouts)["gradient_steps"] == round(0.1 * steps)


def test_stopping_an_update_leaves_the_agent_as_it_was() -> None:
    agent = agent_of()
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    rollouts, before, steps = agent_contract.meta_batch(agent, seed=1), agent.state(), agent.replay.num_steps
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        agent.update(rollouts, agent_contract.TASKS, agent_contract.rng(), lambda: next(asked))
    assert agent_contract.same_state(before, agent.state())
    assert agent.replay.num_steps == steps
    again = agent_of()
    again.load_state(before)
    assert agent_contract.update(agent, rollouts) == agent_contract.update(again, rollouts)


def test_threads_of_torch_change_no_bit() -> None:
    states: list[State] = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            agent = agent_of(replace(TINY, hidden_sizes=(64, 64), batch_size=200))
            rollouts = agent_contract.meta_batch(agent)
            agent_contract.update(agent, rollouts)
            states.append(agent.state())
    finally:
        torch.set_num_threads(threads)
    assert agent_contract.same_state(*states)


@pytest.mark.parametrize("capacity", [50, 1_000_000])
def test_resumed_run_is_the_same_bit_for_bit(capacity: int, tmp_path: Path) -> None:
    config = replace(TINY, replay_capacity=capacity, initial_iterations=1)
    assert_resumes_bit_for_bit(config, tmp_path)


def test_choices_are_refused() -> None:
    suite = CartPoleConfig(horizon=10).build()
    with pytest.raises(MetarlError, match=r"Expected actions that are vectors .* got Discrete"):
        TINY.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())


def test_policy_learns_what_the_task_is_and_acts_on_it() -> None:
    probe = Probe("hidden")
    config = PEARLConfig(
        latent_size=2,
        hidden_sizes=(32, 32),
        encoder_sizes=(32,),
        tasks_per_step=2,
        batch_size=32,
        context_size=16,
        discount=0.0,
        learning_rate=1e-2,
        initial_temperature=0.1,
        update_ratio=0.4,
    )
    agent, rng = (
        config.build(probe, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()),
        np.random.default_rng(0),
    )
    env = probe.make_vector_env(2 * 20)
    for _ in range(8):
        meta_iteration(agent, env, probe.sample(2, rng), episodes=20, horizon=1, rng=rng)
    tasks = probe.tasks("test")
    done = meta_iteration(agent, env, tasks, episodes=20, horizon=1, rng=rng)
    choices = tiny.act(done.actors[-1], torch.tensor([[-1.0], [1.0]]).expand(2, 2, 1), None).actions
    # the tasks reward actions near 1 and near -1; before adapting nothing tells them apart
    assert 0.5 < float(choices[0].mean()) < 1.9
    assert -1.9 < float(choices[1].mean()) < -0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"latent_size": 0}, "Expected latent_size in"),
        ({"adaptation_steps": 0}, "Expected adaptation_steps in"),
        ({"hidden_sizes": (0,)}, "Expected every value of hidden_sizes in"),
        ({"kl_weight": -1.0}, "Expected kl_weight in"),
        ({"reward_scale": 0.0}, "Expected reward_scale in"),
        ({"update_ratio": 0.0}, "Expected update_ratio in"),
        ({"initial_iterations": -1}, "Expected initial_iterations >= 0"),
        ({"discount": 2.0}, "Expected discount in"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        PEARLConfig(**settings)  # type: ignore[arg-type]  # wrong on purpose
