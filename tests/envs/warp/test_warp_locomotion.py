"""Locomotion on Warp's physics: what is shown, paid and stepped is MuJoCo C's of the same version."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco.ant_v5 import AntEnv

from metarl.config import SuiteConfig
from metarl.envs.engines.warp.fields import put_model
from metarl.envs.locomotion.dynamics import DynamicsConfig, HopperRandParamsConfig, Walker2dRandParamsConfig
from metarl.envs.locomotion.robots import ROBOTS
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.suite import AntDirConfig, AntGoalConfig, HalfCheetahDirConfig, HumanoidDirConfig
from metarl.envs.locomotion.tasks import MujocoTasks
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.envs.locomotion.warp import WarpLocomotionVectorEnv
from metarl.errors import MetarlError
from metarl.rollouts.collect import collect
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv
from support import suite_contract
from support.locomotion import HEAVY, PLAIN, SLOW_MOTION, changes
from support.tiny import StrideActor
from support.warp import DEVICES, WideActor

pytestmark = pytest.mark.warp

SUITES: dict[str, SuiteConfig] = {
    "half-cheetah-dir": HalfCheetahDirConfig(horizon=60),
    "ant-dir": AntDirConfig(directions="any", horizon=60),
    "ant-goal": AntGoalConfig(horizon=60),
    "hopper-rand-params": HopperRandParamsConfig(horizon=60),
    "walker2d-rand-params": Walker2dRandParamsConfig(horizon=60),
}
FALLING = ("hopper-rand-params", "walker2d-rand-params")
SLOTS = 3
TOLERANCE = 1e-5
"""Relative and absolute; numbers are float32."""


def pair(suite: MujocoTasks, device: str = "cpu") -> tuple[WarpLocomotionVectorEnv, LocomotionVectorEnv]:
    """Return Warp's engine and the one on threads, reset to the same tasks from the same seeds."""
    ours = suite.make_vector_env(SLOTS, engine=f"warp:{device}")
    theirs = suite.make_vector_env(SLOTS, engine="threads", num_workers=1)
    assert isinstance(ours, WarpLocomotionVectorEnv)
    assert isinstance(theirs, LocomotionVectorEnv)
    tasks = suite.sample(SLOTS, np.random.default_rng(0))
    for env in (ours, theirs):
        env.set_tasks(tasks)
        env.reset(seed=7)
    return ours, theirs


