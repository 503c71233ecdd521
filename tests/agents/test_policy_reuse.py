"""Policy reuse: who plays, who is kept, and that every expert learns from its own family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from metarl.action_map import ActionMap
from metarl.agents.policy_reuse import PolicyReuse, PolicyReuseConfig, choose_experts, join_libraries
from metarl.config import AgentConfig, MeasurementConfig, SamplingConfig
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.errors import MetarlError
from metarl.evaluation.evaluate import evaluate
from metarl.learning.reusing_actor import EXPERT, Earned, ReusingActor
from metarl.meta_learner import actor_in_training, inputs_at_start
from metarl.rollouts.collect import collect
from metarl.tasks import Split
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params, Rollout, Task
from support import agent_contract
from support.learned_agents import assert_resumes_bit_for_bit
from support.two_doors import TEST, TRAIN, TwoDoors

TINY = PolicyReuseConfig(memory_size=8, embedding_size=6, epochs=2, minibatches=2)
ONE_EACH = replace(TINY, experts_per_family=1)
LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class LeftAndRight(TwoDoors):
    """The doors as two families, by the side that pays."""

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return tuple(
            replace(task, family=LEFT if task.parameters[0] < 0 else RIGHT)
            for task in (TRAIN if split == "train" else TEST)
        )


@pytest.mark.parametrize(
    "variant", [TINY, replace(TINY, cell="linear", changes=True)], ids=["gru", "changes"]
)
@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(claim: Callable[[AgentConfig], None], variant: PolicyReuseConfig) -> None:
    claim(variant)


def test_a_new_task_tries_the_experts_in_turn_and_keeps_the_one_that_earned_most() -> None:
    agent = agent_of(replace(TINY, experts_per_family=2))
    actor = agent.initial_actor(2, agent_contract.rng()).in_order()
    assert actor.playing(6).tolist() == [[0, 1, 2, 3, 0, 1]] * 2
    # means decide: of the first task expert 1 earns most in its first episode, and 0 on average
    earning = rollout_earning([[5.0, 6.0, 1.0, 0.0, 5.0, 2.0], [0.0, 0.0, 0.0, 0.5, 0.0, 0.0]])
    adapted = agent.adapt(actor, earning, agent_contract.rng())
    assert adapted.kept.tolist() == [0, 3]
    assert adapted.playing(3).tolist() == [[0, 0, 0], [3, 3, 3]]
    # worse luck later lets another take its place
    again = agent.adapt(adapted, rollout_earning([[-20.0], [0.5]]), agent_contract.rng())
    assert again.kept.tolist() == [1, 3]


def test_the_largest_reward_of_a_step_may_decide() -> None:
    agent = agent_of(replace(TINY, experts_per_family=2, keep_by="largest-reward"))
    actor = agent.initial_actor(1, agent_contract.rng()).in_order()
    # expert 2 comes close once, 0 earns a little at each step; what 3 earns after its end does not count
    rewards = torch.tensor([[[2.0, 2.0, 2.0], [1.0, 1.0, 1.0], [0.0, 5.0, 0.0], [1.0, 0.0, 9.0]]])
    rollout = rollout_earning([[0.0] * 4])
    long = torch.ones(1, 4, 3, dtype=torch.bool)
    long[:, 3, 2] = False
    rollout = replace(rollout, rewards=rewards, mask=long)
    assert agent.adapt(actor, rollout, agent_contract.rng()).kept.tolist() == [2]
    by_return = agent_of(replace(TINY, experts_per_family=2))
    assert by_return.adapt(actor, rollout, agent_contract.rng()).kept.tolist() == [0]
    with pytest.raises(MetarlError, match="The setting keep_by of PolicyReuseConfig cannot be 'luck'"):
        replace(TINY, keep_by="luck")


def test_any_expert_may_begin_and_all_have_their_turn() -> None:
    agent = agent_of(replace(ONE_EACH, experts_per_family=3, spreads=(1.0, 2.0)))
    actor = agent.initial_actor(600, agent_contract.rng())
    tried = actor.playing(12)
    # the others follow in turn, and other deviations after all experts had theirs
    first = tried[:, :1]
    assert torch.equal(tried[:, :6], (first + torch.arange(6)) % 6)
    assert torch.equal(tried[:, 6:], tried[:, :6] + 6)
    # of 600 tasks each begins about 100
    counts = first.flatten().bincount(minlength=6)
    assert len(counts) == 6
    assert counts.min() > 70


def test_experts_are_tried_in_the_order_of_their_library_which_is_saved() -> None:
    agent = agent_of(replace(ONE_EACH, experts_per_family=2, spreads=(1.0, 2.0)))
    agent.order = (2, 0, 3, 1)
    loaded = agent_of(agent.config, seed=1)
    loaded.load_state(agent.state())
    for each in agent, loaded:
        tried = each.initial_actor(2, agent_contract.rng()).playing(9)
        assert tried.tolist() == [[2, 0, 3, 1, 6, 4, 7, 5, 2]] * 2
    # in training an expert plays its own family, whatever the order
    [task] = [task for task in LeftAndRight().tasks("train") if task.family == agent.families[0]][:1]
    assert agent.training_actor([task, task], agent_contract.rng()).playing(1).tolist() == [[0], [2]]
    assert agent_of(ONE_EACH).order == ()


@pytest.mark.parametrize("order", [[0], [0, 0], [0, 2], [0, "1"], 1, {"0": 1}])
def test_an_order_that_does_not_fit_is_refused_and_changes_nothing(order: object) -> None:
    agent = agent_of(ONE_EACH)
    state, before = agent.state(), agent.state()
    state.values["order"] = order
    for value in state.tensors.values():
        value.zero_()
    with pytest.raises(MetarlError, match="Expected each of 2 experts once in their order, got"):
        agent.load_state(state)
    assert agent.order == ()
    for name, value in agent.state().tensors.items():
        assert torch.equal(value, before.tensors[name])


def test_an_episode_counts_for_the_expert_that_played_it() -> None:
    agent, suite = agent_of(replace(TINY, experts_per_family=2)), LeftAndRight()
    actor, tasks = agent.initial_actor(3, agent_contract.rng()), suite.tasks("test")[:3]
    env, rng = suite.make_vector_env(12), agent_contract.rng()
    rollout = collect(env, tasks, actor, episodes=4, horizon=2, rng=rng)
    adapted = agent.adapt(actor, rollout, agent_contract.rng())
    # whoever begins, replaying the same episodes keeps the same expert
    for seed in range(5):
        other = agent.initial_actor(3, np.random.default_rng(seed))
        again = agent.adapt(other, rollout, agent_contract.rng())
        assert torch.equal(again.kept, adapted.kept)
        assert torch.equal(again.earned.scores, adapted.earned.scores)
    played = actor.playing(4)
    for task in range(3):
        returns = rollout.episode_returns[task].double()
        assert torch.allclose(adapted.earned.scores[task, played[task]], returns)


@pytest.mark.parametrize(("tries", "kept"), [(0, [-1, -1]), (2, [1, 0]), (3, [-1, -1])])
def test_nothing_is_kept_before_enough_experts_are_tried(tries: int, kept: list[int]) -> None:
    agent = agent_of(replace(TINY, experts_per_family=2, tries=tries))
    actor = agent.initial_actor(2, agent_contract.rng()).in_order()
    adapted = agent.adapt(actor, rollout_earning([[0.0, 1.0], [0.0, -1.0]]), agent_contract.rng())
    assert adapted.kept.tolist() == kept
    if tries != 2:
        # those that were not tried play next
        assert adapted.playing(2).tolist() == [[2, 3]] * 2


def test_experts_are_tried_with_other_deviations_after_their_own() -> None:
    agent = agent_of(replace(ONE_EACH, spreads=(3.0, 1.0), initial_std=0.5))
    actor = agent.initial_actor(1, agent_contract.rng())
    stds = [player.acting._std.item() for player in actor.experts]
    assert stds == pytest.approx([0.5, 0.5, 1.5, 1.5])
    trained = agent.training_actor([LeftAndRight().tasks("train")[-1]], agent_contract.rng())
    assert trained.kept.tolist() == [agent.families.index(RIGHT)]


def test_a_factor_of_the_deviation_holds_at_the_bounds_of_training() -> None:
    bounds = {"min_std": 0.5, "initial_std": 0.5, "max_std": 0.5}
    agent = agent_of(replace(ONE_EACH, spreads=(1.0, 0.5, 4.0), **bounds))
    stds = [player.acting._std.item() for player in agent.initial_actor(1, agent_contract.rng()).experts]
    assert stds == pytest.approx([0.5, 0.5, 0.25, 0.25, 2.0, 2.0])


@pytest.mark.parametrize("spreads", [(), (2.0,), (1.0, 1.0)])
def test_spreads_without_one_or_with_one_twice_are_refused(spreads: tuple[float, ...]) -> None:
    with pytest.raises(MetarlError, match="spreads must be different factors, 1 among them"):
        replace(TINY, spreads=spreads)


def test_choices_have_no_spreads() -> None:
    with pytest.raises(MetarlError, match=r"Choices have no deviation, so spreads must be \(1.0,\)"):
        replace(TINY, spreads=(1.0, 2.0)).build(
            CartPoleConfig(horizon=5).build(), seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
        )


def test_an_adapted_policy_holds_still_while_it_earns_what_it_knows_to_be_enough() -> None:
    agent, rng = agent_of(replace(ONE_EACH, hold_at=0.9)), agent_contract.rng()
    actor = agent.initial_actor(2, rng).in_order()
    earning = rollout_earning([[10.0, 1.0], [-11.0, -10.0]])
    # as much at every step
    earning = replace(earning, rewards=earning.rewards[..., :1].expand_as(earning.rewards))
    adapted = agent.adapt(actor, earning, rng)
    assert adapted.rest_at is not None
    assert adapted.rest_at.tolist() == pytest.approx([9.0, -11.0])
    start = inputs_at_start(torch.ones(2, 3, 1), 1)
    earned = torch.tensor([[9.1, 8.9, 9.1], [-10.9, -11.1, -10.9]])
    begins = torch.tensor([False, False, True]).expand(2, 3)
    inputs = start._replace(previous_rewards=earned, episode_starts=begins)
    memory = adapted.initial_memory(3)
    held, remembered = adapted.act(inputs, memory, None)
    moved, as_before = replace(adapted, rest_at=None).act(inputs, memory, None)
    still = torch.tensor([True, False, False]).expand(2, 3)
    assert torch.equal(held.actions.squeeze(2) == 0, still)
    assert torch.equal(held.actions[~still], moved.actions[~still])
    assert torch.equal(held.log_probs, moved.log_probs.masked_fill(still, 0))
    # its memory goes on
    assert all(torch.equal(remembered[name], value) for name, value in as_before.items())
    # who still tries experts never holds still
    trying = agent.adapt(actor, rollout_earning([[10.0], [9.0]]), rng)
    assert trying.rest_at is not None
    assert trying.rest_at.tolist() == [torch.inf] * 2


def test_only_actions_that_may_be_zero_can_hold_still() -> None:
    with pytest.raises(MetarlError, match="hold_at takes actions of which 0 is one that moves nothing"):
        replace(TINY, hold_at=0.9).build(
            CartPoleConfig(horizon=5).build(), seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
        )


def test_an_action_that_another_one_stands_for_in_the_environment_cannot_hold_still() -> None:
    @dataclass(frozen=True)
    class Mapped(LeftAndRight):
        action_map: ActionMap | None = None

    built = {"seed": 0, "device": torch.device("cpu"), "sampling": SamplingConfig()}
    for low, fits in ((-1.0, True), (-0.5, False), (0.0, False)):
        suite = Mapped(action_map=ActionMap(Box(low, 1.0, (1,), np.float32)))
        if fits:
            replace(TINY, hold_at=0.9).build(suite, **built)
            continue
        with pytest.raises(MetarlError, match=r"moves nothing, got .* rescaled from -1..1 to Box"):
            replace(TINY, hold_at=0.9).build(suite, **built)


def test_an_expert_that_was_never_tried_is_never_best() -> None:
    scores = torch.tensor([[-3.0, 0.0, -2.0]], dtype=torch.float64)
    earned = Earned(scores, scores.float(), torch.tensor([[1, 0, 1]]))
    assert earned.best().tolist() == [2]


def test_each_expert_learns_from_its_own_family_alone() -> None:
    suite, agent = LeftAndRight(), agent_of(ONE_EACH)
    before = agent.state().tensors
    tasks = [task for task in suite.tasks("train") if task.family == RIGHT]
    train(agent, suite, tasks)
    after = agent.state().tensors
    own = f"expert{agent.families.index(RIGHT)}."
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(own) for name in changed)


def test_a_task_is_trained_on_by_an_expert_of_its_family_and_by_those_in_turn() -> None:
    suite, agent = LeftAndRight(), agent_of(replace(TINY, experts_per_family=2))
    left, right = ([task for task in suite.tasks("train") if task.family == name] for name in (LEFT, RIGHT))
    actor = actor_in_training(agent, [left[0], right[0], right[1], left[1], left[2]], agent_contract.rng())
    assert isinstance(actor, ReusingActor)
    # experts 0 and 2 are those of the left, 1 and 3 those of the right
    assert actor.kept.tolist() == [0, 1, 3, 2, 0]


def test_experts_of_a_family_learn_in_turn_where_a_meta_batch_has_one_task_of_it() -> None:
    suite, agent = LeftAndRight(), agent_of(replace(TINY, experts_per_family=2))
    left, right = (next(task for task in suite.tasks("train") if task.family == one) for one in (LEFT, RIGHT))
    counts = []
    for _ in range(4):
        train(agent, suite, [left, right])
        counts.append([expert.updates for expert in agent.experts])
    assert counts == [[1, 1, 0, 0], [1, 1, 1, 1], [2, 2, 1, 1], [2, 2, 2, 2]]


def test_slots_act_as_their_experts_alone_would() -> None:
    agent = agent_of(replace(TINY, experts_per_family=2, cell="linear"))
    actor = agent.initial_actor(3, agent_contract.rng()).in_order()
    observed = torch.randn(3, 5, 1, generator=torch.Generator().manual_seed(0))
    inputs = inputs_at_start(observed, 1)
    action, memory = actor.act(inputs, actor.initial_memory(5), None)
    assert torch.equal(action.extras[EXPERT], actor.playing(5))
    for slot, number in enumerate(actor.playing(5)[0].tolist()):
        alone = actor.experts[number]
        here = inputs_at_start(observed[:, slot].unsqueeze(0), 1)
        own, remembered = alone.act(here, alone.initial_memory(3), None)
        assert torch.allclose(action.actions[:, slot], own.actions[0], atol=1e-6)
        for name, value in remembered.items():
            assert torch.allclose(memory[name][:, slot].float(), value[0].float(), atol=1e-6)
    assert action.extras.keys() == {*own.extras, EXPERT}
    # and each task's own episode is that of the policy of episodes 3, 0 and 4
    chosen = torch.tensor([3, 0, 4])
    single = actor.of_episode(chosen, 5)
    here = inputs_at_start(observed[torch.arange(3), chosen].unsqueeze(1), 1)
    taken, _ = single.act(here, single.initial_memory(1), None)
    expected = action.actions[torch.arange(3), chosen].unsqueeze(1)
    assert torch.allclose(taken.actions, expected, atol=1e-6)


def test_the_right_expert_is_found_on_held_out_tasks() -> None:
    suite, agent = LeftAndRight(), agent_of(replace(ONE_EACH, learning_rate=1e-2))
    rng = np.random.default_rng(0)
    for _ in range(8):
        train(agent, suite, suite.sample(16, rng), rng=rng)
    found = evaluate(
        agent,
        suite.make_vector_env(64),
        suite.tasks("test"),
        MeasurementConfig(episodes=4, adaptation_episodes=32, deterministic=True),
        adaptation_steps=1,
        horizon=2,
        rng=np.random.default_rng(0),
    )
    assert found.successes is not None
    before, after = found.successes.mean(axis=(0, 2))
    # half of the experts open a task's door, until the one that does is kept
    assert before == 0.5
    assert after == 1.0


def test_a_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(replace(TINY, cell="linear", changes=True), tmp_path)


def test_joined_libraries_have_the_experts_of_all() -> None:
    one, other = agent_of(ONE_EACH), agent_of(ONE_EACH, seed=1)
    joined = join_libraries([one, other])
    assert joined.families == one.families
    assert joined.config.experts_per_family == 2
    assert joined.experts == (*one.experts, *other.experts)
    task = LeftAndRight().tasks("train")[0]
    numbers = joined.training_actor([task, task], agent_contract.rng()).kept.tolist()
    assert numbers == [joined.families.index(task.family), 2 + joined.families.index(task.family)]


def test_weights_alone_are_loaded_and_the_optimiser_starts_anew() -> None:
    agent, suite = agent_of(ONE_EACH), LeftAndRight()
    train(agent, suite, suite.tasks("train"))
    weights, other = agent.weights(), agent_of(ONE_EACH, seed=1)
    assert not any("adam" in name for name in weights.tensors)
    train(other, suite, suite.tasks("train"))
    other.load_state(weights)
    for name, value in other.state().tensors.items():
        expected = weights.tensors.get(name, torch.zeros_like(value))
        assert torch.equal(value, expected), name


def test_chosen_experts_are_tried_in_their_order_and_trained_on_their_own_families() -> None:
    agent, suite = agent_of(replace(TINY, experts_per_family=2)), LeftAndRight()
    # of the experts left, right, left, right
    chosen = choose_experts(agent, [3, 0, 1])
    assert chosen.config.library == chosen.owners == (RIGHT, LEFT, RIGHT)
    assert chosen.initial_actor(2, agent_contract.rng()).playing(4).tolist() == [[0, 1, 2, 0]] * 2
    rebuilt = agent_of(chosen.config, seed=1)
    rebuilt.load_state(chosen.weights())
    for name, value in rebuilt.weights().tensors.items():
        number = [3, 0, 1][int(name.partition(".")[0].removeprefix("expert"))]
        expected = agent.weights().tensors[f"expert{number}.{name.partition('.')[2]}"]
        assert torch.equal(value, expected), name
    assert rebuilt.order == (0, 1, 2)
    left, right = ([task for task in suite.tasks("train") if task.family == name] for name in (LEFT, RIGHT))
    actor = chosen.training_actor([right[0], left[0], right[1], right[2]], agent_contract.rng())
    assert actor.kept.tolist() == [0, 1, 2, 0]
    with pytest.raises(MetarlError, match="Expected training tasks of right, got 'left'"):
        choose_experts(agent, [3, 1]).training_actor(left, agent_contract.rng())


def test_a_library_of_unknown_families_or_of_a_choice_is_refused() -> None:
    with pytest.raises(MetarlError, match="library must name families of left, right, but it is \\['up'\\]"):
        agent_of(replace(TINY, library=(LEFT, "up")))
    with pytest.raises(MetarlError, match="library must name two experts or more"):
        agent_of(replace(TINY, library=(LEFT,)))
    chosen = choose_experts(agent_of(ONE_EACH), [0, 1])
    with pytest.raises(MetarlError, match="Expected libraries with all of their experts"):
        join_libraries([chosen])


def test_libraries_with_other_settings_are_not_joined() -> None:
    with pytest.raises(MetarlError, match="Expected libraries of the same families and settings"):
        join_libraries([agent_of(ONE_EACH), agent_of(TINY)])
    with pytest.raises(MetarlError, match="Expected one library or more to join, but it is none"):
        join_libraries([])


def test_one_expert_alone_is_refused() -> None:
    with pytest.raises(MetarlError, match="Expected two experts or more, got one, as two-doors has one"):
        ONE_EACH.build(
            TwoDoors(), seed=0, device=torch.device("cpu"), sampling=SamplingConfig(meta_batch_size=2)
        )


def test_a_family_without_an_expert_is_refused() -> None:
    agent = agent_of(ONE_EACH)
    with pytest.raises(MetarlError, match="Expected training tasks of left, right, got 'doors'"):
        agent.training_actor([TRAIN[0]], agent_contract.rng())


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {**tensors, "expert7.log_std": torch.zeros(1)},
        lambda tensors: {**tensors, "log_std": torch.zeros(1)},
        lambda tensors: {name: value for name, value in tensors.items() if not name.startswith("expert1.")},
    ],
    ids=["another-expert", "of-nobody", "an-expert-less"],
)
def test_states_of_other_experts_are_refused_and_change_nothing(
    change: Callable[[Params], Params],
) -> None:
    agent, other = agent_of(ONE_EACH), agent_of(ONE_EACH, seed=1).state()
    before = agent.state()
    with pytest.raises(MetarlError):
        agent.load_state(other._replace(tensors=change(other.tensors)))
    assert agent_contract.same_state(agent.state(), before)


def test_experts_of_other_families_are_refused_and_older_states_are_not() -> None:
    agent = agent_of(ONE_EACH)
    state = agent.state()
    swapped = state._replace(values={**state.values, "families": [RIGHT, LEFT]})
    with pytest.raises(MetarlError, match="Expected experts of left, right, got those of right, left"):
        agent.load_state(swapped)
    agent.load_state(state._replace(values={"updates": state.values["updates"]}))
    assert agent_contract.same_state(agent.state(), state)


def agent_of(config: PolicyReuseConfig, seed: int = 0) -> PolicyReuse:
    """Return a new agent for the two families."""
    agent = config.build(
        LeftAndRight(), seed=seed, device=torch.device("cpu"), sampling=SamplingConfig(meta_batch_size=2)
    )
    assert isinstance(agent, PolicyReuse)
    return agent


def train(
    agent: PolicyReuse, suite: TwoDoors, tasks: Sequence[Task], rng: np.random.Generator | None = None
) -> None:
    """Take one meta-iteration."""
    own = rng or np.random.default_rng(0)
    meta_iteration(agent, suite.make_vector_env(64), tasks, episodes=4, horizon=suite.horizon, rng=own)


def rollout_earning(returns: list[list[float]]) -> Rollout:
    """Return a rollout of one step an episode with these returns, ``[M][K]``, that tells of no expert."""
    suite = LeftAndRight()
    agent = agent_of(ONE_EACH)
    tasks = suite.tasks("test")[: len(returns)]
    rollout = collect(
        suite.make_vector_env(16),
        tasks,
        agent.initial_actor(len(tasks), agent_contract.rng()),
        episodes=len(returns[0]),
        horizon=suite.horizon,
        rng=agent_contract.rng(),
    )
    rewards = torch.zeros_like(rollout.rewards)
    rewards[..., 0] = torch.tensor(returns)
    return replace(rollout, rewards=rewards, extras={})
