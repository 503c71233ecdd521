"""Whole rollouts of Meta-World's own environments, said again by our functions in one call."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from numpy.typing import NDArray

from metarl.envs.engines.arrays import Vector, vector
from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, TASKS, RewardVersion, tasks_with
from metarl.envs.metaworld.rewards.observation import frame, observe, visible_goal
from metarl.envs.metaworld.rewards.task import Outcome, evaluate, latch
from support.sawyer_reference import (
    INFOS,
    KINDS,
    Episode,
    frames_before,
    record,
    record_versions,
    short,
)

EVERY_TASK = pytest.mark.parametrize("name", sorted(TASKS))
BOTH_REWARDS = pytest.mark.parametrize("reward", REWARD_VERSIONS)
ROUNDING = 1e-6
"""Meta-World rounds some rewards to the float32 of its actions; ours stay in double precision."""
SOME = [
    "basketball-v3",
    "bin-picking-v3",
    "pick-place-v3",
    "shelf-place-v3",
    "drawer-close-v3",
    "dial-turn-v3",
]


def observations(name: str, episode: Episode, goal: Vector | None = None) -> Vector:
    """Return ours for every step."""
    frames = frame(TASKS[name], episode.features)
    return observe(frames, frames_before(frames, episode.reset_frame), goal)


def at_start(steps: Vector) -> Vector:
    """Return the first step, ``[k, steps, worlds] -> [k, worlds]``."""
    return vector(np.asarray(steps)[:, 0])


def outcome(name: str, episode: Episode, reward: RewardVersion = "v2") -> Outcome:
    """Return ours for every step, in one call."""
    task = tasks_with(reward)[name]
    frames = frame(task, episode.features)
    obs = observe(frames, frames_before(frames, episode.reset_frame))
    constants = latch(task, at_start(episode.features), episode.constants, at_start(obs))
    return evaluate(task, episode.features, episode.actions, constants, obs)


def differences(name: str, episode: Episode, reward: RewardVersion = "v2") -> NDArray[np.float64]:
    """Return the largest difference in the reward and in each info value; of numbers above 1 the share."""
    ours = outcome(name, episode, reward)
    mine = np.array([ours.reward, *ours.infos().values()])
    theirs = np.concatenate([np.asarray(episode.rewards)[None], np.asarray(episode.infos)])
    return np.asarray((np.abs(mine - theirs) / np.maximum(np.abs(theirs), 1.0)).max(axis=(1, 2)))


def test_every_task_of_meta_world_is_here() -> None:
    assert set(TASKS) == set(ALL_V3_ENVIRONMENTS)


def test_infos_are_named_and_ordered_as_meta_world_names_them() -> None:
    assert tuple(outcome("push-v3", short("push-v3")).infos()) == INFOS


@EVERY_TASK
def test_observation_is_meta_worlds_bit_for_bit(name: str) -> None:
    episode = short(name)
    np.testing.assert_array_equal(np.asarray(observations(name, episode)), np.asarray(episode.observations))


@BOTH_REWARDS
@EVERY_TASK
def test_reward_and_infos_are_meta_worlds(name: str, reward: RewardVersion) -> None:
    assert differences(name, short(name, reward), reward).max() < ROUNDING


@BOTH_REWARDS
@EVERY_TASK
def test_scripted_rollout_is_not_trivial(name: str, reward: RewardVersion) -> None:
    rewards = np.asarray(short(name, reward).rewards)[:, KINDS.index("scripted")]
    assert rewards.max() - rewards.min() > 1e-3


@pytest.mark.parametrize("name", SOME)
def test_visible_goal_is_meta_worlds(name: str) -> None:
    episode = record(name, kinds=("random",), steps=5, goal_visible=True)
    goal = visible_goal(TASKS[name], episode.features, episode.constants)
    np.testing.assert_array_equal(
        np.asarray(observations(name, episode, goal)), np.asarray(episode.observations)
    )


@cache
def in_double_precision(name: str) -> dict[RewardVersion, Episode]:
    return record_versions(name, REWARD_VERSIONS, kinds=("noisy",), steps=90, single=False)


@BOTH_REWARDS
@pytest.mark.parametrize("name", SOME)
def test_float64_actions_are_rewarded_in_double_precision(name: str, reward: RewardVersion) -> None:
    assert differences(name, in_double_precision(name)[reward], reward).max() < 1e-12


@pytest.mark.slow
@BOTH_REWARDS
@EVERY_TASK
def test_full_episodes_of_three_goals_are_meta_worlds(name: str, reward: RewardVersion) -> None:
    episode = record(name, seeds=(0, 1, 2), steps=500, reward=reward)
    np.testing.assert_array_equal(np.asarray(observations(name, episode)), np.asarray(episode.observations))
    assert differences(name, episode, reward).max() < ROUNDING
