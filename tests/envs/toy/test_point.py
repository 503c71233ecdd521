"""2-D navigation: the suite contract, the physics by hand, and the closed forms by simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from metarl.envs.toy.point import (
    GOAL_LIMIT,
    PointConfig,
    PointTasks,
    PointVectorEnv,
    optimal_return,
    unadapted_return,
)
from metarl.errors import MetarlError
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv
from support import suite_contract


def goal(x: float, y: float) -> Task:
    return Task("point", (x, y), f"{x},{y}")


def env_at(*goals: Task, horizon: int = 10, terminate_at_goal: bool = False) -> PointVectorEnv:
    env = PointTasks(horizon=horizon, terminate_at_goal=terminate_at_goal).make_vector_env(len(goals))
    env.set_tasks(goals)
    env.reset()
    return env


@pytest.fixture(scope="module", params=[False, True], ids=["fixed-length", "terminating"])
def suite(request: pytest.FixtureRequest) -> PointTasks:
    return PointConfig(horizon=8, terminate_at_goal=request.param).build()


@pytest.fixture(scope="module")
def env(suite: PointTasks) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


@pytest.mark.parametrize("claim", suite_contract.SUITE_CLAIMS, ids=lambda claim: claim.__name__)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: PointTasks) -> None:
    claim(suite)


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: PointTasks, env: TaskVectorEnv
) -> None:
    claim(suite, env)


def test_reward_is_minus_the_distance_after_the_move() -> None:
    env = env_at(goal(0.4, 0.3), goal(-0.5, 0.0))
    _, rewards, _, _, _ = env.step(np.array([[0.1, -0.1], [0.0, 0.0]]))
    np.testing.assert_allclose(rewards, [-0.5, -0.5], rtol=1e-15)


def test_actions_are_clipped_along_each_axis() -> None:
    env = env_at(goal(0.4, 0.3))
    position, *_ = env.step(np.array([[7.0, -0.05]]))
    np.testing.assert_array_equal(position, [[0.1, -0.05]])


def test_success_is_being_within_one_step_of_the_goal() -> None:
    env = env_at(goal(0.19, 0.0), goal(0.21, 0.0))
    *_, infos = env.step(np.array([[0.1, 0.0], [0.1, 0.0]]))
    assert infos["success"].tolist() == [True, False]


def test_termination_needs_both_axes_within_a_hundredth() -> None:
    env = env_at(goal(0.109, 0.0), goal(0.109, 0.011), goal(0.111, 0.0), terminate_at_goal=True)
    _, _, terminated, truncated, _ = env.step(np.full((3, 2), [0.1, 0.0]))
    assert terminated.tolist() == [True, False, False]
    assert not truncated.any()


def test_terminated_slot_is_idle() -> None:
    env = env_at(goal(0.1, 0.0), terminate_at_goal=True)
    env.step(np.array([[0.1, 0.0]]))
    position, rewards, terminated, _, infos = env.step(np.array([[0.1, 0.1]]))
    np.testing.assert_array_equal(position, [[0.1, 0.0]])
    assert (rewards[0], terminated[0], infos["success"][0]) == (0.0, False, False)


def test_termination_at_the_horizon_is_no_truncation() -> None:
    env = env_at(goal(0.1, 0.0), horizon=1, terminate_at_goal=True)
    _, _, terminated, truncated, _ = env.step(np.array([[0.1, 0.0]]))
    assert (terminated[0], truncated[0]) == (True, False)


def test_not_a_number_stays_in_its_slot() -> None:
    env = env_at(goal(0.3, 0.0), goal(0.3, 0.0))
    position, *_ = env.step(np.array([[np.nan, 0.0], [0.1, 0.0]]))
    np.testing.assert_array_equal(position[1], [0.1, 0.0])


def test_start_shows_nothing_of_the_goal() -> None:
    suite = PointTasks()
    env = suite.make_vector_env(40)
    env.set_tasks(suite.tasks("test"))
    np.testing.assert_array_equal(env.reset()[0], np.zeros((40, 2)))


def test_path_shows_nothing_of_the_goal() -> None:
    actions = suite_contract.draw_actions(PointTasks(), 20)
    env = PointTasks(horizon=20).make_vector_env(suite_contract.SLOTS)
    one, other = (
        suite_contract.play(env, PointTasks().sample(4, np.random.default_rng(seed)), actions)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(one.observations, other.observations)


def test_a_seed_changes_nothing() -> None:
    suite = PointTasks(horizon=5)
    env = suite.make_vector_env(suite_contract.SLOTS)
    actions = suite_contract.draw_actions(suite, 5)
    tasks = suite_contract.spread(suite)
    one, other = (suite_contract.play(env, tasks, actions, seed=seed) for seed in (0, 1))
    assert suite_contract.same(one, other)


def test_training_goals_fill_the_square() -> None:
    goals = np.array([task.parameters for task in PointTasks().sample(4000, np.random.default_rng(0))])
    assert np.abs(goals).max() <= GOAL_LIMIT
    # The standard error of a mean is 0.0046 and that of a standard deviation of sqrt(1/12) is 0.002.
    np.testing.assert_allclose(goals.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(goals.std(axis=0), np.sqrt(1 / 12), atol=0.01)


def test_training_draws_are_none_of_the_held_out_goals() -> None:
    held_out = {task.parameters for task in PointTasks().tasks("test")}
    drawn = {task.parameters for task in PointTasks().sample(4000, np.random.default_rng(0))}
    assert len(drawn) == 4000
    assert not held_out & drawn


def test_optimal_return_by_hand() -> None:
    # After 1, 2, 3 steps the point is 0.2, 0.1, 0 away from (0.3, 0); then it stays.
    assert optimal_return(goal(0.3, 0.0), 10) == pytest.approx(-0.3, rel=1e-12)
    # To (0.2, -0.3): offsets (0.1, 0.2), (0, 0.1), (0, 0).
    assert optimal_return(goal(0.2, -0.3), 3) == pytest.approx(-(np.sqrt(0.05) + 0.1), rel=1e-12)


def greedy_return(tasks: list[Task], horizon: int, *, terminate_at_goal: bool = False) -> Array:
    env = env_at(*tasks, horizon=horizon, terminate_at_goal=terminate_at_goal)
    goals = np.array([task.parameters for task in tasks])
    position, total = env.reset()[0], np.zeros(len(tasks))
    for _ in range(horizon):
        position, rewards, *_ = env.step(goals - position)
        total += rewards
    return total


@pytest.mark.parametrize("terminate_at_goal", [False, True])
def test_walking_straight_attains_the_optimal_return(terminate_at_goal: bool) -> None:
    tasks = PointTasks().sample(50, np.random.default_rng(1))
    best = [optimal_return(task, 20) for task in tasks]
    np.testing.assert_allclose(
        greedy_return(tasks, 20, terminate_at_goal=terminate_at_goal), best, rtol=1e-10
    )


def test_no_random_walk_beats_the_optimal_return() -> None:
    task, horizon, rng = goal(0.35, -0.22), 6, np.random.default_rng(2)
    env = env_at(*[task] * 5000, horizon=horizon)
    total = np.zeros(5000)
    for _ in range(horizon):
        total += env.step(rng.uniform(-0.12, 0.12, (5000, 2)) + 0.06 * np.sign(task.parameters))[1]
    assert total.max() <= optimal_return(task, horizon)


def test_unadapted_return_is_that_of_staying_at_the_origin() -> None:
    suite = PointTasks(horizon=10)
    tasks = suite.sample(40_000, np.random.default_rng(3))
    distances = np.linalg.norm([task.parameters for task in tasks], axis=1)
    error = 10 * distances.std() / np.sqrt(len(tasks))
    assert unadapted_return(10) == pytest.approx(-10 * distances.mean(), abs=4 * error)


def test_adaptation_is_worth_a_lot() -> None:
    tasks = PointTasks().tasks("test")
    assert np.mean([optimal_return(task, 100) for task in tasks]) > 0.05 * unadapted_return(100)


@pytest.mark.parametrize("parameters", [(0.1,), (0.1, 0.2, 0.3), (np.nan, 0.0), (np.inf, 0.0)])
def test_task_that_is_no_goal_is_refused(parameters: tuple[float, ...]) -> None:
    with pytest.raises(MetarlError, match="two finite parameters"):
        PointTasks().make_vector_env(1).set_tasks([Task("point", parameters, "x")])


def test_actions_of_another_shape_and_a_closed_environment_are_refused() -> None:
    env = env_at(goal(0.1, 0.1), goal(0.2, 0.2))
    with pytest.raises(MetarlError, match=r"shape \(2, 2\), got \(2,\)"):
        env.step(np.zeros(2))
    env.close()
    with pytest.raises(MetarlError, match="closed: build a new one"):
        env.step(np.zeros((2, 2)))


@pytest.mark.parametrize("mask", [[True, False], np.ones(3, dtype=np.bool_), np.ones(2)])
def test_reset_mask_of_another_shape_or_type_is_refused(mask: object) -> None:
    with pytest.raises((TypeError, ValueError), match="reset_mask"):
        env_at(goal(0.1, 0.1), goal(0.2, 0.2)).reset(options={"reset_mask": mask})


@pytest.mark.parametrize("horizon", [0, -5, 10**9])
def test_absurd_horizon_is_refused(horizon: int) -> None:
    with pytest.raises(MetarlError, match="horizon"):
        PointConfig(horizon=horizon)


def test_an_environment_without_slots_is_refused() -> None:
    with pytest.raises(MetarlError, match="num_envs must be 1 or more"):
        PointTasks().make_vector_env(0)
