"""The locomotion families: the suite contract, rewards by hand and beside Gymnasium, ranges, both engines."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields

import numpy as np
import pytest

from metarl.config import SuiteConfig
from metarl.envs.engines.arrays import Array, vector
from metarl.envs.locomotion import rewards as rewards
from metarl.envs.locomotion.dynamics import DynamicsConfig, HopperRandParamsConfig, Walker2dRandParamsConfig
from metarl.envs.locomotion.env import GymnasiumFactory
from metarl.envs.locomotion.suite import (
    AntDirConfig,
    AntGoalConfig,
    AntVelConfig,
    HalfCheetahDirConfig,
    HalfCheetahVelConfig,
    HumanoidDirConfig,
    LocomotionConfig,
    Walker2dVelConfig,
)
from metarl.envs.locomotion.tasks import MujocoTasks
from metarl.errors import EngineError, MetarlError
from metarl.tasks import Split, TaskDistribution, check_disjoint
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv
from support import suite_contract
from support.locomotion import gymnasium_env

HORIZON = 6
SUITES: dict[str, SuiteConfig] = {
    "half-cheetah-dir": HalfCheetahDirConfig(horizon=HORIZON),
    "half-cheetah-vel": HalfCheetahVelConfig(horizon=HORIZON),
    "ant-dir": AntDirConfig(horizon=HORIZON),
    "ant-dir-any": AntDirConfig(horizon=HORIZON, directions="any"),
    "ant-goal": AntGoalConfig(horizon=HORIZON, test_range="out"),
    "ant-vel": AntVelConfig(horizon=HORIZON),
    "humanoid-dir": HumanoidDirConfig(horizon=HORIZON, test_range="out"),
    "walker2d-vel": Walker2dVelConfig(horizon=HORIZON),
    "hopper-rand-params": HopperRandParamsConfig(horizon=HORIZON),
    "walker2d-rand-params": Walker2dRandParamsConfig(horizon=HORIZON, test_range="out"),
    "dynamics": DynamicsConfig(horizon=HORIZON),
}
LOCOMOTION = {name: config for name, config in SUITES.items() if isinstance(config, LocomotionConfig)}


def built(config: SuiteConfig) -> MujocoTasks:
    suite = config.build()
    assert isinstance(suite, MujocoTasks)
    return suite


@pytest.fixture(scope="module", params=list(SUITES))
def suite(request: pytest.FixtureRequest) -> MujocoTasks:
    return built(SUITES[request.param])


@pytest.fixture(scope="module")
def env(suite: MujocoTasks) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


@pytest.mark.parametrize("claim", suite_contract.SUITE_CLAIMS, ids=lambda claim: claim.__name__)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: MujocoTasks) -> None:
    claim(suite)


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: MujocoTasks, env: TaskVectorEnv
) -> None:
    claim(suite, env)


def infos(**values: float) -> dict[str, Array]:
    return {name: vector(np.array([value])) for name, value in values.items()}


COSTS = {"reward_ctrl": -0.25, "reward_contact": -0.125}


@pytest.mark.parametrize(
    ("reward", "given", "parameters", "expected"),
    [
        (rewards.half_cheetah_dir, infos(x_velocity=3.0, reward_ctrl=-0.25), (-1.0,), -3.25),
        (rewards.half_cheetah_vel, infos(x_velocity=3.0, reward_ctrl=-0.25), (1.0,), -2.25),
        # 0.6 * 2 - 0.8 * 0.5 + 1 - 0.375
        (
            rewards.ant_dir,
            infos(x_velocity=2.0, y_velocity=-0.5, reward_survive=1.0, **COSTS),
            (0.6, 0.8),
            1.425,
        ),
        # -|1 - 3| - |2 - (-1)| - 0.375
        (rewards.ant_goal, infos(x_position=1.0, y_position=2.0, **COSTS), (3.0, -1.0), -5.375),
        # 1 - |2 - 0.5| + 0.05 - 0.375
        (rewards.ant_vel, infos(x_velocity=2.0, reward_survive=0.05, **COSTS), (0.5,), -0.825),
        # 1.25 * (-1 * 2 + 0 * 7) + 5 - 0.375
        (
            rewards.humanoid_dir,
            infos(x_velocity=2.0, y_velocity=7.0, reward_survive=5.0, **COSTS),
            (-1.0, 0.0),
            2.125,
        ),
        # 15 - |2 - 8| - 0.25
        (
            rewards.walker2d_vel,
            infos(x_velocity=2.0, reward_survive=15.0, reward_ctrl=-0.25),
            (8.0,),
            8.75,
        ),
    ],
)
def test_reward_is_the_papers_by_hand(
    reward: Callable[[dict[str, Array], Array], Array],
    given: dict[str, Array],
    parameters: tuple[float, ...],
    expected: float,
) -> None:
    paid = reward(given, vector(np.array(parameters)[:, None]))
    np.testing.assert_allclose(np.asarray(paid), [expected], rtol=1e-15)


def published(name: str, info: Mapping[str, float], action: np.ndarray, goal: tuple[float, ...]) -> float:
    """Return a step's reward by the formula in the papers' code, from what Gymnasium's own step tells."""
    squares = float(np.square(action.astype(np.float64)).sum())
    speed = info["x_velocity"]
    contact = info.get("reward_contact", 0.0)
    along = goal[0] * speed + (goal[1] * info["y_velocity"] if len(goal) > 1 else 0.0)
    if name == "half-cheetah-dir":
        return goal[0] * speed - 0.5 * 0.1 * squares
    if name == "half-cheetah-vel":
        return -abs(speed - goal[0]) - 0.5 * 0.1 * squares
    if name.startswith("ant-dir"):
        return along - 0.5 * squares + contact + 1.0
    if name == "ant-goal":
        away = abs(info["x_position"] - goal[0]) + abs(info["y_position"] - goal[1])
        return -away - 0.1 * squares + contact
    if name == "ant-vel":
        return -abs(speed - goal[0]) + 1.0 - 0.5 * 1e-2 * squares + contact + 0.05
    if name == "humanoid-dir":
        displacement = along * 0.015  # of a step of five times 0.003 s
        return 0.25 * displacement / 0.003 - 0.1 * squares + contact + 5.0
    assert name == "walker2d-vel"
    return -abs(speed - goal[0]) + 15.0 - 1e-3 * squares


