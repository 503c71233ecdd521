"""One code for NumPy and torch, for a step and for a rollout; its parts against other libraries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from metaworld.utils import reward_utils
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from metarl.envs.engines.arrays import Array, Vector, namespace, vector
from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, TASKS, RewardVersion, tasks_with
from metarl.envs.metaworld.rewards.observation import frame, observe, quaternion
from metarl.envs.metaworld.rewards.task import Outcome, evaluate, latch
from metarl.envs.metaworld.rewards.tolerance import between, close, gaussian, hamacher, prism
from support.sawyer_reference import Episode, frames_before, short

EVERY_TASK = pytest.mark.parametrize("name", sorted(TASKS))
BOTH_REWARDS = pytest.mark.parametrize("reward", REWARD_VERSIONS)
FEW = 20


def tensors(episode: Episode, dtype: torch.dtype | None = None) -> Episode:
    """Return the episode as tensors, in the precision it has unless given."""
    return Episode(*(vector(torch.as_tensor(value, dtype=dtype)) for value in vars(episode).values()))


def together(obs: Vector, said: Outcome) -> Vector:
    """Return all that we say in one array, ``[39 + 8, ..., worlds]``."""
    xp = namespace(obs)
    return xp.concatenate([obs, xp.stack([said.reward, *said.infos().values()])])


def at_once(name: str, episode: Episode, reward: RewardVersion = "v2") -> Vector:
    """Return all that we say of a rollout, from one call."""
    task, first = tasks_with(reward)[name], (slice(None), 0)
    frames = frame(task, episode.features)
    obs = observe(frames, frames_before(frames, episode.reset_frame))
    constants = latch(task, episode.features[first], episode.constants, obs[first])
    return together(obs, evaluate(task, episode.features, episode.actions, constants, obs))


def step_by_step(name: str, episode: Episode, reward: RewardVersion) -> NDArray[np.float64]:
    """Return all that we say of the first steps of a rollout, from a call for each."""
    task, before, constants, said = tasks_with(reward)[name], episode.reset_frame, episode.constants, []
    for t in range(FEW):
        features, action = (vector(np.asarray(x)[:, t].copy()) for x in (episode.features, episode.actions))
        now = frame(task, features)
        obs = observe(now, before)
        constants = latch(task, features, constants, obs) if t == 0 else constants
        said.append(np.asarray(together(obs, evaluate(task, features, action, constants, obs))))
        before = now
    return np.stack(said, axis=1)


def assert_close(ours: object, theirs: object, within: float) -> None:
    """Compare arrays of either library; numbers above 10 relative to that."""
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=within / 10, atol=within)


@BOTH_REWARDS
@EVERY_TASK
def test_torch_says_what_numpy_says(name: str, reward: RewardVersion) -> None:
    episode = short(name, reward)
    assert_close(at_once(name, tensors(episode), reward), at_once(name, episode, reward), within=1e-12)


@BOTH_REWARDS
@EVERY_TASK
def test_float32_tensors_stay_float32(name: str, reward: RewardVersion) -> None:
    said = at_once(name, tensors(short(name, reward), torch.float32), reward)
    assert isinstance(said, torch.Tensor)
    assert said.dtype == torch.float32
    assert bool(said.isfinite().all())


@BOTH_REWARDS
@EVERY_TASK
def test_rollout_at_once_says_what_each_step_says(name: str, reward: RewardVersion) -> None:
    whole = np.asarray(at_once(name, short(name, reward), reward))
    assert_close(whole[:, :FEW], step_by_step(name, short(name, reward), reward), within=1e-12)


@EVERY_TASK
def test_nothing_given_is_changed(name: str) -> None:
    before = [np.array(value) for value in vars(short(name)).values()]
    at_once(name, short(name))
    for ours, theirs in zip(vars(short(name)).values(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


X = np.linspace(-0.5, 1.5, 81)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize(("ours", "sigmoid"), [(close, "long_tail"), (gaussian, "gaussian")])
def test_closeness_is_dm_controls(
    margin: float, ours: Callable[[Array, float, Array], Array], sigmoid: reward_utils.SIGMOID_TYPE
) -> None:
    theirs = reward_utils.tolerance(abs(X), (0.0, 0.4), margin, sigmoid)
    assert_close(ours(vector(abs(X)), 0.4, vector(np.full_like(X, margin))), theirs, within=1e-15)


def test_betweenness_is_dm_controls() -> None:
    theirs = reward_utils.tolerance(X, (0.2, 0.9), 0.3, "long_tail")
    assert_close(between(vector(X), 0.2, 0.9, 0.3), theirs, within=1e-15)


def test_hamacher_product_is_meta_worlds() -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9)))
    theirs = [reward_utils.hamacher_product(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    assert_close(hamacher(vector(a), vector(b)), theirs, within=0)


def test_prism_is_meta_worlds() -> None:
    point, zero, one = np.random.default_rng(0).uniform(0, 1, (3, 3, 500))
    theirs = [reward_utils.rect_prism_tolerance(point[:, i], zero[:, i], one[:, i]) for i in range(500)]
    ours = prism(vector(point), vector(zero), vector(one))
    assert_close(ours, theirs, within=1e-15)
    assert 0 < (np.asarray(ours) < 1.0).sum() < 500


def test_quaternion_is_scipys_with_its_sign() -> None:
    matrices = Rotation.random(2000, random_state=1).as_matrix()
    ours = quaternion(vector(matrices.reshape(-1, 9).T))
    assert_close(ours, Rotation.from_matrix(matrices).as_quat().T, within=1e-15)
