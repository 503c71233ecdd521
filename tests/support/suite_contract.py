"""What every suite promises: claims that each suite's tests run on its task distribution.

A claim about the environment takes one of ``SLOTS`` slots that other claims have used before, in whatever
state they left it. The distribution should have a short horizon.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from metarl.errors import MetarlError
from metarl.plugins.suite_check import check_suite
from metarl.rollouts import scripted
from metarl.rollouts.scripted import Trajectory, play, same, steps
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

SLOTS = 4


def draw_actions(suite: TaskDistribution, num_steps: int, seed: int = 0) -> Array:
    """Draw actions uniformly within the bounds, ``[T, SLOTS, A]``, or choices, ``[T, SLOTS]``."""
    return scripted.draw_actions(suite.action_space, num_steps, SLOTS, seed)


def play_alike(env: TaskVectorEnv, tasks: Sequence[Task], actions: Array, seed: int = 0) -> Trajectory:
    """Play tasks with one seed and the first slot's actions in every slot."""
    alike = np.repeat(actions[:, :1], env.num_envs, axis=1)
    return play(env, tasks, alike, seed=[seed] * env.num_envs)


def spread(suite: TaskDistribution) -> list[Task]:
    """Return a task a slot, of as many families as there are slots or families."""
    return suite.sample(SLOTS, np.random.default_rng(5))


def siblings(suite: TaskDistribution) -> tuple[Task, Task]:
    """Return two training tasks of one family."""
    first, *others = suite.tasks("train")
    return first, next(task for task in others if task.family == first.family)


def checker_finds_no_fault(suite: TaskDistribution) -> None:
    assert check_suite(suite) == []


def ids_are_unique(suite: TaskDistribution) -> None:
    ids = Counter(task.id for split in ("train", "test") for task in suite.tasks(split))
    assert set(ids.values()) == {1}


def listed_tasks_stay_the_same(suite: TaskDistribution) -> None:
    assert suite.tasks("train") == suite.tasks("train")
    assert suite.tasks("test") == suite.tasks("test")


def sampling_takes_any_number_evenly(suite: TaskDistribution) -> None:
    families = {task.family for task in suite.tasks("train")}
    for num_tasks in (1, 3, len(families), 2 * len(families), 2 * len(families) + 1):
        drawn = suite.sample(num_tasks, np.random.default_rng(0))
        counts = Counter(dict.fromkeys(families, 0))
        counts.update(task.family for task in drawn)
        assert len(drawn) == num_tasks
        assert set(counts) == families
        assert max(counts.values()) - min(counts.values()) <= 1