@pytest.mark.parametrize("name", list(LOCOMOTION))
def test_steps_are_gymnasiums_and_pay_what_the_papers_code_pays(name: str) -> None:
    suite = built(LOCOMOTION[name])
    reference = gymnasium_env(suite.family.robot, suite.family.options)
    env = suite.make_vector_env(2, num_workers=1)
    tasks = suite.sample(2, np.random.default_rng(3))
    env.set_tasks(tasks)
    observations, _ = env.reset(seed=[7, 8])
    np.testing.assert_array_equal(observations[1], reference.reset(seed=8)[0])
    for action in suite_contract.draw_actions(suite, HORIZON):
        observations, paid, terminated, _, _ = env.step(action[:2])
        observation, _, ended, _, info = reference.step(action[1])
        np.testing.assert_array_equal(observations[1], observation)
        assert terminated[1] == ended
        if ended:
            break
        expected = published(name, info, action[1], tasks[1].parameters)
        assert paid[1] == pytest.approx(expected, rel=1e-6, abs=1e-6)  # costs of float32 actions are float32
    env.close()


@pytest.mark.parametrize(
    "name", ["half-cheetah-dir", "ant-goal", "humanoid-dir", "walker2d-vel", "hopper-rand-params"]
)
def test_both_engines_give_the_same_episodes_bit_for_bit(name: str) -> None:
    suite = built(SUITES[name])
    actions = suite_contract.draw_actions(suite, HORIZON)
    threads, processes = (
        suite.make_vector_env(4, engine=engine, num_workers=1) for engine in ("threads", "processes")
    )
    one, other = (
        suite_contract.play(env, suite_contract.spread(suite), actions) for env in (threads, processes)
    )
    assert suite_contract.same(one, other)
    threads.close()
    processes.close()


def parameters(suite: MujocoTasks, split: str, count: int = 500) -> np.ndarray:
    assert split in ("train", "test")
    tasks = suite.tasks("test") if split == "test" else suite.sample(count, np.random.default_rng(1))
    return np.array([task.parameters for task in tasks])


@pytest.mark.parametrize(
    ("kind", "fastest"), [(HalfCheetahVelConfig, 3.0), (AntVelConfig, 3.0), (Walker2dVelConfig, 10.0)]
)
def test_velocities_fill_the_published_range_and_tests_may_exceed_it(
    kind: type[HalfCheetahVelConfig], fastest: float
) -> None:
    within, beyond = kind(test_range="in").build(), kind(test_range="out").build()
    for suite in (within, beyond):
        drawn = parameters(suite, "train")
        assert 0 <= drawn.min() < 0.02 * fastest
        assert 0.98 * fastest < drawn.max() <= fastest
    assert parameters(within, "test").max() <= fastest
    assert fastest <= parameters(beyond, "test").min()
    assert parameters(beyond, "test").max() <= 4 / 3 * fastest
    assert beyond.name == f"{within.name}-out"


