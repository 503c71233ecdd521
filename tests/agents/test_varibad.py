"""VariBAD: what it promises as an agent, who learns from what, and what its belief is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.agents.varibad import VariBAD, VariBADConfig
from metarl.config import AgentConfig, SamplingConfig
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.errors import MetarlError, Stopped
from metarl.functional.distributions import Gaussian
from metarl.learning.belief_actor import BEGUN, MEMORY
from metarl.learning.replay import ReplayBuffer
from metarl.meta_learner import Inputs
from metarl.rollouts.collect import collect
from metarl.rollouts.history import join_trials, time_first
from metarl.training import runs
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params, Rollout, State
from support import agent_contract, tiny
from support.learned_agents import assert_resumes_bit_for_bit
from support.programs import point_config
from support.splits import Splits
from support.two_doors import success_by_episode

TINY = VariBADConfig(
    trial_episodes=3,
    latent_size=2,
    memory_size=8,
    observation_embedding=4,
    action_embedding=3,
    reward_embedding=3,
    decoder_sizes=(6,),
    hidden_sizes=(8,),
    epochs=2,
    minibatches=2,
    vae_updates=2,
    vae_trials=5,
    buffer_trials=30,
    elbo_steps=3,
    decoded_steps=4,
)
CELLS = ("gru", "linear")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(claim: Callable[[AgentConfig], None], cell: str) -> None:
    claim(replace(TINY, cell=cell))


def agent_of(config: VariBADConfig = TINY) -> VariBAD:
    agent = agent_contract.build(config)
    assert isinstance(agent, VariBAD)
    return agent


def same(one: Params, other: Params) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_first_step_is_taken_from_the_very_policy_that_acted() -> None:
    agent = agent_of(replace(TINY, epochs=1, minibatches=1))
    agent_contract.update(agent, agent_contract.meta_batch(agent))  # so that scales are none of the first
    metrics = agent_contract.update(agent, agent_contract.meta_batch(agent, seed=1))
    assert metrics["kl"] == pytest.approx(0, abs=1e-7)
    assert metrics["clipped"] == 0.0
    assert metrics["policy_loss"] == pytest.approx(0, abs=1e-5)  # minus the mean of scaled advantages


def test_policys_loss_never_reaches_encoder_or_decoders() -> None:
    agent = agent_of(replace(TINY, vae_updates=0))
    policy, vae = dict(agent.policy_params), dict(agent.vae_params)
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    assert same(agent.vae_params, vae)
    assert not any(torch.equal(value, policy[name]) for name, value in agent.policy_params.items())


def test_bound_moves_encoder_and_decoders_and_never_the_policy() -> None:
    agent, without = agent_of(), agent_of(replace(TINY, vae_updates=0))
    vae = dict(agent.vae_params)
    for one in (agent, without):
        agent_contract.update(one, agent_contract.meta_batch(one))
    assert same(agent.policy_params, without.policy_params)
    assert not any(torch.equal(value, vae[name]) for name, value in agent.vae_params.items())
    decoders = {name.partition("_decoder")[0] for name in vae if "_decoder" in name}
    assert decoders == {"reward", "state"}


# episodes end at the summit, after as many steps as a policy without aim takes
CLIMBS = (tiny.climb(0.0, summit=1.0), tiny.climb(0.5, summit=1.5))


def climbed(config: VariBADConfig) -> tuple[VariBAD, list[Rollout]]:
    """Return an agent after two updates, and trials of it whose episodes end at different steps."""
    suite = Splits(CLIMBS, CLIMBS, horizon=8)
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    env, rng = suite.make_vector_env(6), np.random.default_rng(0)
    for _ in range(2):
        meta_iteration(agent, env, CLIMBS, episodes=3, horizon=suite.horizon, rng=rng)
    rollouts: list[Rollout] = []
    for _ in range(config.trial_episodes):
        actor, after = agent.initial_actor(2, rng), rollouts[-1] if rollouts else None
        rollouts.append(collect(env, CLIMBS, actor, episodes=3, horizon=8, rng=rng, after=after))
    lengths = torch.stack([rollout.mask.sum(dim=2) for rollout in rollouts])
    assert len(lengths.unique()) > 3
    return agent, rollouts


@pytest.mark.parametrize("chunk_steps", [0, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_beliefs_of_replayed_trials_are_those_on_which_the_policy_acted(cell: str, chunk_steps: int) -> None:
    agent, rollouts = climbed(replace(TINY, cell=cell, chunk_steps=chunk_steps))
    buffer = ReplayBuffer(1000)
    buffer.add(CLIMBS, rollouts)
    replayed, trials = buffer.sample_trials(9, np.random.default_rng(0)), join_trials(rollouts)
    with torch.no_grad():
        beliefs = agent.beliefs(agent.vae_params, replayed, agent.scales.features)
    for number in range(9):
        length = int(replayed.mask[0, number].sum())
        rewards = replayed.rewards[0, number, :length]
        # rewards are heights, which differ between trials
        (place,) = [
            index
            for index, own in enumerate(trials.rewards.flatten(0, 1))
            if torch.equal(own[:length], rewards)
        ]
        for part, name in zip(beliefs, ("belief_mean", "belief_log_std"), strict=True):
            acted_on = trials.extras[name].flatten(0, 1)[place, :length]
            torch.testing.assert_close(part[:length, number], acted_on, rtol=1e-4, atol=1e-5)


def test_belief_of_a_slot_waits_while_other_episodes_go_on() -> None:
    agent, rollouts = climbed(TINY)
    trials = join_trials(rollouts)
    for task, slot in ((0, 0), (0, 1), (1, 2)):
        # its own steps alone, one after another
        actor = agent.initial_actor(1, agent_contract.rng())
        memory: Params = actor.initial_memory(1)
        for step in range(int(trials.live[task, slot].sum())):
            one = Inputs(*(part[task : task + 1, slot : slot + 1, step] for part in trials.inputs))
            _, memory = actor.act(one, memory, None)
        expected = rollouts[-1].final_memory[MEMORY][task, slot]
        torch.testing.assert_close(memory[MEMORY][0, 0], expected, rtol=1e-4, atol=1e-5)


def test_decoders_are_given_each_step_with_the_observation_that_followed() -> None:
    agent, rollouts = climbed(TINY)
    buffer = ReplayBuffer(1000)
    buffer.add(CLIMBS, rollouts)
    replayed = buffer.sample_trials(5, np.random.default_rng(0))
    reward, state = agent._predictions(agent.vae_params, replayed, agent.scales.features)
    live = time_first(replayed.mask)
    # a climber is paid its height after the step, and its height is its first observation
    heights = reward.targets[live].squeeze(-1) * agent.scales.rewards.deviation
    heights = heights + agent.scales.rewards.mean.float()
    scale = agent.scales.observations
    shown = reward.inputs[live][:, -2] * scale.deviation[0] + scale.mean[0].float()
    torch.testing.assert_close(shown, heights, rtol=1e-3, atol=1e-3)
    # and what it adds to its height is its action
    before, moved = state.inputs[live][:, 0], state.targets[live][:, 0]
    before = before * scale.deviation[0] + scale.mean[0].float()
    moved = moved * agent.scales.changes.deviation[0] + agent.scales.changes.mean[0].float()
    torch.testing.assert_close(before + moved, heights, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(state.inputs[live][:, -1], moved, rtol=1e-3, atol=1e-3)
    assert state.inputs.shape[-1] == 3  # a state's change is not predicted from what followed it


def blank_inputs(generator: torch.Generator, tasks: int = 2, slots: int = 3) -> Inputs:
    return Inputs(
        torch.randn(tasks, slots, 2, generator=generator),
        torch.randn(tasks, slots, 2, generator=generator),
        torch.randn(tasks, slots, generator=generator),
        torch.zeros(tasks, slots, dtype=torch.bool),
        torch.ones(tasks, slots, dtype=torch.bool),
    )


def test_trial_begins_with_the_prior_whatever_is_seen_first() -> None:
    actor = agent_of().initial_actor(2, agent_contract.rng())
    inputs = blank_inputs(torch.Generator().manual_seed(0))
    action, after = actor.act(inputs, actor.initial_memory(3), None)
    assert not after[MEMORY].any()
    assert after[BEGUN].all()
    assert torch.equal(action.extras["belief_mean"], action.extras["belief_mean"][:1, :1].expand(2, 3, 2))
    _, later = actor.act(inputs, after, None)
    assert later[MEMORY].all()


def test_belief_is_not_forgotten_where_an_episode_starts() -> None:
    actor = agent_of().initial_actor(2, agent_contract.rng())
    generator = torch.Generator().manual_seed(0)
    inputs = blank_inputs(generator)._replace(episode_starts=torch.ones(2, 3, dtype=torch.bool))
    memories = [
        {MEMORY: torch.randn(2, 3, 8, generator=generator), BEGUN: torch.ones(2, 3, dtype=torch.bool)}
        for _ in range(2)
    ]
    one, other = (actor.act(inputs, memory, None)[0].extras["belief_mean"] for memory in memories)
    assert not torch.equal(one, other)


def test_acting_is_not_changed_by_what_other_slots_do() -> None:
    actor = agent_of().initial_actor(2, agent_contract.rng())
    generator = torch.Generator().manual_seed(1)
    memory = {
        MEMORY: torch.randn(2, 3, 8, generator=generator),
        BEGUN: torch.tensor([[True, False, True], [False, True, True]]),
    }
    inputs = blank_inputs(generator)
    action, after = actor.act(inputs, memory, None)
    one = replace(actor, num_tasks=1)
    alone = Inputs(*(part[1:, :1] for part in inputs))
    action_alone, after_alone = one.act(alone, {name: value[1:, :1] for name, value in memory.items()}, None)
    torch.testing.assert_close(action.actions[1:, :1], action_alone.actions)
    torch.testing.assert_close(after[MEMORY][1:, :1], after_alone[MEMORY])


def same_buffer(one: State, other: State) -> bool:
    """Say whether two states hold the same trials, however they are cut into segments."""

    def rows(state: State) -> Params:
        parts = [segment.tensors() for segment in state.segments]
        return {name: torch.cat([part[name] for part in parts]) for name in ("observations", "rewards")}

    return same(rows(one), rows(other))


def test_stopping_an_update_leaves_the_agent_as_it_was() -> None:
    agent = agent_of()
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    rollouts, before = agent_contract.meta_batch(agent, seed=1), agent.state()
    for asked in (2, 5):  # among the steps of the policy, and among those of the encoder
        answers = iter([False] * asked + [True])
        with pytest.raises(Stopped):
            agent.update(rollouts, agent_contract.TASKS, agent_contract.rng(), lambda: next(answers))  # noqa: B023
        assert agent_contract.same_state(before, agent.state())
        assert same_buffer(before, agent.state())


def test_scales_learn_for_as_long_as_they_are_told_to() -> None:
    agent = agent_of(replace(TINY, scale_iterations=1))
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    first = agent.scales
    assert float(first.changes.seen) > 0
    agent_contract.update(agent, agent_contract.meta_batch(agent, seed=1))
    assert agent.scales is first


def test_encoder_is_trained_beforehand_in_the_first_iteration_alone() -> None:
    agent = agent_of(replace(TINY, pretrain_updates=3))
    agent_contract.update(agent, agent_contract.meta_batch(agent))
    assert float(agent.vae_adam["vae_adam.count"]) == 5
    agent_contract.update(agent, agent_contract.meta_batch(agent, seed=1))
    assert float(agent.vae_adam["vae_adam.count"]) == 7


@pytest.mark.parametrize("name", ["reward", "state"])
def test_decoder_without_weight_is_left_out(name: str) -> None:
    agent = agent_of(replace(TINY, **{f"{name}_weight": 0.0}))
    metrics = agent_contract.update(agent, agent_contract.meta_batch(agent))
    assert f"{name}_error" not in metrics
    assert not any(key.startswith(name) for key in agent.vae_params)


@pytest.mark.parametrize(
    "config",
    [TINY, replace(TINY, cell="linear"), replace(TINY, buffer_trials=12)],
    ids=["half-full", "linear", "full-in-the-second"],
)
def test_resumed_run_is_the_same_bit_for_bit(config: VariBADConfig, tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(config, tmp_path)
    whole, broken = (runs.resume(tmp_path / name, lambda _: None) for name in ("whole", "broken"))
    assert same_buffer(whole.agent.state(), broken.agent.state())


def test_bits_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    states = []
    for threads in (1, 3):
        config = point_config(agent=TINY, name=f"on-{threads}", threads=threads, iterations=2)
        experiment = runs.start(config, tmp_path)
        experiment.run()
        states.append(experiment.agent.state())
    assert agent_contract.same_state(*states)


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
    """Go back to the prior at the start of an episode."""
    kept = ~inputs.episode_starts
    return inputs, {MEMORY: memory[MEMORY] * kept.unsqueeze(-1), BEGUN: memory[BEGUN] & kept}


@pytest.mark.parametrize("cell", ["gru", pytest.param("linear", marks=pytest.mark.slow)])  # rl2 tries both
def test_what_was_seen_in_the_first_episode_is_believed_in_the_next(cell: str) -> None:
    config = VariBADConfig(
        cell=cell,
        memory_size=16,
        latent_size=2,
        decoder_sizes=(16, 16),
        hidden_sizes=(16, 16),
        learning_rate=3e-3,
        vae_learning_rate=3e-3,
        vae_trials=64,
        max_kl=0.0,
    )
    measured = success_by_episode(config, forget, iterations=30)
    assert measured == {"remembers": [0.5, 1.0, 1.0], "forgets": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "lstm"}, "cell must be one of"),
        ({"trial_episodes": 0}, r"trial_episodes in \[1, 101\], got 0"),
        ({"min_std": 2.0}, "min_std <= initial_std"),
        ({"latent_size": 0}, r"latent_size in \[1, 4096\], got 0"),
        ({"decoder_sizes": ()}, "decoder_sizes must have one number or more"),
        ({"hidden_sizes": (8, 0)}, r"every value of hidden_sizes in \[1, 4096\]"),
        ({"buffer_trials": 0}, "buffer_trials in"),
        ({"vae_updates": -1}, "vae_updates >= 0, got -1"),
        ({"kl_weight": float("nan")}, "kl_weight in"),
        ({"reward_weight": 0.0, "state_weight": 0.0}, "reward_weight or state_weight must be positive"),
        ({"clip": 0.0}, "Expected clip in"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        VariBADConfig(**settings)  # type: ignore[arg-type]  # wrong on purpose


def test_policy_reads_observation_mean_and_log_variance() -> None:
    agent = agent_of()
    belief = Gaussian(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5]))
    read = agent.scales.features.policy_inputs(torch.tensor([0.3, -0.4]), belief)
    torch.testing.assert_close(read, torch.tensor([0.3, -0.4, 1.0, 2.0, -2.0, 1.0]))
