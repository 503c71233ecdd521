"""Our suites through Gymnasium by name: all are registered, and all three autoreset modes are Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO

import metarl.envs
from metarl.config import construct
from metarl.envs.engines.autoreset import SelfResetting
from metarl.envs.gymnasium_ids import OneTask
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.envs.registration import SUITES
from metarl.errors import MetarlError
from metarl.plugins import registry
from metarl.rollouts.scripted import draw_actions, same, steps
from metarl.sb3.vec_env import TaskVecEnv, in_turn
from metarl.tasks import Split
from metarl.vector_env import Array, TaskVectorEnv

Environment = VectorEnv[Array, Array, Array]
HORIZON = 3
ON_THREADS = {"bandits": None, "cart-pole": None, "point": None, "grasp-shapes": SawyerVectorEnv}
SELF_RESETTING = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


def vector(suite: str, **settings: object) -> Environment:
    return gymnasium.make_vec(f"metarl/{suite}", **{"num_envs": 2, "horizon": HORIZON, **settings})


def test_every_suite_has_a_name_but_meta_worlds_which_have_their_own() -> None:
    assert set(registry.names(registry.SUITES)) == {*SUITES, "file", "ml1", "ml10", "ml25", "ml45"}
    assert metarl.envs.registration.NAMESPACE == "metarl"


@pytest.mark.parametrize("suite", SUITES)
def test_slots_run_the_tasks_of_either_split_in_turn_on_the_fastest_engine(suite: str) -> None:
    distribution = construct(registry.suite(suite), {"horizon": HORIZON}).build()
    own = distribution.make_vector_env(2)
    actions = draw_actions(distribution.action_space, HORIZON, 2, 0)
    for split in get_args(Split):
        made = vector(suite, split=split)
        own.set_tasks(list(distribution.tasks(split)[:2]))
        trajectories = [steps(env, actions, env.reset(seed=3)[0]) for env in (own, made)]
        made.close()
        assert same(*trajectories)
    expected = ON_THREADS.get(suite, LocomotionVectorEnv)
    assert expected is None or isinstance(own, expected)
    assert isinstance(made.unwrapped, type(own))
    own.close()


@pytest.mark.filterwarnings("ignore::UserWarning")  # recommendations: bounds, and to check what is inside
@pytest.mark.parametrize("suite", SUITES)
def test_one_task_of_every_suite_passes_gymnasiums_checker(suite: str) -> None:
    env = gymnasium.make(f"metarl/{suite}", split="test", task=1, horizon=30)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def compare(ours: Environment, theirs: Environment, actions: Array) -> set[str]:
    """Step both alike, and return the names of the infos that were seen to be equal."""
    seen: set[str] = set()
    results = [env.reset(seed=3) for env in (ours, theirs)]
    for action in (None, *actions):
        if action is not None:
            results = [env.step(action) for env in (ours, theirs)]
        (*numbers, infos), (*their_numbers, their_infos) = results
        for one, other in zip(numbers, their_numbers, strict=True):
            np.testing.assert_array_equal(one, other)
        seen |= infos.keys()
        endings = [list(told.pop("final_obs", ())) for told in (infos, their_infos)]  # arrays in an array
        np.testing.assert_equal(*endings)
        np.testing.assert_equal(infos, their_infos)
    return seen


@pytest.mark.parametrize("mode", SELF_RESETTING)
@pytest.mark.parametrize(("suite", "horizon"), [("hopper-rand-params", 25), ("point", 4)])
def test_slots_reset_themselves_as_in_gymnasiums_own_vector_environment(
    suite: str, horizon: int, mode: AutoresetMode
) -> None:
    ours = vector(suite, horizon=horizon, autoreset_mode=mode.value)
    makers: list[Callable[[], OneTask]] = [
        lambda task=task: gymnasium.make(f"metarl/{suite}", task=task, horizon=horizon) for task in range(2)
    ]
    theirs = SyncVectorEnv(makers, autoreset_mode=mode)  # type: ignore[arg-type]  # of any environment
    assert ours.metadata["autoreset_mode"] is mode
    ours.action_space.seed(0)
    names = compare(ours, theirs, np.array([ours.action_space.sample() for _ in range(60)]))
    assert ("final_obs" in names) == (mode is AutoresetMode.SAME_STEP)
    assert suite != "hopper-rand-params" or "x_velocity" in names
    ours.close()
    theirs.close()


def test_without_autoreset_it_is_the_task_vector_environment_itself() -> None:
    env = vector("point", autoreset_mode="Disabled")
    assert isinstance(env, TaskVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED


def test_masked_reset_ends_the_wait_of_its_slots_only() -> None:
    env = vector("point", horizon=2)
    right = np.full((2, 2), 0.1)
    env.reset(seed=0)
    env.step(right)
    assert env.step(right)[3].tolist() == [True, True]
    env.reset(options={"reset_mask": np.array([True, False])})
    observations, rewards, *_ = env.step(right)
    np.testing.assert_allclose(observations, [[0.1, 0.1], [0.0, 0.0]])  # one moved on, the other was reset
    assert rewards[0] < 0 == rewards[1]


def test_tasks_can_be_set_and_looked_at_through_it() -> None:
    env = vector("point")
    assert isinstance(env, SelfResetting)
    env.set_tasks(metarl.envs.toy.point.PointConfig().build().tasks("test")[:1])
    env.reset(seed=0)
    assert env.step(np.zeros((2, 2)))[1][1] == 0.0  # without a task
    assert env.render_slot(0, width=48, height=48).ndim == 3


def test_gymnasiums_wrappers_count_its_episodes() -> None:
    env = RecordEpisodeStatistics(vector("point"))
    env.reset(seed=0)
    for _ in range(2 * HORIZON + 1):
        env.step(np.zeros((2, 2)))
    assert [int(length) for length in env.length_queue] == [HORIZON] * 4


def test_gymnasiums_wrappers_learn_which_slots_a_masked_reset_names() -> None:
    env = RecordEpisodeStatistics(vector("point", autoreset_mode="Disabled"))
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.episode_lengths.tolist() == [0, 1]


def test_pictures_of_one_task_are_drawn_if_asked_for() -> None:
    env = gymnasium.make("metarl/point", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert picture.ndim == 3
    blind = gymnasium.make("metarl/cart-pole", render_mode=None)
    blind.reset(seed=0)
    assert blind.unwrapped.render() is None
    blind.close()


def test_sb3_trains_on_what_gymnasium_makes() -> None:
    tasks = construct(registry.suite("half-cheetah-vel"), {}).build().tasks("train")
    made = vector("half-cheetah-vel", horizon=8, autoreset_mode="Disabled")
    assert isinstance(made, TaskVectorEnv)
    env = TaskVecEnv(made, in_turn(tasks))
    assert PPO("MlpPolicy", env, n_steps=8, batch_size=16, device="cpu").learn(32).num_timesteps == 32
    env.close()


def test_sb3_trains_on_one_task_by_its_name() -> None:
    agent = PPO("MlpPolicy", "metarl/point", n_steps=8, batch_size=8, device="cpu").learn(16)
    assert agent.num_timesteps == 16


def test_sb3s_adapter_refuses_slots_that_reset_themselves() -> None:
    with pytest.raises(MetarlError, match='autoreset_mode="Disabled"'):
        TaskVecEnv(vector("point"), in_turn([]))  # type: ignore[arg-type]  # that is it


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"split": "tset"}, "There is no split called 'tset'; did you mean 'test'"),
        ({"autoreset_mode": "Nextstep"}, "There is no autoreset mode called 'Nextstep'; did you mean"),
        ({"horizn": 3}, "There is no setting of PointConfig called 'horizn'; did you mean 'horizon'"),
        ({"num_envs": 0}, "num_envs must be 1 or more, but it is 0"),
        ({"engine": "threads"}, "engine"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(MetarlError, match=sentence):
        vector("point", **settings)


def test_a_task_that_the_list_does_not_have_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"task must be in 0\.\.1, but it is 2"):
        gymnasium.make("metarl/half-cheetah-dir", task=2)
