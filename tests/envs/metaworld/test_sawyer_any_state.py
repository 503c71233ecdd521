"""States that no rollout may meet: rewards agree with Meta-World's in every one of their cases."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from numpy.typing import NDArray

from metarl.envs.engines.arrays import vector
from metarl.envs.engines.threads.features import read
from metarl.envs.metaworld.rewards.catalog import (
    ORIGINAL_TASKS,
    REWARD_VERSIONS,
    TASKS,
    RewardVersion,
    tasks_with,
)
from metarl.envs.metaworld.rewards.constants import constants_of
from metarl.envs.metaworld.rewards.features import HAND, Feature, body, site
from metarl.envs.metaworld.rewards.observation import frame, observe
from metarl.envs.metaworld.rewards.task import SawyerTask, evaluate
from support.sawyer_reference import INFOS, make

Numbers = NDArray[np.float64]
SAMPLES = 60


class Scatter:
    """Puts what a task reads at random places near each other."""

    def __init__(self, env: SawyerXYZEnv, task: SawyerTask, seed: int) -> None:
        self.model: mujoco.MjModel = env.model
        self.data: mujoco.MjData = env.data
        self.task = task
        self.rng = np.random.default_rng(seed)
        self.anchors = [np.array(point) for point in (env._target_pos, env.obj_init_pos, env.init_tcp)]

    def place(self, feature: Feature, position: Numbers) -> None:
        """Move a body, site or geom."""
        getattr(self.data, feature.of)(feature.name).xpos[:] = position

    def near(self, point: Numbers) -> Numbers:
        """Return a point 3 mm to 30 cm away."""
        return point + self.rng.normal(0, self.rng.choice([0.003, 0.01, 0.03, 0.1, 0.3]), 3)

    def objects(self) -> None:
        """Move everything but the hand: near a place that matters, or between two things that are read."""
        centre = self.near(self.anchors[self.rng.integers(3)])
        places = [f for f in self.task.features if f.field == "xpos" and f not in HAND]
        corners = [read(self.model, self.data, (f,)) for f in places]
        for feature in places:
            first, second = (corners[i] for i in self.rng.choice(len(corners), 2, replace=len(corners) < 2))
            inside = first + self.rng.random(3) * (second - first)
            between = len(corners) > 1 and self.rng.random() < 0.3
            self.place(feature, inside if between else self.near(centre))
        for feature in self.task.features:
            if feature.field == "qpos":
                self.data.joint(feature.name).qpos[:] = self.rng.uniform(-2, 2)

    def hand(self, at: Numbers) -> None:
        """Move the hand near a point, and its fingers around it or beside."""
        tcp, open_by = self.near(at), self.rng.uniform(0, 0.055)
        for name in ("rightEndEffector", "leftEndEffector"):
            self.place(site(name), tcp)
        self.place(body("hand"), self.near(tcp))
        for sign, pad, claw in ((1, "leftpad", "leftclaw"), (-1, "rightpad", "rightclaw")):
            aside = np.array([0, sign * open_by, 0])
            self.place(body(claw), tcp + aside)
            self.place(body(pad), tcp + aside * self.rng.choice([1, 1, 0.5, -1]))


def _frame(env: SawyerXYZEnv, task: SawyerTask) -> Numbers:
    return np.asarray(frame(task, vector(read(env.model, env.data, task.features)[:, None])))[:, 0]


def _sample(
    env: SawyerXYZEnv, task: SawyerTask, scatter: Scatter
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers] | None:
    """Return one state and what Meta-World says of it; None where Meta-World refuses to say anything."""
    rng = scatter.rng
    scatter.objects()
    scatter.hand(_frame(env, task)[4:7])
    features = read(env.model, env.data, task.features)
    if task.grip:
        touching = bool(rng.random() < 0.5)
        features[-1] = touching
        env.touching_object = lambda object_geom_id: touching  # type: ignore[method-assign]  # cannot be placed
    seen = vector(_frame(env, task)[:, None])
    obs = np.asarray(observe(seen, seen))[:, 0]
    action = rng.uniform([-1, -1, -1, -0.5], [1, 1, 1, 1.2])  # in float32, Meta-World would round the reward
    if task.latch:
        env._target_to_obj_init = rng.uniform(0.1, 0.4)  # type: ignore[attr-defined]  # of bin-picking
    try:
        reward, info = env.evaluate_state(obs, action)
    except (ValueError, AssertionError):
        return None
    said: Numbers = np.array([float(reward), *(float(info[key]) for key in INFOS)])
    return features, obs, action, constants_of(env, task), said


@pytest.mark.parametrize("version", REWARD_VERSIONS)
@pytest.mark.parametrize("name", sorted(TASKS))
def test_reward_of_any_state_is_meta_worlds(name: str, version: RewardVersion) -> None:
    task, env = tasks_with(version)[name], make(name, seed=5, reward=version)
    env.reset()
    for target in env._target_site_config:  # as a step does; the original rewards insist on it
        env._set_pos_site(*target)
    scatter = Scatter(env, task, seed=len(name))
    samples = [sample for _ in range(SAMPLES) if (sample := _sample(env, task, scatter))]
    env.close()  # type: ignore[no-untyped-call]  # Gymnasium leaves it so
    assert len(samples) > 0.9 * SAMPLES
    *asked, said = (np.stack(column, axis=-1) for column in zip(*samples, strict=True))
    features, obs, action, constants = (vector(column) for column in asked)

    ours = evaluate(task, features, action, constants, obs)

    mine = np.array([ours.reward, *ours.infos().values()])
    np.testing.assert_allclose(mine, said, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["stick-push-v3", "stick-pull-v3", "coffee-pull-v3"])
def test_original_reward_is_meta_worlds_even_where_its_quirks_lead_nowhere(name: str) -> None:
    """The sticks' thermos is read from the wrong numbers, the mug's distance from the world's origin."""
    task, env = ORIGINAL_TASKS[name], make(name, seed=5, reward="v1")
    env.reset()
    for target in env._target_site_config:
        env._set_pos_site(*target)
    env.init_tcp[2] = 0.01
    scatter, constants = Scatter(env, task, seed=3), constants_of(env, task)
    rng, columns = scatter.rng, []
    for _ in range(SAMPLES):
        obs = np.zeros(39)
        spot = rng.uniform(0.03, 0.2) if "stick" in name else 0.0
        obs[4:9] = np.array([spot, 0.6 if "stick" in name else 0.0, spot, 0.6, spot]) + rng.normal(
            0, 0.015, 5
        )
        scatter.hand(obs[4:7])
        action = rng.uniform(-1, 1, 4)
        reward, _ = env.evaluate_state(obs, action)
        columns.append((read(env.model, env.data, task.features), action, obs, np.array(float(reward))))
    env.close()  # type: ignore[no-untyped-call]  # Gymnasium leaves it so
    features, action, obs, said = (np.stack(column, axis=-1) for column in zip(*columns, strict=True))
    fixed = np.repeat(constants[:, None], SAMPLES, axis=1)

    ours = evaluate(task, vector(features), vector(action), vector(fixed), vector(obs))

    np.testing.assert_allclose(np.asarray(ours.reward), said, rtol=0, atol=1e-10)
    assert len(np.unique(said > 500)) == (1 if name == "coffee-pull-v3" else 2)