def sampling_is_a_function_of_the_generator(suite: TaskDistribution) -> None:
    one, again, other = (suite.sample(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def sampling_nothing_is_refused(suite: TaskDistribution) -> None:
    with pytest.raises(MetarlError):
        suite.sample(0, np.random.default_rng(0))


def held_out_tasks_are_sampled_from_the_test_list(suite: TaskDistribution) -> None:
    assert set(suite.sample(7, np.random.default_rng(0), "test")) <= set(suite.tasks("test"))


def tasks_survive_json_exactly(suite: TaskDistribution) -> None:
    for task in suite.sample(20, np.random.default_rng(0)):
        assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def unknown_engine_is_refused(suite: TaskDistribution) -> None:
    with pytest.raises(MetarlError, match="engine"):
        suite.make_vector_env(SLOTS, engine="telepathy")


def reset_is_legal_before_set_tasks(suite: TaskDistribution) -> None:
    env = suite.make_vector_env(SLOTS)
    try:
        unset, _ = env.reset(seed=0)
        rewards = steps(env, draw_actions(suite, 2), unset).rewards
        assert np.all(rewards != 0)
    finally:
        env.close()


def results_do_not_depend_on_the_number_of_workers(suite: TaskDistribution) -> None:
    actions = draw_actions(suite, suite.horizon)
    trajectories = []
    for workers in (1, 3):
        env = suite.make_vector_env(SLOTS, num_workers=workers)
        try:
            trajectories.append(play(env, spread(suite), actions))
        finally:
            env.close()
    assert same(*trajectories)


def spaces_are_the_suites(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    assert env.num_envs == SLOTS
    assert env.single_observation_space == suite.observation_space
    assert env.single_action_space == suite.action_space
    assert env.observation_space.shape == (SLOTS, *suite.observation_space.shape)
    assert env.action_space.shape == (SLOTS, *suite.action_space.shape)


def observations_are_finite_and_within_their_space(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    trajectory = play(env, spread(suite), draw_actions(suite, suite.horizon))
    assert np.isfinite(trajectory.observations).all()
    assert np.isfinite(trajectory.rewards).all()
    for observation in trajectory.observations.reshape(-1, *suite.observation_space.shape):
        assert suite.observation_space.contains(observation)


def types_are_those_of_the_contract(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    env.set_tasks(spread(suite))
    env.reset(seed=0)
    observations, rewards, terminated, truncated, infos = env.step(draw_actions(suite, 1)[0])
    assert (observations.dtype, rewards.dtype) == (suite.observation_space.dtype, np.float64)
    flags = [terminated, truncated, *([infos["success"]] if suite.reports_success else [])]
    assert [(flag.dtype, flag.shape) for flag in flags] == [(np.bool_, (SLOTS,))] * len(flags)


def episodes_repeat_bit_for_bit(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    before = play(env, tasks, actions, seed=3)
    play(env, tasks[::-1], draw_actions(suite, 2, seed=9), seed=4)
    assert same(play(env, tasks, actions, seed=3), before)


def used_environment_equals_a_fresh_one(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    fresh = suite.make_vector_env(SLOTS)
    try:
        assert same(play(env, tasks, actions), play(fresh, tasks, actions))
    finally:
        fresh.close()


def actions_have_an_effect(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    one, other = (play(env, spread(suite), draw_actions(suite, 3, seed=seed)) for seed in (0, 1))
    for index in range(SLOTS):
        assert not np.array_equal(one.observations[-1, index], other.observations[-1, index])


def tasks_differ_in_effect(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    trajectory = play_alike(env, siblings(suite), draw_actions(suite, suite.horizon))
    assert not same(trajectory.slot(0), trajectory.slot(1))


def slots_of_one_task_and_seed_agree(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    trajectory = play_alike(env, [suite.tasks("test")[0]] * SLOTS, draw_actions(suite, suite.horizon), seed=3)
    assert all(same(trajectory.slot(0), trajectory.slot(index)) for index in range(1, SLOTS))


def reset_is_legal_in_the_middle(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    whole = play(env, tasks, actions)
    play(env, tasks, actions[: suite.horizon // 2])
    first, _ = env.reset(seed=0)
    assert same(steps(env, actions, first), whole)


def tasks_wait_for_the_next_reset(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    whole = play(env, tasks, actions)
    begun = play(env, tasks, actions[:2])
    env.set_tasks(suite.sample(SLOTS, np.random.default_rng(6), "test"))
    rest = steps(env, actions[2:], begun.observations[-1])
    assert np.array_equal(np.concatenate([begun.rewards, rest.rewards]), whole.rewards)
    assert np.array_equal(rest.observations[-1], whole.observations[-1])


def masked_reset_leaves_other_slots_alone(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    whole = play(env, tasks, actions)
    begun = play(env, tasks, actions[:2])
    mask = np.arange(SLOTS) % 2 == 0
    first, _ = env.reset(seed=0, options={"reset_mask": mask})
    assert np.array_equal(first[~mask], begun.observations[-1][~mask])
    assert np.array_equal(first[mask], whole.observations[0][mask])
    rest = steps(env, actions[2:], first)
    assert np.array_equal(rest.observations[:, ~mask], whole.observations[2:, ~mask])
    assert np.array_equal(rest.rewards[:, ~mask], whole.rewards[2:, ~mask])
    assert np.array_equal(rest.truncated[:, ~mask], whole.truncated[2:, ~mask])


def slots_without_a_task_stay_idle(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    whole = play(env, tasks, actions)
    fewer = play(env, tasks[:2], actions)
    assert np.array_equal(fewer.rewards[:, :2], whole.rewards[:, :2])
    _assert_idle(fewer, slice(2, None))


def truncation_comes_at_the_horizon_and_then_nothing(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    trajectory = play(env, spread(suite), draw_actions(suite, suite.horizon + 2))
    running = ~np.logical_or.accumulate(trajectory.terminated)
    at_horizon = np.arange(1, suite.horizon + 3) == suite.horizon
    assert np.array_equal(trajectory.truncated, running & at_horizon[:, None])
    assert trajectory.truncated.any()
    after = Trajectory(
        trajectory.observations[suite.horizon :], *(x[suite.horizon :] for x in trajectory[1:])
    )
    _assert_idle(after, slice(None))


def returned_arrays_are_the_callers(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    whole = play(env, tasks, actions)
    env.set_tasks(tasks)
    observation, _ = env.reset(seed=0)
    for index, action in enumerate(actions):
        observation[:] = np.pi
        observation, reward, terminated, truncated, _ = env.step(action)
        assert np.array_equal(observation, whole.observations[index + 1])
        assert np.array_equal(reward, whole.rewards[index])
        reward[:], terminated[:], truncated[:] = np.pi, True, True


def wrong_tasks_are_refused(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    task = suite.tasks("train")[0]
    for tasks in ([], [task] * (SLOTS + 1), [Task("no-such-family", task.parameters, "x")]):
        with pytest.raises(MetarlError):
            env.set_tasks(tasks)


def refused_tasks_change_nothing(suite: TaskDistribution, env: TaskVectorEnv) -> None:
    tasks, actions = spread(suite), draw_actions(suite, suite.horizon)
    whole = play(env, tasks, actions)
    with pytest.raises(MetarlError):
        env.set_tasks([])
    first, _ = env.reset(seed=0)
    assert same(steps(env, actions, first), whole)


def _assert_idle(trajectory: Trajectory, slots: slice) -> None:
    assert np.array_equal(
        trajectory.observations[:, slots],
        np.broadcast_to(trajectory.observations[:1, slots], trajectory.observations[:, slots].shape),
    )
    assert not trajectory.rewards[:, slots].any()
    assert not trajectory.terminated[:, slots].any()
    assert not trajectory.truncated[:, slots].any()
    assert not trajectory.success[:, slots].any()


SUITE_CLAIMS: tuple[Callable[[TaskDistribution], None], ...] = (
    checker_finds_no_fault,
    ids_are_unique,
    listed_tasks_stay_the_same,
    sampling_takes_any_number_evenly,
    sampling_is_a_function_of_the_generator,
    sampling_nothing_is_refused,
    held_out_tasks_are_sampled_from_the_test_list,
    tasks_survive_json_exactly,
    unknown_engine_is_refused,
    reset_is_legal_before_set_tasks,
    results_do_not_depend_on_the_number_of_workers,
)
ENV_CLAIMS: tuple[Callable[[TaskDistribution, TaskVectorEnv], None], ...] = (
    spaces_are_the_suites,
    observations_are_finite_and_within_their_space,
    types_are_those_of_the_contract,
    episodes_repeat_bit_for_bit,
    used_environment_equals_a_fresh_one,
    actions_have_an_effect,
    tasks_differ_in_effect,
    slots_of_one_task_and_seed_agree,
    reset_is_legal_in_the_middle,
    tasks_wait_for_the_next_reset,
    masked_reset_leaves_other_slots_alone,
    slots_without_a_task_stay_idle,
    truncation_comes_at_the_horizon_and_then_nothing,
    returned_arrays_are_the_callers,
    wrong_tasks_are_refused,
    refused_tasks_change_nothing,
)
