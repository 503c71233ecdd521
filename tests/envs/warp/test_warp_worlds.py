"""Worlds on a device keep to themselves: goals, resets and accidents of one change nothing in another."""

from __future__ import annotations

import copy

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import torch

from metarl.envs.engines.warp import batch as batches
from metarl.envs.engines.warp.batch import BatchPlan, WarpBatch
from metarl.envs.metaworld.models import EXPANDED, FRAME_SKIP
from metarl.envs.metaworld.warp import WarpSawyerVectorEnv
from metarl.errors import EngineError, MetarlError
from metarl.rollouts.collect import collect
from metarl.types import Rollout
from metarl.vector_env import TensorVectorEnv
from support.tiny import StrideActor
from support.warp import DEVICES, WideActor, acts, tasks_of, threads_env, warp_env

pytestmark = [pytest.mark.warp, pytest.mark.parametrize("device", DEVICES)]

FAMILY = "drawer-open-v3"  # its goal moves a body that the arm meets
TASKS = tasks_of(FAMILY, 3)


def played(env: WarpSawyerVectorEnv, steps: int, slots: slice = slice(None)) -> list[np.ndarray]:
    """Return observations and rewards of some steps with the actions of three slots."""
    shown = [env.reset()[0]]
    for actions in acts(steps, len(TASKS)):
        observations, rewards, *_ = env.step(actions[slots])
        shown += [observations, rewards]
    return shown


def test_each_worlds_static_geoms_stand_where_its_goal_puts_them(device: str) -> None:
    env = warp_env(TASKS, device=device)
    played(env, 2)
    snapshots = env._resets.snapshots(TASKS)
    places = []
    for world, snapshot in enumerate(snapshots):
        model = copy.copy(env._resets.model(FAMILY))
        for field in EXPANDED:
            getattr(model, field)[...] = snapshot.world.fields[field]
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        fixed = np.flatnonzero(model.body_weldid[model.geom_bodyid] == 0)
        found = env._physics.field(world, "geom_xpos").cpu().numpy()[fixed]
        np.testing.assert_allclose(found, data.geom_xpos[fixed], atol=1e-6)
        places.append(data.geom_xpos[fixed])
    assert np.abs(places[0] - places[1]).max() > 0.01  # or the claim would be empty
    env.close()


def test_one_world_equals_many(device: str) -> None:
    many = warp_env(TASKS, device=device)
    expected = played(many, 10)
    many.close()
    for slot, task in enumerate(TASKS[:2]):
        one = warp_env([task], device=device)
        for alone, among in zip(played(one, 10, slice(slot, slot + 1)), expected, strict=True):
            np.testing.assert_allclose(alone[0], among[slot], rtol=0, atol=1e-6)
        one.close()


def test_masked_reset_leaves_every_other_row_as_it_is_bit_for_bit(device: str) -> None:
    env = warp_env(TASKS, device=device)
    played(env, 4)
    names = (*env._physics._batch(0)._start, "qacc", "xpos")
    before = {name: [env._physics.field(world, name) for world in range(3)] for name in names}
    shown = env._tables.rows["observations"].clone()
    observations, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    for world in (0, 2):
        for name in names:
            assert torch.equal(env._physics.field(world, name), before[name][world]), name
        assert np.array_equal(observations[world], shown[world].cpu().numpy())
    assert not torch.equal(env._physics.field(1, "qpos"), before["qpos"][1])
    start = env._resets.snapshots(TASKS)[1]
    np.testing.assert_allclose(observations[1], start.observation, atol=1e-6)
    env.close()


def test_world_that_diverges_is_cut_and_counted_and_the_others_go_on(
    device: str, caplog: pytest.LogCaptureFixture
) -> None:
    sound, poisoned = warp_env(TASKS, device=device), warp_env(TASKS, device=device)
    for env in (sound, poisoned):
        env.reset()
    field = next(iter(poisoned._physics._batches.values())).field("qvel")
    field[poisoned._physics._rows[1], 0] = float("nan")
    for number, actions in enumerate(acts(3, 3)):
        expected, found = sound.step(actions), poisoned.step(actions)
        for theirs, ours in zip(expected[:2], found[:2], strict=True):
            np.testing.assert_array_equal(ours[[0, 2]], theirs[[0, 2]])
        assert np.isfinite(found[0]).all()
        assert found[1][1] == 0
        assert found[3].tolist() == [False, number == 0, False]
    assert poisoned.diverged_by_task == {TASKS[1].id: 1}
    assert "physics of task drawer-open-v3/1 broke in 1 episodes" in caplog.text
    poisoned.reset()
    assert np.isfinite(poisoned.step(acts(1, 3)[0])[0]).all()
    assert (sound.diverged, poisoned.diverged) == (0, 1)
    sound.close()
    poisoned.close()


