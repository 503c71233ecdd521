"""Collecting: every field of a rollout by hand, in a scripted world."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError, NonFiniteError
from metarl.meta_learner import Action, Actor, Inputs
from metarl.rollouts.collect import collect
from metarl.system.ranks import Ranks
from metarl.system.sharing import sharing
from metarl.types import Params, Rollout, Task
from metarl.vector_env import Array
from support import tiny
from support.ranks import on_ranks

# Two tasks of two episodes. The first starts at 0 and ends from height 3 up; the second starts at 10 and
# never ends before the horizon.
TASKS = [tiny.climb(0.0, summit=3.0, flag=2.0), tiny.climb(10.0, flag=14.0)]
SCRIPT = [[[1.0, 1.0, 1.0, 9.0], [3.0, 9.0, 9.0, 9.0]], [[1.0, 1.0, 1.0, 1.0], [-1.0, 2.0, 0.5, 0.5]]]


def run(env: tiny.ClimbEnv, *, tasks: list[Task] = TASKS, seed: int = 0, horizon: int = 4) -> Rollout:
    actor = tiny.ScriptedActor(SCRIPT)
    return collect(env, tasks, actor, episodes=2, horizon=horizon, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def rollout() -> Rollout:
    return run(tiny.ClimbEnv(5, horizon=4))  # a slot more than is needed


def test_mask_is_true_while_an_episode_runs(rollout: Rollout) -> None:
    assert rollout.mask.int().tolist() == [[[1, 1, 1, 0], [1, 0, 0, 0]], [[1, 1, 1, 1], [1, 1, 1, 1]]]
    assert rollout.num_steps == 12


def test_observations_are_what_was_seen_before_each_step(rollout: Rollout) -> None:
    assert rollout.observations.tolist() == [
        [[[0, 0], [1, 1], [2, 2], [0, 0]], [[0, 0], [0, 0], [0, 0], [0, 0]]],
        [[[10, 0], [11, 1], [12, 2], [13, 3]], [[10, 0], [9, 1], [11, 2], [11.5, 3]]],
    ]


def test_actions_are_what_was_drawn(rollout: Rollout) -> None:
    assert rollout.actions.squeeze(-1).tolist() == [
        [[1, 1, 1, 0], [3, 0, 0, 0]],
        [[1, 1, 1, 1], [-1, 2, 0.5, 0.5]],
    ]


def test_log_probs_are_the_actors(rollout: Rollout) -> None:
    assert rollout.log_probs.tolist() == [[[0, -1, -2, 0], [0] * 4], [[0, -1, -2, -3]] * 2]


def test_rewards_are_what_followed_each_step(rollout: Rollout) -> None:
    assert rollout.rewards.tolist() == [
        [[1, 2, 3, 0], [3, 0, 0, 0]],
        [[11, 12, 13, 14], [9, 11, 11.5, 12]],
    ]
    assert rollout.episode_returns.tolist() == [[6, 3], [50, 43.5]]


def test_two_endings_are_kept_apart(rollout: Rollout) -> None:
    nothing = [0, 0, 0, 0]
    assert rollout.terminated.int().tolist() == [[[0, 0, 1, 0], [1, 0, 0, 0]], [nothing, nothing]]
    assert rollout.truncated.int().tolist() == [[nothing, nothing], [[0, 0, 0, 1], [0, 0, 0, 1]]]


def test_final_observations_follow_each_episodes_last_step(rollout: Rollout) -> None:
    assert rollout.final_observations.tolist() == [[[3, 3], [3, 1]], [[14, 4], [12, 4]]]


def test_success_at_any_step_counts(rollout: Rollout) -> None:
    # The first passes its flag at 2 and leaves it; the second jumps over it; the third ends on it.
    assert rollout.success is not None
    assert rollout.success.tolist() == [[True, False], [True, False]]


def test_success_is_none_where_the_environment_does_not_say() -> None:
    assert run(tiny.ClimbEnv(4, horizon=4, says_success=False)).success is None


def test_policy_sees_the_task_axis_first_and_then_the_episodes() -> None:
    actor = tiny.ScriptedActor(SCRIPT)
    collect(tiny.ClimbEnv(4, horizon=4), TASKS, actor, episodes=2, horizon=4, rng=np.random.default_rng(0))
    assert actor.seen[1].tolist() == [[[1, 1], [3, 1]], [[11, 1], [9, 1]]]
    assert {observation.shape for observation in actor.seen} == {(2, 2, 2)}


def test_numbers_are_single_precision_flags_are_bool_and_counts_whole(rollout: Rollout) -> None:
    flags = {"mask", "terminated", "truncated", "success", "success_at_first_step"}
    for name, value in rollout.tensors().items():
        counts = torch.int64 if name == "success_streak" else torch.float32
        assert value.dtype == (torch.bool if name in flags else counts)


def test_episodes_cut_before_the_environments_horizon_are_not_terminated() -> None:
    rollout = run(tiny.ClimbEnv(4, horizon=100), horizon=3)
    assert not rollout.terminated[1].any()
    assert not rollout.truncated.any()
    assert rollout.final_observations[1, 0].tolist() == [13, 3]


def test_collecting_stops_when_every_episode_is_over() -> None:
    env = tiny.ClimbEnv(4, horizon=100)
    rollout = run(env, tasks=[tiny.climb(0.0, summit=3.0), tiny.climb(10.0, summit=11.0)])
    assert env.steps_taken == 3
    assert rollout.mask.shape == (2, 2, 4)


def test_too_few_slots_are_refused() -> None:
    with pytest.raises(MetarlError, match="2 tasks x 2 episodes need 4 slots; there are 3"):
        run(tiny.ClimbEnv(3, horizon=4))


@pytest.mark.parametrize(("quantity", "step"), [("observation", 2), ("reward", 2)])
def test_number_that_is_not_finite_is_named_by_task_and_step(quantity: str, step: int) -> None:
    env = tiny.ClimbEnv(4, horizon=4)
    env.poison = (quantity, 1, 2)
    with pytest.raises(
        NonFiniteError, match=rf"The {quantity} of task 'climb-10.0.*' .climb. at step {step} is"
    ):
        run(env)


@pytest.mark.parametrize(("part", "what"), [(0, "observation"), (1, "reward")])
def test_number_beyond_float32_is_told_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, part: int, what: str
) -> None:
    step = tiny.ClimbEnv.step

    def enlarged(env: tiny.ClimbEnv, actions: tiny.Array) -> tuple[object, ...]:
        returned = list(step(env, actions))
        returned[part] = np.asarray(returned[part], np.float64)
        returned[part][2] = 1e39
        return tuple(returned)

    monkeypatch.setattr(tiny.ClimbEnv, "step", enlarged)
    with pytest.raises(NonFiniteError, match=rf"The {what} of task 'climb-10.0.* at step 1 is too large for"):
        run(tiny.ClimbEnv(4, horizon=4))


@pytest.mark.parametrize(("reward", "taken"), [(2e17, True), (3e17, False), (1e38, False)])
def test_return_that_agents_cannot_square_is_told_with_its_task(
    monkeypatch: pytest.MonkeyPatch, reward: float, taken: bool
) -> None:
    step = tiny.ClimbEnv.step

    def enlarged(env: tiny.ClimbEnv, actions: tiny.Array) -> tuple[object, ...]:
        seen, rewards, *rest = step(env, actions)
        return (seen, np.where(np.arange(4) == 3, -reward, rewards), *rest)  # of the second task, for 4 steps

    monkeypatch.setattr(tiny.ClimbEnv, "step", enlarged)
    if taken:
        assert run(tiny.ClimbEnv(4, horizon=4)).rewards[1, 1].sum() == pytest.approx(-4 * reward)
        return
    with pytest.raises(NonFiniteError, match=r"The return of task 'climb-10.0.*' .climb. is too large for"):
        run(tiny.ClimbEnv(4, horizon=4))


def test_action_that_is_not_finite_is_named_by_task_and_step() -> None:
    script = np.array(SCRIPT)
    script[1, 0, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"The action of task 'climb-10.0.*' .climb. at step 2 is"):
        collect(
            tiny.ClimbEnv(4, horizon=4),
            TASKS,
            tiny.ScriptedActor(script.tolist()),
            episodes=2,
            horizon=4,
            rng=np.random.default_rng(0),
        )


def test_last_observation_that_is_not_finite_is_found() -> None:
    env = tiny.ClimbEnv(4, horizon=4)
    env.poison = ("observation", 3, 0)
    with pytest.raises(NonFiniteError, match=r"The observation of task 'climb-0.0.*' .climb. at step 4 is"):
        run(env)


def test_step_is_the_true_one_when_all_episodes_end_early() -> None:
    env = tiny.ClimbEnv(4, horizon=100)
    env.poison = ("observation", 2, 0)
    with pytest.raises(NonFiniteError, match="at step 3 is"):
        run(env, tasks=[tiny.climb(0.0, summit=3.0), tiny.climb(10.0, summit=11.0)])


def noisy(seed: int, actor_noise: float = 0.3) -> Rollout:
    return collect(
        tiny.ClimbEnv(4, horizon=4, noise=1.0),
        TASKS,
        tiny.StrideActor(torch.ones(2), actor_noise),
        episodes=2,
        horizon=4,
        rng=np.random.default_rng(seed),
    )


def test_rollout_is_a_function_of_the_generator() -> None:
    one, again, other = noisy(0), noisy(0), noisy(1)
    assert torch.equal(one.observations, again.observations)
    assert torch.equal(one.actions, again.actions)
    assert not torch.equal(one.observations, other.observations)
    assert not torch.equal(one.actions, other.actions)


def test_episodes_of_a_task_are_seeded_apart() -> None:
    starts = noisy(0, actor_noise=0.0).observations[:, :, 0, 0]
    assert len(set(starts.flatten().tolist())) == 4


def test_no_generator_is_given_when_the_likeliest_actions_are_wanted() -> None:
    for deterministic in (True, False):
        actor = tiny.ScriptedActor(SCRIPT)
        collect(
            tiny.ClimbEnv(4, horizon=4),
            TASKS,
            actor,
            episodes=2,
            horizon=4,
            rng=np.random.default_rng(0),
            deterministic=deterministic,
        )
        assert all((generator is None) == deterministic for generator in actor.generators)


def test_on_step_counts_the_running_episodes_and_may_stop() -> None:
    counts: list[int] = []

    def on_step(running: int) -> None:
        counts.append(running)
        if len(counts) == 3:
            raise KeyboardInterrupt

    env = tiny.ClimbEnv(4, horizon=4)
    with pytest.raises(KeyboardInterrupt):
        collect(
            env,
            TASKS,
            tiny.ScriptedActor(SCRIPT),
            episodes=2,
            horizon=4,
            rng=np.random.default_rng(0),
            on_step=on_step,
        )
    assert counts == [4, 3, 3]
    assert env.steps_taken == 2


def test_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(tiny.ClimbEnv(4, horizon=4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_slots_without_a_task_change_nothing() -> None:
    suite = PointTasks(horizon=5)
    tasks = suite.tasks("test")[:2]
    actor = tiny.StrideActor(torch.ones(2) * 0.05, 0.1)

    def collected(slots: int) -> Rollout:
        return collect(
            suite.make_vector_env(slots),
            tasks,
            WideActor(actor),
            episodes=2,
            horizon=5,
            rng=np.random.default_rng(0),
        )

    assert torch.equal(collected(4).rewards, collected(9).rewards)


class WideActor:
    """Takes the same action along both axes of the plane."""

    def __init__(self, actor: tiny.StrideActor) -> None:
        self.actor, self.device = actor, actor.device

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        observations = inputs.observations
        action, memory = self.actor.act(inputs, memory, generator)
        return tiny.Action(action.actions.expand(*observations.shape[:2], 2), action.log_probs), memory


def test_rollout_moves_whole() -> None:
    moved = run(tiny.ClimbEnv(4, horizon=4, says_success=False)).to("meta")
    assert {value.device.type for value in moved.tensors().values()} == {"meta"}
    assert moved.success is None


ACTIONS, LOG_PROBS, MEMORY = torch.zeros(2, 2, 1), torch.zeros(2, 2), {"seen": torch.zeros(2, 2, 3)}
MISTAKES = [
    (Action(ACTIONS, LOG_PROBS), "return an Action and the new memory, got an Action alone"),
    (None, "return an Action and the new memory, got None"),
    ((ACTIONS, MEMORY), "return an Action first, got a float32 tensor [2, 2, 1]"),
    ((Action(ACTIONS, LOG_PROBS), {}), "the new memory as a dict of 'seen', got an empty dict"),
    ((Action(ACTIONS, LOG_PROBS), None), "the new memory as a dict of 'seen', got None"),
    ((Action(ACTIONS.view(4, 1), LOG_PROBS), MEMORY), "actions as a float32 tensor [2, 2, 1], got a float32"),
    (
        (Action(ACTIONS, ACTIONS), MEMORY),
        "log_probs as a float32 tensor [2, 2], got a float32",
    ),
    ((Action(ACTIONS.double(), LOG_PROBS), MEMORY), "float32 tensor [2, 2, 1], got a float64 tensor"),
    ((Action(ACTIONS.numpy(), LOG_PROBS), MEMORY), "a float32 tensor [2, 2, 1], got a ndarray"),
    (
        (Action(ACTIONS, LOG_PROBS.clone().requires_grad_()), MEMORY),
        "log_probs without a gradient",
    ),
    (
        (Action(ACTIONS, LOG_PROBS, {"value": torch.zeros(4)}), MEMORY),
        "extra 'value' as a tensor [2, 2, ...]",
    ),
    ((Action(ACTIONS, LOG_PROBS, [ACTIONS]), MEMORY), "return extras as a dict, got a list"),  # type: ignore[arg-type]  # the fault
    ((Action(ACTIONS, LOG_PROBS), {"seen": torch.zeros(4, 3)}), "'seen' as a float32 tensor [2, 2, 3], got"),
]


def collect_with(actor: Actor) -> None:
    env = tiny.ClimbEnv(4, horizon=4)
    collect(env, TASKS, actor, episodes=2, horizon=4, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("chosen", "sentence"), MISTAKES)
def test_what_act_returns_is_refused_unless_it_has_its_form(
    monkeypatch: pytest.MonkeyPatch, chosen: object, sentence: str
) -> None:
    monkeypatch.setattr(tiny.ScriptedActor, "initial_memory", lambda *_: MEMORY)
    monkeypatch.setattr(tiny.ScriptedActor, "act", lambda *_: chosen)
    with pytest.raises(MetarlError, match=f"^Expected act of ScriptedActor to .*{re.escape(sentence)}"):
        collect_with(tiny.ScriptedActor(SCRIPT))


@pytest.mark.parametrize(
    ("extras", "came"),
    [
        ([{}, {"value": LOG_PROBS}], "nothing at step 0 and as a float32 tensor [2, 2] at step 1"),
        ([{"value": LOG_PROBS}, {}], "a float32 tensor [2, 2] at step 0 and as nothing at step 1"),
        ([{"value": LOG_PROBS}, {"value": ACTIONS}], "and as a float32 tensor [2, 2, 1] at step 1"),
        ([{"value": LOG_PROBS}, {"value": LOG_PROBS.double()}], "and as a float64 tensor [2, 2] at step 1"),
    ],
)
def test_extras_are_refused_unless_they_are_the_same_at_each_step(
    monkeypatch: pytest.MonkeyPatch, extras: list[Params], came: str
) -> None:
    given = iter([*extras, *extras])
    chosen = Action(ACTIONS, LOG_PROBS)
    monkeypatch.setattr(
        tiny.ScriptedActor, "act", lambda _, __, memory, ___: (chosen._replace(extras=next(given)), memory)
    )
    with pytest.raises(
        MetarlError, match=f"the same extras at each step, got 'value' as .*{re.escape(came)}"
    ):
        collect_with(tiny.ScriptedActor(SCRIPT))


@pytest.mark.parametrize("memory", [None, {"seen": torch.zeros(4, 3)}, {1: torch.zeros(2, 2, 3)}])
def test_first_memory_is_refused_unless_it_has_its_form(
    monkeypatch: pytest.MonkeyPatch, memory: object
) -> None:
    monkeypatch.setattr(tiny.ScriptedActor, "initial_memory", lambda *_: memory)
    with pytest.raises(MetarlError, match="Expected initial_memory of ScriptedActor to return "):
        collect_with(tiny.ScriptedActor(SCRIPT))


@pytest.mark.parametrize(
    ("actor", "got"), [(None, "None"), ((tiny.ScriptedActor(SCRIPT), {}), "a tuple of 2")]
)
def test_what_is_no_policy_is_refused(actor: Actor, got: str) -> None:
    with pytest.raises(MetarlError, match=f"agent to return a policy, got {got}, which has no device"):
        collect_with(actor)


@pytest.mark.parametrize("device", ["meta", "nowhere", 7.5])
def test_device_without_a_generator_is_told(monkeypatch: pytest.MonkeyPatch, device: object) -> None:
    monkeypatch.setattr(tiny.ScriptedActor, "device", device)
    with pytest.raises(MetarlError, match=f"^Expected device of ScriptedActor to be .* got {device}.$"):
        collect_with(tiny.ScriptedActor(SCRIPT))


class SaysWhereSolved(tiny.ClimbEnv):
    """An environment that speaks of success only in steps that have some."""

    def step(self, actions: Array) -> tuple[Array, Array, tiny.Flags, tiny.Flags, dict[str, tiny.Flags]]:
        *returned, infos = super().step(actions)
        solved = infos["success"][: len(self.tasks)].any()
        return *returned, infos if solved else {}  # type: ignore[return-value]  # the star hides the kinds


def test_ranks_agree_on_success_that_only_some_of_them_see() -> None:
    tasks = [tiny.climb(0.0, flag=flag) for flag in (2.0, -5.0, 3.0)]

    def collected(ranks: Ranks | None) -> Params:
        with sharing(ranks, slots=6):
            actor, env = tiny.StrideAgent(noise=0.0).initial_actor(3), SaysWhereSolved(6, horizon=3)
            rng = np.random.default_rng(0)
            return collect(env, tasks, actor, episodes=2, horizon=3, rng=rng).tensors()

    alone = collected(None)
    assert alone["success"].tolist() == [[True, True], [False, False], [True, True]]
    assert "success_at_first_step" not in alone
    for found in on_ranks(2, collected):
        assert isinstance(found, dict)
        assert found.keys() == alone.keys()
        assert all(torch.equal(found[name], value) for name, value in alone.items())
