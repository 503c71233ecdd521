"""RL²: what it promises as an agent, what its memory is worth, and its update against plain sequences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.agents.rl2 import RL2, Baseline, RL2Config
from metarl.config import AgentConfig, SamplingConfig
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.errors import MetarlError, Stopped
from metarl.functional.distributions import mode
from metarl.functional.returns import discounted_returns
from metarl.learning.recurrent_inputs import changes_in_trials
from metarl.meta_learner import Inputs, inputs_at_start
from metarl.networks.linear_baseline import linear_features
from metarl.rollouts.history import join_trials, time_first
from metarl.system.threads import use_threads
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params
from support import agent_contract
from support.learned_agents import assert_resumes_bit_for_bit
from support.two_doors import success_by_episode

TINY = RL2Config(memory_size=8, embedding_size=6, trial_episodes=3, epochs=2, minibatches=2)
CELLS = ("gru", "linear")
VARIANTS = {
    "gru": TINY,
    "linear": replace(TINY, cell="linear"),
    "hypernetwork": replace(TINY, cell="linear", head="hypernetwork", head_size=5),
    "changes": replace(TINY, cell="linear", changes=True, chunk_steps=4, unread=(1,), input_limit=2.0),
    "linear-baseline": replace(TINY, cell="linear", baseline="linear"),
    "scheduled": replace(
        TINY, outer_optimizer="rmsprop", lr_schedule="cosine", lr_iterations=7, chunk_steps=3
    ),
    "held-value": replace(TINY, cell="linear", value_loss="huber", value_clip=0.2, entropy_weight=0.01),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(claim: Callable[[AgentConfig], None], variant: str) -> None:
    claim(VARIANTS[variant])


def test_hypernetwork_acts_by_its_memory_after_an_update() -> None:
    agent = agent_of(VARIANTS["hypernetwork"])
    inputs = inputs_at_start(torch.ones(1, 1, 2), 2)

    def actions(seed: int) -> torch.Tensor:
        memory = {"memory": torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(seed))}
        return agent.initial_actor(1, agent_contract.rng()).act(inputs, memory, None)[0].actions

    assert torch.equal(actions(0), actions(1))
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    assert not torch.equal(actions(0), actions(1))


def agent_of(config: RL2Config = TINY) -> RL2:
    agent = agent_contract.build(config)
    assert isinstance(agent, RL2)
    return agent


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("chunk_steps", [0, 3])
def test_first_step_is_taken_from_the_very_policy_that_acted(cell: str, chunk_steps: int) -> None:
    agent = agent_of(replace(TINY, cell=cell, chunk_steps=chunk_steps, epochs=1, minibatches=1))
    agent_contract.update(agent, agent_contract.meta_batch(agent))  # so that scales are none of the first
    metrics = agent_contract.update(agent, agent_contract.meta_batch(agent, seed=1))
    assert metrics["kl"] == pytest.approx(0, abs=1e-7)
    assert metrics["clipped"] == 0.0
    assert metrics["policy_loss"] == pytest.approx(0, abs=1e-5)  # minus the mean of scaled advantages


@pytest.mark.parametrize("cell", CELLS)
def test_replaying_a_trial_gives_what_the_policy_did_in_it(cell: str) -> None:
    agent = agent_of(replace(TINY, cell=cell))
    trials = join_trials(agent_contract.meta_batch(agent))
    features = time_first(agent.features(trials.inputs))
    with torch.no_grad():
        policy, values = agent.policy.sequence(
            agent.params, features, torch.zeros(features.shape[1], 8), time_first(trials.live)
        )
    live = time_first(trials.live)
    assert values is not None
    for found, kept in ((values, "value"), (policy[0], "policy")):
        torch.testing.assert_close(found[live], time_first(trials.extras[kept])[live], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_policy_that_reads_changes_replays_what_it_did(cell: str) -> None:
    agent = agent_of(replace(TINY, cell=cell, changes=True, epochs=1, minibatches=1))
    agent_contract.update(agent, agent_contract.meta_batch(agent))  # so that scales are none of the first
    metrics = agent_contract.update(agent, agent_contract.meta_batch(agent, seed=1))
    assert metrics["kl"] == pytest.approx(0, abs=1e-7)


def test_changes_are_read_on_scales_of_their_own() -> None:
    agent = agent_of(replace(TINY, changes=True))
    trials = join_trials(agent_contract.meta_batch(agent))
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    changes, live = changes_in_trials(trials.inputs), trials.live
    read = agent.features(trials.inputs, changes)[live][:, -3:]  # two of the observation, one of the reward
    torch.testing.assert_close(read[:, :2].std(dim=0, correction=0), torch.ones(2), rtol=1e-3, atol=0)
    assert float(read[:, 2].std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("variant", VARIANTS)
def test_distribution_is_the_one_that_acts(variant: str) -> None:
    agent = agent_of(VARIANTS[variant])
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    actor = agent.initial_actor(3, agent_contract.rng())
    first = inputs_at_start(torch.ones(3, 2, 2), 2)
    action, memory = actor.act(first, actor.initial_memory(2), torch.Generator().manual_seed(0))
    step = Inputs(
        first.observations * 2, action.actions, torch.ones(3, 2), first.live.logical_not(), first.live
    )
    likeliest = actor.act(step, memory, None)[0].actions
    torch.testing.assert_close(mode(actor.distribution(step, memory)), likeliest)


def test_agent_that_reads_no_changes_keeps_its_inputs() -> None:
    assert agent_of(replace(TINY, changes=True)).policy.input_size == agent_of().policy.input_size + 3


def test_chunks_change_how_far_gradients_flow_and_nothing_else() -> None:
    metrics = []
    for chunk_steps in (0, 4):
        agent = agent_of(replace(TINY, chunk_steps=chunk_steps, epochs=1, minibatches=1))
        metrics.append(agent_contract.update(agent, agent_contract.meta_batch(agent)))
    whole, chunked = metrics
    assert whole["gradient_norm"] != chunked["gradient_norm"]
    for name in ("value_loss", "entropy", "policy_loss"):
        assert whole[name] == pytest.approx(chunked[name], abs=1e-5)


def test_chunks_after_a_trials_end_are_no_part_of_a_minibatch() -> None:
    agent = agent_of(replace(TINY, trial_episodes=1, chunk_steps=2, epochs=1, minibatches=100))
    [rollout] = agent_contract.meta_batch(agent)
    mask = torch.zeros_like(rollout.mask)
    mask[..., 0] = True
    mask[0, 0] = True  # one trial lasts, all others end at once
    sequences = agent.sequences(join_trials([replace(rollout, mask=mask)]))
    assert sequences.experience.live.any(dim=0).all()
    assert sequences.experience.live.sum() == mask.sum()
    expected = mask[..., 0].numel() - 1 + -(-mask.shape[-1] // 2)
    assert sequences.features.shape[1] == len(sequences.memory) == sequences.acted.shape[1] == expected
    metrics = agent_contract.update(agent, [replace(rollout, mask=mask)])
    assert metrics["steps"] == expected


@pytest.fixture
def three_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split every minibatch and every baseline into three parts, as large ones are."""

    def three(size: int, work: int) -> list[slice]:
        edges = [size * part // 3 for part in range(4)]
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    for module in ("metarl.agents.rl2", "metarl.learning.advantages"):
        monkeypatch.setattr(f"{module}.task_chunks", three)


def updated(config: RL2Config, threads: int) -> tuple[RL2, dict[str, float]]:
    agent = agent_of(config)
    with use_threads(threads):
        return agent, agent_contract.update(agent, agent_contract.meta_batch(agent))


@pytest.mark.usefixtures("three_parts")
@pytest.mark.parametrize("variant", VARIANTS)
def test_number_of_threads_changes_no_bit(variant: str) -> None:
    (one, metrics), (many, others) = (updated(VARIANTS[variant], threads) for threads in (1, 3))
    assert metrics == others
    assert agent_contract.same_state(one.state(), many.state())


@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_of_a_minibatch_add_up(variant: str, request: pytest.FixtureRequest) -> None:
    config = replace(VARIANTS[variant], epochs=1, minibatches=1)
    whole, metrics = updated(config, 1)
    request.getfixturevalue("three_parts")
    parts, others = updated(config, 1)
    assert others == pytest.approx(metrics, rel=1e-4, abs=1e-6)
    for name, value in whole.params.items():
        torch.testing.assert_close(parts.params[name], value, rtol=1e-3, atol=1e-5)


def test_linear_baseline_leaves_nothing_that_its_features_explain() -> None:
    agent = agent_of(replace(TINY, baseline="linear", gae_lambda=1.0))
    assert not [name for name in agent.params if name.startswith("value")]
    trials = join_trials(agent_contract.meta_batch(agent))
    advantages = agent._linear_advantages(trials, trials.rewards).double()
    steps = torch.arange(trials.live.shape[-1])
    features = linear_features(trials.inputs.observations, steps) * trials.live.unsqueeze(-1)
    # the normal equations: residuals are orthogonal to every feature, up to the ridge
    products = (features * advantages.unsqueeze(-1)).sum(dim=(1, 2))
    assert float(products.abs().max()) < 1e-2 * float(advantages.abs().sum(dim=(1, 2)).min())
    assert float(advantages[trials.live].abs().max()) > 0
    # credit passes from the later episodes to the first: returns are sums over the whole trial
    returns = discounted_returns(trials.rewards.double(), trials.live, agent.config.discount)
    explained = (returns - advantages)[trials.live]
    assert float((returns[trials.live] - explained).square().mean()) < float(returns[trials.live].var())


@pytest.mark.parametrize("baseline", ["network", "linear"])
def test_power_of_the_reward_counts_in_learning_and_is_not_read(baseline: Baseline) -> None:
    plain, squared = (agent_of(replace(TINY, baseline=baseline, reward_power=power)) for power in (1.0, 2.0))
    trials = join_trials(agent_contract.meta_batch(plain))
    counted = replace(trials, rewards=trials.rewards * trials.rewards.abs())
    same = (plain._experience(counted), squared._experience(trials))
    torch.testing.assert_close(*same)
    assert not torch.equal(plain._experience(trials).advantages, same[1].advantages)
    assert torch.equal(plain.sequences(trials).features, squared.sequences(trials).features)
    for agent in (plain, squared):
        agent._rescale(trials)
    assert plain.scales.rewards.deviation == squared.scales.rewards.deviation
    assert plain.scales.returns.deviation != squared.scales.returns.deviation


def test_largest_reward_is_told_as_learning_counts_it() -> None:
    for power in (1.0, 2.0):
        agent = agent_of(replace(TINY, reward_power=power))
        batch = agent_contract.meta_batch(agent)
        largest = max(float(rollout.rewards.abs().max()) for rollout in batch)
        found = agent_contract.update(agent, batch).get("largest_reward")
        assert found == (None if power == 1 else pytest.approx(largest**2))


def test_step_size_falls_by_its_schedule() -> None:
    agent = agent_of(replace(TINY, learning_rate=0.01, lr_schedule="linear", lr_iterations=4))
    found = [
        agent_contract.update(agent, agent_contract.meta_batch(agent))["learning_rate"] for _ in range(3)
    ]
    assert found == pytest.approx([0.01, 0.0075, 0.005])


def test_stopping_an_update_leaves_the_agent_as_it_was() -> None:
    agent = agent_of()
    rollouts, before = agent_contract.meta_batch(agent), agent.state()
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        agent.update(rollouts, agent_contract.TASKS, agent_contract.rng(), lambda: next(asked))
    assert agent_contract.same_state(before, agent.state())


def test_scales_learn_for_as_long_as_they_are_told_to() -> None:
    agent = agent_of(replace(TINY, scale_iterations=1))
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    first = agent.scales
    assert float(first.observations.seen) > 0
    agent_contract.update(agent, agent_contract.meta_batch(agent, seed=1))
    assert agent.scales is first


def test_acting_is_not_changed_by_what_other_slots_do() -> None:
    agent = agent_of()
    actor = agent.initial_actor(2, agent_contract.rng())
    memory = {"memory": torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))}
    generator = torch.Generator().manual_seed(1)
    inputs = Inputs(
        torch.randn(2, 3, 2, generator=generator),
        torch.randn(2, 3, 2, generator=generator),
        torch.randn(2, 3, generator=generator),
        torch.zeros(2, 3, dtype=torch.bool),
        torch.ones(2, 3, dtype=torch.bool),
    )
    action, after = actor.act(inputs, memory, None)
    alone = Inputs(*(part[:1, :1] for part in inputs))
    one = replace(actor, num_tasks=1)
    action_alone, after_alone = one.act(alone, {"memory": memory["memory"][:1, :1]}, None)
    torch.testing.assert_close(action.actions[:1, :1], action_alone.actions)
    torch.testing.assert_close(after["memory"][:1, :1], after_alone["memory"])