def test_overflow_of_the_constraints_ends_the_episode_and_is_counted(device: str) -> None:
    env = warp_env(TASKS[:2], device=device)
    env.reset()
    batch = next(iter(env._physics._batches.values()))
    row = env._physics._rows[1]
    step = batch.step

    def overflowing(num_substeps: int) -> None:
        step(num_substeps)
        batch.field("overflow")[row] |= int(mjw.OverflowType.NEFC)

    batch.step = overflowing  # type: ignore[method-assign]  # too few rows would be too few for all worlds
    assert env.step(acts(1, 2)[0])[3].tolist() == [False, True]
    batch.step = step  # type: ignore[method-assign]  # as it was
    assert env.step(acts(1, 2)[0])[3].tolist() == [False, False]
    assert env.diverged_by_task == {TASKS[1].id: 1}
    env.close()


def test_an_episode_does_not_depend_on_the_one_before(device: str) -> None:
    env = warp_env(TASKS, device=device)
    first, second = played(env, 6), played(env, 6)
    for expected, found in zip(first, second, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0 if device == "cpu" else 1e-4)
    env.close()


def test_want_of_memory_is_one_sentence_with_what_fits(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Failed to allocate 123 bytes on device")

    monkeypatch.setattr(batches, "_put", refuse)
    monkeypatch.setattr(batches, "free_bytes", lambda _: 2**30)
    with pytest.raises(MetarlError, match=r"9000 worlds .* 4.2 GiB; .* 1.0 GiB free, where about 2147 fit"):
        WarpBatch(mujoco.MjModel.from_xml_string("<mujoco/>"), 9000, torch.device(device), BatchPlan())


def test_other_runtime_errors_stay_what_they_are(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("a kernel is wrong")

    monkeypatch.setattr(batches, "_put", break_down)
    with pytest.raises(RuntimeError, match="a kernel is wrong"):
        WarpBatch(mujoco.MjModel.from_xml_string("<mujoco/>"), 1, torch.device(device), BatchPlan())


def test_tasks_that_share_a_model_share_a_batch_and_keep_their_features(device: str) -> None:
    tasks = [*tasks_of("reach-v3", 1), *tasks_of("push-v3", 1), *tasks_of("drawer-open-v3", 1)]
    env = warp_env(tasks, device=device)
    observations, _ = env.reset()
    for slot, snapshot in enumerate(env._resets.snapshots(tasks)):
        np.testing.assert_allclose(observations[slot], snapshot.observation, atol=1e-6)
    env.set_tasks(tasks[::-1])
    swapped, _ = env.reset()
    np.testing.assert_array_equal(swapped, observations[::-1])
    env.close()


def test_collect_on_tensors_gives_the_episodes_of_the_numpy_interface(device: str) -> None:
    env = warp_env(TASKS, device=device, horizon=6)
    assert isinstance(env, TensorVectorEnv)
    actor = StrideActor(torch.tensor([0.5, -0.5, 0.2], device=device), noise=0.0)
    rollout = collect(env, TASKS, WideActor(actor, 4), episodes=1, horizon=6, rng=np.random.default_rng(0))
    assert isinstance(rollout, Rollout)
    assert rollout.rewards.device.type == device
    assert rollout.truncated[:, 0].sum(dim=1).tolist() == [1, 1, 1]
    env.reset()
    for step in range(6):
        seen, rewards, *_ = env.step(rollout.actions[:, 0, step].cpu().numpy())
        np.testing.assert_allclose(rollout.rewards[:, 0, step].cpu(), rewards, atol=1e-6)
    np.testing.assert_allclose(rollout.final_observations[:, 0].cpu(), seen, atol=1e-6)
    env.close()


def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    del device
    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    with pytest.raises((MetarlError, EngineError), match="there is no CUDA here"):
        warp_env(TASKS, device="cuda")


def test_warp_of_another_mujoco_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjw, "__version__", "2.1.0")
    with pytest.raises(EngineError, match=r"Expected MuJoCo Warp of MuJoCo's version, .*, got 2\.1\.0"):
        warp_env(TASKS, device=device)


def test_substeps_are_those_of_mujoco_c_for_a_while(device: str) -> None:
    env = warp_env(TASKS[:1], device=device)
    env.reset()
    snapshot = env._resets.snapshots(TASKS[:1])[0]
    model = copy.copy(env._resets.model(FAMILY))
    for field in EXPANDED:
        getattr(model, field)[...] = snapshot.world.fields[field]
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, snapshot.world.integration, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    for _ in range(4):
        env._physics.step(FRAME_SKIP)
        mujoco.mj_step(model, data, FRAME_SKIP)
    np.testing.assert_allclose(env._physics.field(0, "qpos").cpu(), data.qpos, atol=1e-4)
    env.close()


def test_slot_is_rendered_and_its_goal_told_as_on_threads(device: str) -> None:
    ours, theirs = warp_env(TASKS[:2], device=device), threads_env(TASKS[:2])
    for env in (ours, theirs):
        env.reset()
        env.step(acts(1, 2)[0])
    np.testing.assert_allclose(ours.goals(), theirs.goals(), atol=1e-6)
    assert np.abs(ours.goals()[0] - ours.goals()[1]).max() > 0.01
    pictures = [env.render_slot(1, width=96, height=64).astype(int) for env in (ours, theirs)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.5
    assert pictures[0].std() > 10
    ours.close()
    theirs.close()