def drawn(env: TaskVectorEnv, steps: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Draw actions, ``[T, N, A]``, that float32 holds exactly."""
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (steps, *(env.action_space.shape or ()))).astype(np.float32) * 1.0


@pytest.mark.parametrize("name", SUITES)
def test_same_states_give_the_same_observations_rewards_and_terminations(name: str) -> None:
    suite = SUITES[name].build()
    assert isinstance(suite, MujocoTasks)
    ours, theirs = pair(suite)
    np.testing.assert_allclose(ours.reset(seed=7)[0], theirs.reset(seed=7)[0], rtol=TOLERANCE, atol=TOLERANCE)
    fallen = 0
    for actions in drawn(theirs, suite.horizon):
        live = theirs._live.copy()
        ours._physics.set_state(range(SLOTS), theirs._physics.get_state(range(SLOTS)))
        sent, mask = torch.as_tensor(actions, dtype=torch.float32), torch.as_tensor(live)
        ours._remember()
        shown, rewards, terminated, *_ = theirs.step(actions)
        ours._physics.set_state(range(SLOTS), theirs._physics.get_state(range(SLOTS)))
        judged = ours._judge(sent, mask)
        np.testing.assert_allclose(ours._seen, shown, rtol=TOLERANCE, atol=TOLERANCE)
        np.testing.assert_allclose(judged.rewards[mask], rewards[live], rtol=TOLERANCE, atol=2 * TOLERANCE)
        np.testing.assert_array_equal(judged.terminated[mask], terminated[live])
        fallen += int(terminated.sum())
        if not theirs._live.any():
            break
    assert fallen > 0 or name not in FALLING  # or that part of the claim would be empty
    ours.close()
    theirs.close()


@pytest.mark.parametrize("name", [name for name in SUITES if name != "ant-goal"])  # its physics are ant-dir's
def test_step_from_the_same_state_is_mujocos(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROBOTS, "Ant-v5", replace(ROBOTS["Ant-v5"], environment=elliptic_ant))
    suite = SUITES[name].build()
    assert isinstance(suite, MujocoTasks)
    ours, theirs = pair(suite)
    touched = 0
    for actions in drawn(theirs, 16):
        ours._physics.set_state(range(SLOTS), theirs._physics.get_state(range(SLOTS)))
        found, expected = ours.step(actions)[0], theirs.step(actions)[0]
        touched += sum(theirs._physics.data(slot).ncon for slot in range(SLOTS))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        positions = slice(0, ours._models.model.nq)
        features = ours._physics.features[:, positions]
        np.testing.assert_allclose(features, theirs._physics.features[:, positions], atol=1e-5)
    assert touched > 0  # or robots would only have fallen
    ours.close()
    theirs.close()


@functools.wraps(AntEnv)
def elliptic_ant(**options: object) -> AntEnv:
    """Return the ant with friction that is the same in all directions.

    Where a steep capsule touches a plane, MuJoCo Warp 3.17 has another tangent than MuJoCo C, and so the
    ant's friction pyramid is turned about the normal. With elliptic cones that changes nothing.
    """
    env = AntEnv(**options)  # type: ignore[arg-type]  # options are of many types
    env.model.opt.cone = int(mujoco.mjtCone.mjCONE_ELLIPTIC)
    return env


@pytest.mark.parametrize("device", DEVICES)
def test_each_world_has_the_model_fields_of_its_task(device: str) -> None:
    suite = SUITES["hopper-rand-params"].build()
    assert isinstance(suite, MujocoTasks)
    ours, theirs = pair(suite, device)
    names = ("body_mass", "body_inertia", "body_invweight0", "dof_damping", "dof_invweight0", "geom_friction")
    for name in names:
        expected = [theirs._physics.get_state([slot])[0].fields[name] for slot in range(SLOTS)]
        for slot in range(SLOTS):
            found = ours._physics.field(slot, name).cpu().numpy()
            np.testing.assert_allclose(found, expected[slot].reshape(found.shape), rtol=1e-6)
        assert not np.allclose(expected[0], expected[1])
    ours.close()
    theirs.close()


def cheetah(tasks: list[Task], device: str = "cpu") -> WarpLocomotionVectorEnv:
    """Return half cheetahs whose tasks change masses, friction, gravity and the time step."""
    family = LocomotionFamily(name="changed", robot="HalfCheetah-v5", dynamics=changes)
    return WarpLocomotionVectorEnv(
        family, default_tasks=tasks, num_envs=len(tasks), horizon=50, device=device
    )


MODELS = [
    Task("changed", numbers, f"changed-{index}") for index, numbers in enumerate((PLAIN, HEAVY, SLOW_MOTION))
]


@pytest.mark.parametrize("device", DEVICES)
def test_one_world_equals_many_whose_models_differ(device: str) -> None:
    many = cheetah(MODELS, device)
    actions = drawn(many, 6)
    expected = [many.reset(seed=3)[0]] + [many.step(row)[0] for row in actions]
    for slot, task in enumerate(MODELS):
        one = cheetah([task], device)
        found = [one.reset(seed=3 + slot)[0]] + [one.step(row[slot : slot + 1])[0] for row in actions]
        for alone, among in zip(found, expected, strict=True):
            np.testing.assert_allclose(alone[0], among[slot], rtol=0, atol=1e-5)
        one.close()
    assert np.abs(expected[-1][0] - expected[-1][1]).max() > 0.01
    assert np.abs(expected[-1][0] - expected[-1][2]).max() > 0.01
    many.close()


def test_models_may_come_to_differ_after_the_worlds_are_made() -> None:
    later, first = cheetah([MODELS[0]] * 3), cheetah(MODELS)
    later.reset(seed=0)
    later.set_tasks(MODELS)
    for row, (expected, found) in enumerate(zip(first.reset(seed=3)[0], later.reset(seed=3)[0], strict=True)):
        np.testing.assert_array_equal(found, expected, str(row))
    for actions in drawn(first, 3):
        for expected, found in zip(first.step(actions)[:2], later.step(actions)[:2], strict=True):
            np.testing.assert_array_equal(found, expected)
    first.close()
    later.close()


@pytest.mark.parametrize("device", DEVICES)
def test_masked_reset_leaves_every_other_row_as_it_is_bit_for_bit(device: str) -> None:
    env = cheetah(MODELS, device)
    env.reset(seed=3)
    for actions in drawn(env, 4):
        shown, *_ = env.step(actions)
    names = tuple(env._physics._batch(0)._start)
    assert {"qpos", "body_mass", "opt.timestep"} <= set(names)
    before = {name: [env._physics.field(world, name) for world in range(3)] for name in names}
    again, _ = env.reset(seed=11, options={"reset_mask": np.array([False, True, False])})
    for world in (0, 2):
        for name in names:
            assert torch.equal(env._physics.field(world, name), before[name][world]), name
        np.testing.assert_array_equal(again[world], shown[world])
    assert not torch.equal(env._physics.field(1, "qpos"), before["qpos"][1])
    env.close()


class OnWarp(MujocoTasks):
    """Tasks whose fastest engine is Warp."""

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        chosen = "warp:cpu" if engine == "auto" else engine
        return super().make_vector_env(num_envs, engine=chosen, num_workers=num_workers)


@pytest.fixture(scope="module")
def promised() -> Iterator[tuple[MujocoTasks, TaskVectorEnv]]:
    """Return half cheetahs in two directions, with short episodes."""
    suite = OnWarp(**vars(HalfCheetahDirConfig(horizon=4).build()))
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield suite, env
    env.close()


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], promised: tuple[MujocoTasks, TaskVectorEnv]
) -> None:
    claim(*promised)


def test_collect_on_tensors_gives_the_episodes_of_the_numpy_interface() -> None:
    suite = HalfCheetahDirConfig(horizon=5).build()
    env = suite.make_vector_env(2, engine="warp:cpu")
    tasks = list(suite.tasks("train"))
    actor = WideActor(StrideActor(torch.tensor([0.5, -0.5]), noise=0.0), 6)
    rollout = collect(env, tasks, actor, episodes=1, horizon=5, rng=np.random.default_rng(4))
    rng = np.random.default_rng(4)
    rng.integers(2**63)
    env.reset(seed=rng.integers(2**31, size=2).tolist())  # type: ignore[arg-type]  # Gymnasium takes lists too
    for step in range(5):
        seen, rewards, *_ = env.step(rollout.actions[:, 0, step].numpy())  # type: ignore[arg-type]  # float32 too
        np.testing.assert_allclose(rollout.rewards[:, 0, step], rewards, atol=1e-6)
    np.testing.assert_allclose(rollout.final_observations[:, 0], seen, atol=1e-6)
    assert rollout.success is None
    env.close()


def test_model_that_warp_cannot_step_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        MetarlError, match=r"MuJoCo Warp cannot step this model \(.*PGS.*\); the engine threads"
    ):
        HumanoidDirConfig().build().make_vector_env(1, engine="warp:cpu")


def test_model_with_disabled_actuators_is_refused_as_warp_would_drive_them() -> None:
    model = mujoco.MjModel.from_xml_string('<mujoco><option actuatorgroupdisable="1"/></mujoco>')
    with pytest.raises(
        MetarlError, match=r"MuJoCo Warp cannot step this model \(.*disable.*\); the engine threads"
    ):
        put_model(model, (), 1)


def test_field_that_warp_has_once_for_all_worlds_is_refused_in_a_sentence() -> None:
    suite = DynamicsConfig(vary=("opt.density:0..1000",)).build()
    with pytest.raises(MetarlError, match=r"MuJoCo Warp has one opt\.density for all worlds"):
        suite.make_vector_env(2, engine="warp:cpu")


def test_slot_is_rendered_as_on_threads() -> None:
    suite = SUITES["half-cheetah-dir"].build()
    assert isinstance(suite, MujocoTasks)
    ours, theirs = pair(suite)
    pictures = [env.render_slot(1, width=64, height=48) for env in (ours, theirs)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 0.5
    assert pictures[0].std() > 10
    ours.close()
    theirs.close()