@pytest.mark.parametrize("cell", CELLS)
def test_resumed_run_is_the_same_bit_for_bit(cell: str, tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(replace(TINY, cell=cell, changes=cell == "linear"), tmp_path)


@pytest.mark.parametrize("unread", [(2,), (-1,), (0, 0)])
def test_entries_that_an_observation_lacks_are_refused(unread: tuple[int, ...]) -> None:
    with pytest.raises(MetarlError, match="unread must be different entries from 0 to 1"):
        agent_of(replace(TINY, unread=unread))


def test_unread_entries_change_no_action() -> None:
    agent = agent_of(VARIANTS["changes"])
    agent_contract.update(agent, agent_contract.meta_batch(agent))

    def action(unread: float, read: float) -> torch.Tensor:
        actor = agent.initial_actor(1, agent_contract.rng())
        inputs = inputs_at_start(torch.tensor([[[read, unread]]]), 2)
        return actor.act(inputs, actor.initial_memory(1), None)[0].actions

    assert torch.equal(action(1e9, 0.5), action(-1.0, 0.5))
    assert not torch.equal(action(0.0, 0.5), action(0.0, -0.5))


def test_choices_are_learned_too() -> None:
    suite = CartPoleConfig(horizon=10).build()
    agent = TINY.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    env = suite.make_vector_env(4)
    try:
        tasks = suite.sample(2, np.random.default_rng(0))
        done = meta_iteration(agent, env, tasks, episodes=2, horizon=10, rng=np.random.default_rng(0))
    finally:
        env.close()
    assert "std" not in done.metrics
    assert all(np.isfinite(value) for value in done.metrics.values())
    assert len(done.rollouts) == 3


def forget(inputs: Inputs, memory: Params) -> tuple[Inputs, Params]:
    """Blank the memory, and what is seen of the step before, at the start of an episode."""
    kept = (~inputs.episode_starts).float()
    blank = inputs._replace(
        previous_actions=inputs.previous_actions * kept.unsqueeze(-1),
        previous_rewards=inputs.previous_rewards * kept,
    )
    return blank, {name: value * kept.unsqueeze(-1) for name, value in memory.items()}


@pytest.mark.parametrize("cell", CELLS)
def test_what_was_seen_in_the_first_episode_is_remembered_in_the_next(cell: str) -> None:
    config = RL2Config(cell=cell, memory_size=16, embedding_size=16, learning_rate=1e-2)
    # seeds and cells that were tried had learned it by 15 and kept it
    measured = success_by_episode(config, forget, iterations=25)
    assert measured == {"remembers": [0.5, 1.0, 1.0], "forgets": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "lstm"}, "cell must be one of"),
        ({"trial_episodes": 0}, "Expected trial_episodes in"),
        ({"min_std": 2.0}, "min_std <= initial_std"),
        ({"memory_size": 0}, "Expected memory_size in"),
        ({"clip": 0.0}, "Expected clip in"),
        ({"head": "hyper"}, "The setting head of RL2Config cannot be"),
        ({"baseline": "none"}, "The setting baseline of RL2Config cannot be"),
        ({"lr_schedule": "cosine"}, "lr_iterations must be positive with a schedule"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        RL2Config(**settings)  # type: ignore[arg-type]  # wrong on purpose
