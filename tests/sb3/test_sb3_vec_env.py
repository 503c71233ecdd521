"""Our environments as stable-baselines3 sees them, against its own vector environment and its own checks."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor

from metarl.baselines.learners import LearnerConfig, PPOLearner
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.toy.point import MAX_STEP, Flags, PointTasks, PointVectorEnv
from metarl.errors import MetarlError
from metarl.rollouts.collect import collect
from metarl.sb3.vec_env import TaskVecEnv, from_training, in_turn, infos_of_slots
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv
from support.tiny import ClimbEnv

Numbers = npt.NDArray[np.float64]
SUITE = PointTasks(horizon=7, terminate_at_goal=True)
TASKS = SUITE.tasks("test")[:3]


class OneSlot(gymnasium.Env[Numbers, Numbers]):
    """One task of a suite as an ordinary Gymnasium environment."""

    def __init__(self, suite: TaskDistribution, task: Task) -> None:
        self.env: TaskVectorEnv = suite.make_vector_env(1)
        self.env.set_tasks([task])
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Numbers, dict[str, object]]:
        super().reset(seed=seed)
        return self.env.reset(seed=seed)[0][0], {}

    def step(self, action: Numbers) -> tuple[Numbers, float, bool, bool, dict[str, object]]:
        observations, rewards, terminated, truncated, infos = self.env.step(action[None])
        info = {"success": bool(infos["success"][0])}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info


def own_env(tasks: Sequence[Task] = TASKS, **settings: bool | int) -> TaskVecEnv:
    return TaskVecEnv(SUITE.make_vector_env(len(tasks)), in_turn(tasks), **settings)  # type: ignore[arg-type]  # by name


def walk_to_goals(observations: Numbers) -> Numbers:
    """Return actions that reach some goals before the horizon."""
    goals = np.array([task.parameters for task in TASKS])
    return np.clip(goals - observations, -MAX_STEP, MAX_STEP)


def compare(ours: TaskVecEnv, theirs: DummyVecEnv, actions: list[Numbers] | None, steps: int) -> set[str]:
    """Step both alike, and return the keys of the infos that were seen to be equal."""
    seen = ours.reset()
    np.testing.assert_array_equal(seen, theirs.reset())
    keys: set[str] = set()
    for step in range(steps):
        chosen = walk_to_goals(seen) if actions is None else actions[step]
        seen, rewards, done, infos = ours.step(chosen)
        their_seen, their_rewards, their_done, their_infos = theirs.step(chosen)
        np.testing.assert_array_equal(seen, their_seen)
        np.testing.assert_array_equal(rewards, their_rewards)
        np.testing.assert_array_equal(done, their_done)
        assert rewards.dtype == their_rewards.dtype
        for info, their_info in zip(infos, their_infos, strict=True):
            info.pop("is_success", None)  # which only ours has
            assert info.keys() == their_info.keys()
            assert all(np.array_equal(info[key], their_info[key]) for key in info)
            keys |= info.keys()
    return keys


def test_the_environment_it_is_compared_with_passes_sb3s_check() -> None:
    check_env(OneSlot(SUITE, TASKS[0]), warn=False)


def test_it_steps_as_sb3s_own_vector_environment_of_the_same_tasks() -> None:
    theirs = DummyVecEnv([lambda task=task: OneSlot(SUITE, task) for task in TASKS])
    keys = compare(own_env(), theirs, None, steps=40)
    assert keys == {"success", "TimeLimit.truncated", "terminal_observation"}


@pytest.mark.slow
def test_it_steps_meta_world_as_sb3s_own_vector_environment() -> None:
    suite = ML1Config(task="reach-v3", horizon=12).build()
    tasks = suite.tasks("test")[:2]
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-1, 1, (2, 4)) for _ in range(30)]
    ours = TaskVecEnv(suite.make_vector_env(2), in_turn(tasks))
    theirs = DummyVecEnv([lambda task=task: OneSlot(suite, task) for task in tasks])
    assert "terminal_observation" in compare(ours, theirs, actions, steps=30)
    ours.close()


def test_a_terminated_episode_is_not_called_truncated() -> None:
    env = own_env()
    seen, flags = env.reset(), []
    for _ in range(7):
        seen, _, done, infos = env.step(walk_to_goals(seen))
        flags += [info["TimeLimit.truncated"] for info, over in zip(infos, done, strict=True) if over]
    assert False in flags


def test_success_at_any_step_is_told_with_the_end_of_the_episode() -> None:
    task = Task("point", (0.1, 0.0), "near")
    env = TaskVecEnv(PointTasks(horizon=3).make_vector_env(1), in_turn([task]))
    env.reset()
    infos = [env.step(np.array([[move, 0.0]]))[3][0] for move in (0.1, -0.1, -0.1)]
    assert [info["success"] for info in infos] == [True, True, False]
    assert [info.get("is_success") for info in infos] == [None, None, True]


class SaysWhereSolved(PointVectorEnv):
    """An environment that speaks of success only in steps that have some."""

    def step(self, actions: Numbers) -> tuple[Numbers, Numbers, Flags, Flags, dict[str, Flags]]:  # type: ignore[override]  # as its base
        *returned, infos = super().step(actions)
        return *returned, infos if infos["success"].any() else {}  # type: ignore[return-value]  # the star hides them


def test_success_is_told_at_the_end_though_the_last_step_says_nothing_of_it() -> None:
    env = TaskVecEnv(SaysWhereSolved(PointTasks(horizon=3), 1), in_turn([Task("point", (0.1, 0.0), "near")]))
    env.reset()
    infos = [env.step(np.array([[move, 0.0]]))[3][0] for move in (0.1, -0.1, -0.1)]
    assert [info.get("success") for info in infos] == [True, True, None]
    assert [info.get("is_success") for info in infos] == [None, None, True]


def test_sb3s_wrappers_find_nothing_wrong() -> None:
    env = VecMonitor(VecCheckNan(own_env(), raise_exception=True))
    env.seed(1)
    env.reset()
    lengths = []
    for _ in range(20):
        _, _, _, infos = env.step(np.zeros((3, 2)))
        lengths += [info["episode"]["l"] for info in infos if "episode" in info]
    assert set(lengths) == {7}


def test_an_agent_earns_what_sb3s_own_evaluation_measures() -> None:
    env = own_env(unit_actions=True)
    learner = PPOLearner(env, LearnerConfig(steps=64, seed=0))
    theirs, _ = evaluate_policy(learner.model, VecMonitor(env), 3, return_episode_rewards=True)
    ours = [
        float(
            collect(
                SUITE.make_vector_env(1),
                [task],
                learner.actor,
                episodes=1,
                horizon=7,
                rng=np.random.default_rng(0),
                deterministic=True,
            ).episode_returns
        )
        for task in TASKS
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_every_episode_of_training_is_of_a_new_task() -> None:
    suite = PointTasks(horizon=2)
    env = TaskVecEnv(suite.make_vector_env(2), from_training(suite, np.random.default_rng(0)), task_size=2)
    seen = [env.reset(), *(env.step(np.zeros((2, 2)))[0] for _ in range(4))]
    goals = {tuple(row[2:]) for observations in seen for row in observations}
    assert len(goals) == 6


def test_an_oracle_sees_the_tasks_parameters_and_zeros_after_them() -> None:
    seen = own_env(task_size=3).reset()
    np.testing.assert_array_equal(seen[:, 2:4], [task.parameters for task in TASKS])
    np.testing.assert_array_equal(seen[:, 4], 0.0)


def test_the_last_observation_shows_the_task_that_is_over() -> None:
    suite = PointTasks(horizon=1)
    env = TaskVecEnv(suite.make_vector_env(1), from_training(suite, np.random.default_rng(0)), task_size=2)
    first = env.reset()
    second, _, _, infos = env.step(np.zeros((1, 2)))
    np.testing.assert_array_equal(infos[0]["terminal_observation"][2:], first[0, 2:])
    assert not np.array_equal(second[0, 2:], first[0, 2:])


def test_unit_actions_are_scaled_to_the_bounds_and_clipped() -> None:
    env = own_env(unit_actions=True)
    env.reset()
    seen, *_ = env.step(np.array([[0.5, -1.0], [2.0, 0.0], [-3.0, 1.0]]))
    np.testing.assert_allclose(seen, [[0.05, -0.1], [0.1, 0.0], [-0.1, 0.1]])


def test_a_seed_decides_which_tasks_are_drawn_and_nothing_else_does() -> None:
    suite = PointTasks(horizon=2)

    def goals(seed: int) -> Numbers:
        draw = from_training(suite, np.random.default_rng(seed))
        env = TaskVecEnv(suite.make_vector_env(2), draw, task_size=2, seed=seed)
        env.reset()
        return np.array([env.step(np.zeros((2, 2)))[0] for _ in range(4)])

    np.testing.assert_array_equal(goals(3), goals(3))
    assert not np.array_equal(goals(3), goals(4))


def test_a_picture_of_every_slot_is_put_together() -> None:
    picture = own_env().render("rgb_array")
    assert picture is not None
    assert picture.ndim == 3


def test_sb3_trains_on_it() -> None:
    agent = PPO("MlpPolicy", own_env(), n_steps=8, batch_size=24, device="cpu").learn(48)
    assert agent.num_timesteps == 48


def test_an_environment_that_takes_its_tasks_itself_steps_as_in_gymnasium() -> None:
    def make() -> gymnasium.vector.VectorEnv[Numbers, Numbers, Numbers]:
        pole = lambda: gymnasium.make("Pendulum-v1", max_episode_steps=5)  # noqa: E731
        return SyncVectorEnv([pole, pole], autoreset_mode=AutoresetMode.DISABLED)

    ours, theirs = TaskVecEnv(make()), make()
    ours.seed(4)
    np.testing.assert_array_equal(ours.reset(), theirs.reset(seed=4)[0])
    for _ in range(5):
        seen, rewards, done, infos = ours.step(np.full((2, 1), 0.5))
        last, their_rewards, *_ = theirs.step(np.full((2, 1), 0.5, np.float32))
        np.testing.assert_allclose(rewards, their_rewards, rtol=1e-6)
    assert done.all()
    np.testing.assert_array_equal([info["terminal_observation"] for info in infos], last)
    np.testing.assert_array_equal(seen, theirs.reset(options={"reset_mask": np.ones(2, np.bool_)})[0])


def test_slots_of_gymnasiums_own_can_be_reached_into() -> None:
    poles = [lambda: gymnasium.make("Pendulum-v1").unwrapped] * 2
    env = TaskVecEnv(SyncVectorEnv(poles, autoreset_mode=AutoresetMode.DISABLED))
    env.set_attr("g", 3.0, indices=[1])
    assert env.get_attr("g") == [10.0, 3.0]
    assert env.get_attr("g", indices=1) == [3.0]
    assert len(env.env_method("get_wrapper_attr", "max_speed")) == 2
    with pytest.raises(MetarlError, match="called in all slots at once"):
        env.env_method("get_wrapper_attr", "max_speed", indices=[0])


def test_a_slots_infos_leave_out_what_its_mask_does() -> None:
    named = {"speed": np.array([1.0, 2.0]), "_speed": np.array([False, True]), "place": np.eye(2)}
    first, second = infos_of_slots(named, 2)
    assert first.keys() == {"place"}
    assert second["speed"] == 2.0
    np.testing.assert_array_equal(second["place"], [0.0, 1.0])


def test_tasks_to_draw_need_an_environment_that_takes_them() -> None:
    pole = SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(MetarlError, match="Expected an environment that takes tasks, or no draw"):
        TaskVecEnv(pole, in_turn(TASKS))
    with pytest.raises(MetarlError, match="task_size must be 0 without draw, but it is 2"):
        TaskVecEnv(pole, task_size=2)


def test_actions_without_bounds_are_refused() -> None:
    with pytest.raises(MetarlError, match=r"vectors with finite bounds, .* got Box\("):
        TaskVecEnv(ClimbEnv(2, 3), in_turn(TASKS))


def test_slots_cannot_be_reached_into() -> None:
    env = own_env()
    with pytest.raises(MetarlError, match="no attribute 'goal' to set"):
        env.set_attr("goal", 1)
    with pytest.raises(MetarlError, match="no method 'teleport' to call"):
        env.env_method("teleport")