def test_mamls_narrower_range_of_velocities_can_be_had() -> None:
    assert 1.9 < parameters(HalfCheetahVelConfig(fastest=2.0).build(), "train").max() <= 2.0


def test_goals_are_uniform_over_the_disk_and_those_out_of_range_in_the_ring_around() -> None:
    near, far = AntGoalConfig().build(), AntGoalConfig(test_range="out").build()
    radii = np.linalg.norm(parameters(near, "train", 4000), axis=1)
    # the middle disk of half the radius has a quarter of the area
    assert np.mean(radii < 1.5) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 4000))
    assert radii.max() <= 3.0
    beyond = np.linalg.norm(parameters(far, "test"), axis=1)
    assert 3.0 <= beyond.min()
    assert beyond.max() <= 4.0


def test_angles_out_of_range_are_the_quarter_behind() -> None:
    suite = AntDirConfig(directions="any", test_range="out").build()
    train, test = parameters(suite, "train"), parameters(suite, "test")
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([train, test]), axis=1), 1.0, rtol=1e-14)
    behind = -math.sqrt(0.5)
    assert train[:, 0].min() >= behind - 1e-12
    assert test[:, 0].max() <= behind + 1e-12


def test_two_tasks_are_trained_and_tested_on_and_the_name_says_so() -> None:
    for suite in (HalfCheetahDirConfig().build(), AntDirConfig().build()):
        check_disjoint(suite)  # which knows that there are no others
        assert suite.name.endswith("-published")
        train, test = ({task.parameters for task in suite.tasks(split)} for split in ("train", "test"))
        assert train == test
        drawn = suite.sample(40, np.random.default_rng(0))
        assert [sum(task.parameters[0] == sign for task in drawn) for sign in (1.0, -1.0)] == [20, 20]
    assert not AntDirConfig(directions="any").build().name.endswith("-published")


class OneList(MujocoTasks):
    """Two splits that are one list."""

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return super().tasks("train")


def test_tasks_of_both_splits_are_told_apart_by_id_even_where_they_are_the_same() -> None:
    suite = built(HalfCheetahDirConfig())
    with pytest.raises(MetarlError, match=r"'half-cheetah-dir/train/1\.0'.* is also a training task"):
        check_disjoint(OneList(**{field.name: getattr(suite, field.name) for field in fields(suite)}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HalfCheetahVelConfig(fastest=0.0), r"fastest in \(0, 1000\]"),
        (lambda: AntGoalConfig(test_range="outside"), "setting test_range of AntGoalConfig cannot"),  # type: ignore[arg-type]  # that it is refused is the claim
        (lambda: AntDirConfig(test_range="out"), 'Expected directions "any"'),
        (lambda: AntDirConfig(directions="three"), "setting directions of AntDirConfig cannot"),  # type: ignore[arg-type]  # as above
        (lambda: HalfCheetahDirConfig(horizon=0), "Expected horizon in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        make()


def test_a_worker_refuses_tasks_of_another_shape() -> None:
    env = GymnasiumFactory(HalfCheetahVelConfig().build().family, 3, 1)("half-cheetah-vel")
    for task in (Task("half-cheetah-vel", (1.0, 2.0), "x"), Task("half-cheetah-dir", (1.0,), "x")):
        with pytest.raises(MetarlError, match="with 1 parameters was expected; 'x'"):
            env.set_task(task)
    with pytest.raises(MetarlError, match="A task must be set"):
        env.reset()
    env.close()


def test_a_worker_draws_its_environment_and_changes_nothing_by_it() -> None:
    suite = built(HalfCheetahVelConfig())
    env, other = (GymnasiumFactory(suite.family, 200, 1)("half-cheetah-vel") for _ in range(2))
    actions = np.ones((8, 6), np.float32)
    pictures = []
    for each in (env, other):
        each.set_task(suite.tasks("train")[0])
        each.reset(seed=3)
        for action in actions[:7]:
            each.step(action)
            pictures += [each.draw(camera=None, width=64, height=48)] if each is env else []
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert (pictures[0] != pictures[-1]).any()
    np.testing.assert_array_equal(env.step(actions[7])[0], other.step(actions[7])[0])
    with pytest.raises(MetarlError, match="did you mean 'track'"):
        env.draw(camera="trck", width=64, height=48)
    for each in (env, other):
        each.close()


@pytest.mark.skipif(importlib.util.find_spec("mujoco_warp") is not None, reason="the extra is installed")
def test_engine_that_is_not_installed_says_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"needs .*warp, which is not installed here: `make setup-warp`"):
        HalfCheetahVelConfig().build().make_vector_env(1, engine="warp")
