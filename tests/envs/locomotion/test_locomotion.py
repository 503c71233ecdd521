"""The locomotion engine against Gymnasium's own environments, and the promises of a task environment."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from metarl.envs.engines.arrays import vector
from metarl.envs.engines.threads.batched import StepperName
from metarl.envs.locomotion import robots
from metarl.envs.locomotion.robots import Moment, Options, evaluate, observe
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.errors import MetarlError
from metarl.types import Task
from metarl.vector_env import Renderable
from support.locomotion import ROBOTS, gymnasium_env, hold_equal, ours, random_actions, state
from support.physics import STEPPERS

OTHER_OPTIONS: dict[str, list[dict[str, object]]] = {
    "Ant-v5": [
        {
            "forward_reward_weight": 0.7,
            "ctrl_cost_weight": 0.3,
            "contact_cost_weight": 0.02,
            "healthy_reward": 0.1,
            "main_body": "front_left_leg",
            "healthy_z_range": (0.4, 0.9),
            "contact_force_range": (-2.0, 0.5),
            "reset_noise_scale": 0.2,
            "exclude_current_positions_from_observation": False,
            "frame_skip": 3,
        },
        {"include_cfrc_ext_in_observation": False, "terminate_when_unhealthy": False},
    ],
    "HalfCheetah-v5": [
        {
            "forward_reward_weight": 2.5,
            "ctrl_cost_weight": 0.3,
            "reset_noise_scale": 0.3,
            "exclude_current_positions_from_observation": False,
            "frame_skip": 2,
        },
    ],
    "Hopper-v5": [
        {
            "forward_reward_weight": 0.3,
            "ctrl_cost_weight": 0.1,
            "healthy_reward": 0.3,
            "healthy_state_range": (-3.0, 4.0),
            "healthy_z_range": (0.5, 1.5),
            "healthy_angle_range": (-0.7, 0.6),
            "reset_noise_scale": 0.03,
            "exclude_current_positions_from_observation": False,
        },
        {"terminate_when_unhealthy": False},
    ],
    "Humanoid-v5": [
        {
            "forward_reward_weight": 0.7,
            "ctrl_cost_weight": 0.3,
            "contact_cost_weight": 1e-3,
            "contact_cost_range": (0.5, 3.0),
            "healthy_reward": 0.1,
            "healthy_z_range": (0.9, 1.9),
            "reset_noise_scale": 0.03,
            "exclude_current_positions_from_observation": False,
            "include_cvel_in_observation": False,
            "frame_skip": 3,
        },
        {
            "include_cinert_in_observation": False,
            "include_qfrc_actuator_in_observation": False,
            "include_cfrc_ext_in_observation": False,
            "terminate_when_unhealthy": False,
        },
    ],
    "Walker2d-v5": [
        {
            "forward_reward_weight": 0.3,
            "ctrl_cost_weight": 0.1,
            "healthy_reward": 0.3,
            "healthy_z_range": (0.9, 1.4),
            "healthy_angle_range": (-0.5, 0.4),
            "reset_noise_scale": 0.02,
            "exclude_current_positions_from_observation": False,
        },
        {"terminate_when_unhealthy": False},
    ],
}


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("robot", ROBOTS)
def test_episodes_equal_gymnasiums_bit_for_bit(robot: str, stepper: StepperName) -> None:
    env = ours(robot, 6, stepper=stepper)
    references = [gymnasium_env(robot) for _ in range(6)]
    terminations = hold_equal(env, references, random_actions(env, 350), seed=11)
    assert (terminations > 0) == (robot != "HalfCheetah-v5")
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
def test_many_whole_episodes_equal_gymnasiums_bit_for_bit(robot: str) -> None:
    env = ours(robot, 40)
    references = [gymnasium_env(robot) for _ in range(40)]
    hold_equal(env, references, random_actions(env, 999, seed=5), seed=2000)
    env.close()


@pytest.mark.parametrize(
    ("robot", "options"), [(robot, options) for robot in ROBOTS for options in OTHER_OPTIONS[robot]]
)
def test_constructor_options_act_as_gymnasiums_do(robot: str, options: Mapping[str, object]) -> None:
    env = ours(robot, 2, options=options)
    references = [gymnasium_env(robot, options) for _ in range(2)]
    assert env.single_observation_space == references[0].observation_space
    assert env.single_action_space == references[0].action_space
    hold_equal(env, references, random_actions(env, 120), seed=3)
    env.close()


@pytest.mark.parametrize("robot", ROBOTS)
def test_no_constructor_option_is_overlooked(robot: str) -> None:
    known = set(inspect.signature(robots.ROBOTS[robot].environment).parameters)
    elsewhere = {"xml_file", "frame_skip", "default_camera_config", "kwargs"}  # of the model and the camera
    assert known - elsewhere <= {field.name for field in fields(Options)}


@pytest.mark.parametrize("robot", ROBOTS)
def test_float64_actions_are_paid_for_in_float64(robot: str) -> None:
    env = ours(robot, 2)
    actions = [row.astype(np.float64) * 0.7 for row in random_actions(env, 40)]
    hold_equal(env, [gymnasium_env(robot) for _ in range(2)], actions, seed=3)
    env.close()


def test_seeds_and_infos_are_spread_as_gymnasium_spreads_them() -> None:
    env = ours("Hopper-v5", 3)
    theirs = SyncVectorEnv([lambda: gymnasium_env("Hopper-v5")] * 3)
    for seed in (5, [7, 2, 7], None):
        (mine, infos), (expected, their_infos) = env.reset(seed=seed), theirs.reset(seed=seed)
        np.testing.assert_array_equal(mine, expected)
        assert infos.keys() == their_infos.keys()
        for name, values in their_infos.items():
            np.testing.assert_array_equal(infos[name], values)
    env.close()
    theirs.close()


def rolled(env: LocomotionVectorEnv, masks: Mapping[int, list[bool]] | None = None) -> list[list[object]]:
    """Return all that some steps give, slot by slot; at some steps some slots are reset."""
    env.reset(seed=4)
    history: list[list[object]] = [[] for _ in range(env.num_envs)]
    for step, actions in enumerate(random_actions(env, 60)):
        if masks and step in masks:
            env.reset(seed=step, options={"reset_mask": np.array(masks[step])})
        observations, rewards, terminated, truncated, _ = env.step(actions)  # type: ignore[arg-type]  # float32
        for slot in range(env.num_envs):
            row = (observations[slot].tobytes(), rewards[slot], terminated[slot], truncated[slot])
            history[slot].append(row)
    for slot in range(env.num_envs):
        history[slot].append(state(env, slot).tobytes())
    env.close()
    return history


@pytest.mark.parametrize("robot", ["Ant-v5", "Walker2d-v5"])
def test_number_of_threads_changes_no_bit(robot: str) -> None:
    alone = rolled(ours(robot, 5, num_threads=1))
    for stepper in STEPPERS:
        assert rolled(ours(robot, 5, num_threads=3, stepper=stepper)) == alone


def test_reset_of_any_subset_leaves_the_others_bit_equal() -> None:
    undisturbed = rolled(ours("Ant-v5", 4))
    masks = {0: [True, False, False, False], 20: [False, True, False, True], 30: [False, True, False, False]}
    disturbed = rolled(ours("Ant-v5", 4), masks)
    assert disturbed[2] == undisturbed[2]
    assert all(disturbed[slot][-1] != undisturbed[slot][-1] for slot in (0, 1, 3))


def test_finished_slot_stands_still_until_it_is_reset() -> None:
    env = ours("Hopper-v5", 2)
    env.reset(seed=0)
    actions = np.tile([[1.0, 1.0, 1.0]], (2, 1))
    actions[1] = 0.0
    for _ in range(100):
        observations, rewards, terminated, _, infos = env.step(actions)
        if terminated[0]:
            break
    assert terminated[0]
    assert not terminated[1]
    after, rewards, terminated, truncated, infos = env.step(actions)
    np.testing.assert_array_equal(after[0], observations[0])
    assert (rewards[0], terminated[0], truncated[0]) == (0.0, False, False)
    named = infos["_x_velocity"]
    assert isinstance(named, np.ndarray)
    np.testing.assert_array_equal(named, [False, True])
    env.close()


def test_episode_is_truncated_at_the_horizon_unless_it_terminates_there() -> None:
    family = LocomotionFamily(name="plain", robot="Hopper-v5", options={"healthy_z_range": (9.0, 10.0)})
    for options, flags in (({}, (False, True)), (family.options, (True, False))):
        env = LocomotionVectorEnv(
            LocomotionFamily(name="plain", robot="Hopper-v5", options=options), num_envs=1, horizon=1
        )
        env.reset(seed=0)
        _, _, terminated, truncated, _ = env.step(np.zeros((1, 3)))
        assert (terminated[0], truncated[0]) == flags
        env.close()


def test_slot_without_a_task_stays_idle() -> None:
    env = ours("HalfCheetah-v5", 3)
    env.set_tasks([Task("plain", (), "a")])
    env.reset(seed=0)
    _, rewards, _, _, _ = env.step(np.ones((3, 6)))
    assert rewards[0] != 0.0
    np.testing.assert_array_equal(rewards[1:], 0.0)
    observations, infos = env.reset(seed=0, options={"reset_mask": np.array([False, True, True])})
    np.testing.assert_array_equal(observations[1:], 0.0)
    assert not infos
    env.close()


def test_diverging_episode_is_truncated_with_its_last_sound_observation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it runs
    env = ours("Ant-v5", 2)
    before, _ = env.reset(seed=0)
    env._physics.data(1).qvel[3] = 1e12
    observations, rewards, terminated, truncated, _ = env.step(np.zeros((2, 8)))
    np.testing.assert_array_equal(truncated, [False, True])
    assert not terminated.any()
    assert rewards[1] == 0.0
    assert rewards[0] != 0.0
    np.testing.assert_array_equal(observations[1], before[1])
    assert env.diverged == 1
    assert "task plain diverged at step 1" in caplog.text
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(again, before)
    env.close()


@pytest.mark.parametrize("robot", ROBOTS)
def test_tensors_of_any_shape_give_what_numpy_gives(robot: str) -> None:
    rng = np.random.default_rng(0)
    which, options = robots.ROBOTS[robot], robots.ROBOTS[robot].options({})
    env = ours(robot, 1)
    model = env._physics.models[0]
    axes, tendons = len(which.axes), 2 * model.ntendon
    sizes = (model.nq, model.nv, axes, 6 * model.nbody, 7, tendons, axes, model.nu)
    *state, before, actions = (rng.normal(size=(size, 3, 5)) for size in sizes)
    state[0][1] += 1.0  # some are healthy, some are not
    results = []
    for to in (vector, lambda x: vector(torch.from_numpy(x))):
        moment = Moment(*map(to, state))
        outcome = evaluate(
            which, options, moment, before=to(before), actions=to(actions), seconds=0.05, initial_height=1.2
        )
        values = [outcome.reward, outcome.terminated, *outcome.quantities.values()]
        results.append([np.asarray(value) for value in (observe(which, options, moment), *values)])
    for mine, theirs in zip(*results, strict=True):
        assert mine.shape[-2:] == (3, 5)
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    env.close()


def test_picture_shows_the_slot_and_changes_nothing_in_it() -> None:
    env = ours("Ant-v5", 2)
    assert isinstance(env, Renderable)
    env.reset(seed=0)
    for actions in random_actions(env, 10):
        env.step(actions)  # type: ignore[arg-type]  # float32
    before = state(env, 0)
    pictures = [env.render_slot(slot, width=64, height=48) for slot in (0, 1, 0)]
    assert pictures[0].shape == (48, 64, 3)
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(pictures[0], pictures[2])
    np.testing.assert_array_equal(state(env, 0), before)
    with pytest.raises(MetarlError, match="did you mean 'track'"):
        env.render_slot(0, camera="trck")
    env.close()


def test_unknown_robot_and_option_name_the_nearest() -> None:
    with pytest.raises(MetarlError, match="did you mean 'Hopper-v5'"):
        ours("Hoper-v5", 1)
    with pytest.raises(MetarlError, match="did you mean 'ctrl_cost_weight'"):
        ours("Hopper-v5", 1, options={"control_cost_weight": 1.0})


def test_actions_of_another_shape_are_refused() -> None:
    env = ours("Hopper-v5", 2)
    env.reset(seed=0)
    with pytest.raises(MetarlError, match=r"Expected actions of shape \(2, 3\), got \(3,\)"):
        env.step(np.zeros(3))
    env.close()
    with pytest.raises(MetarlError, match="is closed"):
        env.reset()
