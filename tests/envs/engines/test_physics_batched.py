"""The promises of the batch: threads, masks, states, families, flags."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from metarl.envs.engines.solver_fault import check_solver
from metarl.envs.engines.threads import worlds
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName
from metarl.envs.engines.threads.compiled import load
from metarl.envs.engines.threads.features import Array, Feature, read
from metarl.envs.engines.threads.worlds import FATAL, Finish, can_reuse_forward
from metarl.envs.metaworld.models import MocapArms
from metarl.envs.metaworld.reset_bank import ResetBank, set_rand_vec
from metarl.errors import EngineError, MetarlError
from support.physics import STEPPERS, Fleet, integration_state, make_bank, rand_vec, random_actions, start

MIX = ("pick-place-v3", "door-open-v3", "reach-v3")
PENDULUM = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body name="arm"><joint name="hinge" axis="0 1 0"/><site name="tip" pos="0 0 -1"/>
      <geom name="rod" type="capsule" fromto="0 0 0 0 0 -1" size=".05"/></body>
  </worldbody>
  <actuator><motor joint="hinge"/></actuator>
</mujoco>
"""

PADS = """
<mujoco>
  <worldbody>
    <geom name="leftpad_geom" type="plane" size="5 5 1"/>
    <body pos="2 0 .14"><freejoint/><geom name="near" type="sphere" size=".1" margin=".05" gap=".05"/></body>
    <body pos="2.24 0 .14"><freejoint/><geom name="rightpad_geom" type="sphere" size=".1"/></body>
    <body pos="0 0 .0999"><freejoint/><geom name="on" type="sphere" size=".1"/></body>
  </worldbody>
</mujoco>
"""

# a ball that a mocap body draws along; by what, is filled in
DRAWN = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body name="puller" mocap="true"><site name="hook" pos="0 0 .3" euler="0 20 0"/></body>
    <body name="ball" pos="0 0 1"><freejoint/>
      <geom type="sphere" size=".1"/><site name="eye" pos="0 .1 0"/></body>
  </worldbody>
  <equality><weld {ends}/></equality>
</mujoco>
"""


@pytest.fixture(scope="module")
def bank() -> Iterator[ResetBank]:
    """A bank with two resets of each family of the mix."""
    bank = make_bank(MIX)
    for family in MIX:
        for seed in (1, 2):
            bank.snapshot(family, rand_vec(bank.environment(family), seed))
    yield bank
    bank.close()


def mixed_fleet(bank: ResetBank, stepper: StepperName, num_threads: int, worlds: int = 7) -> Fleet:
    """Return worlds of all families in turn, each reset to a task of its own."""
    families = [MIX[i % len(MIX)] for i in range(worlds)]
    fleet = Fleet(bank, families, stepper, num_threads=num_threads)
    for i, family in enumerate(families):
        fleet.reset(i, list(bank.snapshots(family))[i // len(MIX) % 2])
    return fleet


def rolled(fleet: Fleet, steps: int = 25, seed: int = 3) -> tuple[Array, list[Array]]:
    """Return the features and states of a fleet after random actions."""
    for actions in random_actions(seed, steps, fleet.physics.num_worlds):
        fleet.step(actions)
    result = fleet.rows.copy(), [fleet.state(i) for i in range(fleet.physics.num_worlds)]
    fleet.physics.close()
    return result


def assert_same(one: tuple[Array, list[Array]], other: tuple[Array, list[Array]]) -> None:
    """Hold features and states to each other, bit for bit."""
    np.testing.assert_array_equal(one[0], other[0])
    for mine, yours in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.fixture(scope="module")
def alone(bank: ResetBank) -> tuple[Array, list[Array]]:
    """Return what one thread computes, step by step in Python."""
    return rolled(mixed_fleet(bank, "portable", 1))


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("num_threads", [2, 3, 7])
def test_number_of_threads_changes_no_bit(
    bank: ResetBank, alone: tuple[Array, list[Array]], stepper: StepperName, num_threads: int
) -> None:
    assert_same(alone, rolled(mixed_fleet(bank, stepper, num_threads)))


@pytest.mark.parametrize("stepper", STEPPERS)
def test_masked_worlds_stand_still_and_do_not_disturb_the_others(
    bank: ResetBank, stepper: StepperName
) -> None:
    fleet = mixed_fleet(bank, stepper, 2)
    whole = mixed_fleet(bank, stepper, 2)
    mask = np.arange(7) % 2 == 0
    before = fleet.rows.copy(), [fleet.state(i) for i in range(7)]
    for actions in random_actions(4, 15, 7):
        fleet.step(actions, mask)
        whole.step(actions)
    np.testing.assert_array_equal(fleet.rows[~mask], before[0][~mask])
    np.testing.assert_array_equal(fleet.rows[mask], whole.rows[mask])
    for i in range(7):
        np.testing.assert_array_equal(fleet.state(i), whole.state(i) if mask[i] else before[1][i])
    fleet.physics.close()
    whole.physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_reset_of_some_worlds_leaves_the_others_bit_equal(bank: ResetBank, stepper: StepperName) -> None:
    reset, undisturbed = mixed_fleet(bank, stepper, 2), mixed_fleet(bank, stepper, 2)
    for t, actions in enumerate(random_actions(5, 20, 7)):
        if t == 10:
            reset.reset(3, next(bank.snapshots(MIX[0])))
        reset.step(actions)
        undisturbed.step(actions)
    others = [i for i in range(7) if i != 3]
    np.testing.assert_array_equal(reset.rows[others], undisturbed.rows[others])
    assert not np.array_equal(reset.rows[3], undisturbed.rows[3])
    reset.physics.close()
    undisturbed.physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_state_taken_in_mid_episode_goes_on_bit_equal(bank: ResetBank, stepper: StepperName) -> None:
    fleet = mixed_fleet(bank, stepper, 2)
    for actions in random_actions(6, 10, 7):
        fleet.step(actions)
    states, position = fleet.physics.get_state(range(7)), fleet.arms.position.copy()
    restored = mixed_fleet(bank, "portable", 1)
    restored.physics.set_state(range(7), states)
    restored.arms.position = position
    np.testing.assert_array_equal(restored.rows, fleet.rows)
    assert_same(rolled(fleet), rolled(restored))


@pytest.mark.parametrize("stepper", STEPPERS)
def test_world_given_to_another_family_is_as_if_it_had_always_been(
    bank: ResetBank, stepper: StepperName
) -> None:
    fleet = mixed_fleet(bank, stepper, 2)
    for actions in random_actions(7, 5, 7):
        fleet.step(actions)
    fleet.physics.assign([0] * 7)  # families in alphabetical order: all doors
    snapshot = next(bank.snapshots("door-open-v3"))
    doors = Fleet(bank, ["door-open-v3"] * 7, stepper)
    for world in range(7):
        fleet.reset(world, snapshot)
        doors.reset(world, snapshot)
    (mixed_rows, mixed_states), (rows, states) = rolled(fleet), rolled(doors)
    np.testing.assert_array_equal(mixed_rows[:, : rows.shape[1]], rows)
    assert_same((rows, mixed_states), (rows, states))


@pytest.mark.parametrize("stepper", STEPPERS)
def test_diverging_world_is_flagged_at_once_and_serves_again_after_reset(
    bank: ResetBank, stepper: StepperName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it runs
    fleet, calm = mixed_fleet(bank, stepper, 2), mixed_fleet(bank, stepper, 2)
    fleet.physics.data(2).qvel[3] = 1e9
    for actions in random_actions(8, 3, 7):
        fleet.step(actions)
        calm.step(actions)
    np.testing.assert_array_equal(fleet.physics.diverged, np.arange(7) == 2)
    others = [i for i in range(7) if i != 2]
    np.testing.assert_array_equal(fleet.rows[others], calm.rows[others])
    for each in (fleet, calm):
        each.reset(2, next(bank.snapshots(MIX[2])))
    assert not fleet.physics.flags.any()
    assert_same(rolled(fleet), rolled(calm))


@pytest.mark.parametrize("stepper", STEPPERS)
def test_bad_number_after_the_last_substep_is_flagged_in_that_very_step(
    stepper: StepperName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = mujoco.MjModel.from_xml_string(PENDULUM)
    model.opt.timestep = 10
    physics = BatchedPhysics([model], [0], stepper=stepper)
    physics.data(0).qvel[:] = 5e9  # still good, and so is the acceleration; the angle that follows is not
    physics.step(1)
    assert physics.flags[0] == 1 << int(mujoco.mjtWarning.mjWARN_BADQPOS)
    assert physics.diverged.all()
    physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_action_that_is_not_a_number_is_flagged(
    stepper: StepperName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    physics = BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0, 0], stepper=stepper)
    physics.step(3, ctrl=np.array([[np.nan], [0.5]]))
    np.testing.assert_array_equal(physics.diverged, [True, False])
    physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_world_that_stands_still_is_not_flagged(
    stepper: StepperName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    physics = BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0, 0, 0], stepper=stepper)
    for world in (1, 2):
        physics.data(world).qvel[:] = np.nan
    physics.step(1, mask=np.array([True, False, True]))
    np.testing.assert_array_equal(physics.diverged, [False, False, True])
    physics.step(1)
    np.testing.assert_array_equal(physics.diverged, [False, True, True])
    physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_error_inside_mujoco_stops_one_world_until_it_is_set_anew(stepper: StepperName) -> None:
    model = mujoco.MjModel.from_xml_string(PENDULUM)
    broken = mujoco.MjModel.from_xml_string(PENDULUM)
    broken.opt.integrator = 77
    physics = BatchedPhysics([model, broken], [0, 1, 0], stepper=stepper)
    before = physics.get_state([0, 1, 2])
    physics.step(2, ctrl=np.full((3, 1), 0.5))
    np.testing.assert_array_equal(physics.flags, [0, FATAL, 0])
    assert physics.data(2).time == pytest.approx(0.02)
    physics.set_state([1], [before[1]])
    assert not physics.flags.any()
    physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_expanded_field_counts_for_its_world_only(stepper: StepperName) -> None:
    model = mujoco.MjModel.from_xml_string(PENDULUM)
    physics = BatchedPhysics([model], [0, 0, 0], stepper=stepper)
    rows = physics.bind([[Feature("xpos", "site", "tip")]])
    physics.expand("body_pos")[1][model.body("arm").id] = [1.0, 2.0, 3.0]
    physics.step(1)
    np.testing.assert_allclose(rows, [[0, 0, -1], [1, 2, 2], [0, 0, -1]], atol=1e-12)
    np.testing.assert_array_equal(model.body("arm").pos, 0)
    physics.close()


@pytest.mark.skipif("compiled" not in STEPPERS, reason="there is no C compiler")
@pytest.mark.parametrize("ends", ['body1="puller" body2="ball"', 'site1="hook" site2="eye"'])
def test_what_a_mocap_body_draws_moves_the_same_whether_or_not_the_forward_pass_is_reused(ends: str) -> None:
    model = mujoco.MjModel.from_xml_string(DRAWN.format(ends=ends))
    batches = [
        BatchedPhysics([model], [0], stepper="compiled", reuse_forward=reuse) for reuse in (True, False)
    ]
    rng = np.random.default_rng(3)
    for _ in range(30):
        pose = {"mocap_pos": rng.normal(size=(1, 1, 3)), "mocap_quat": rng.normal(size=(1, 1, 4))}
        states = []
        for batch in batches:
            batch.step(2, **pose)
            states.append(batch.get_state([0])[0].integration)
        assert np.array_equal(*states)
    assert batches[0].data(0).nefc == 6
    assert np.abs(batches[0].data(0).qvel).max() > 0.1
    for batch in batches:
        batch.close()


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Hopper-v5"])
def test_gymnasium_locomotion_is_stepped_bit_equal(stepper: StepperName, name: str) -> None:
    env = gymnasium.make(name).unwrapped
    assert isinstance(env, gymnasium.envs.mujoco.MujocoEnv)
    env.reset(seed=0)
    physics = BatchedPhysics([env.model], [0], stepper=stepper, finish=Finish.RNE)
    wanted = [Feature("qpos", "all"), Feature("qvel", "all"), Feature("cfrc_ext", "all")]
    rows = physics.bind([wanted])
    state = np.empty(mujoco.mj_stateSize(env.model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(env.model, env.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    physics.set_state([0], [physics.get_state([0])[0]._replace(integration=state)])
    rng = np.random.default_rng(1)
    for _ in range(50):
        action = rng.uniform(-1, 1, env.model.nu)
        env.step(action)
        physics.step(env.frame_skip, ctrl=action[None])
    np.testing.assert_array_equal(rows[0], read(env.model, env.data, wanted))
    env.close()
    physics.close()


def test_move_is_float32_as_metaworld_takes_it(bank: ResetBank) -> None:
    family = "reach-v3"
    env = bank.environment(family)
    snapshot = next(bank.snapshots(family))
    start(env, family, rand_vec(env, 1))
    arms = MocapArms(1)
    arms.reset(0, snapshot.arm)
    wide = MocapArms(1)
    wide.reset(0, snapshot.arm)
    differs = False
    for actions in random_actions(9, 40, 1):
        env.step(actions[0])
        np.testing.assert_array_equal(arms.act(actions).mocap_pos[0], env.data.mocap_pos)
        differs |= bool((wide.act(actions.astype(np.float64)).mocap_pos != arms.position).any())
    assert differs


def test_touching_equals_metaworlds_decision_while_the_cube_is_held(bank: ResetBank) -> None:
    family = "pick-place-v3"
    env = bank.environment(family)
    vector = rand_vec(env, 1)
    set_rand_vec(env, family, vector)
    env.reset()
    touch = Feature("touching", "geom", "objGeom")
    physics = {name: Fleet(bank, [family], name) for name in STEPPERS}
    for fleet in physics.values():
        fleet.reset(0, bank.snapshot(family, vector))
    seen = set()
    geom = env.data.geom("objGeom").id
    for t in range(120):
        goal = env.data.body("obj").xpos + np.array([0, 0, 0.2 if t > 60 else 0.0])
        move = np.clip((goal - env.data.mocap_pos[0]) * 10, -1, 1)
        actions = np.array([[*move, 1.0 if t > 40 else -1.0]], np.float32)
        env.step(actions[0])
        touching = env.touching_object(geom)
        seen.add(touching)
        for fleet in physics.values():
            fleet.step(actions)
            assert fleet.rows[0, fleet.physics.layout(0).columns[touch]] == touching
    np.testing.assert_array_equal(fleet.state(0), integration_state(env))
    assert seen == {True, False}
    for fleet in physics.values():
        fleet.physics.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_contact_that_is_not_active_reads_the_last_row(stepper: StepperName) -> None:
    model = mujoco.MjModel.from_xml_string(PADS)
    physics = BatchedPhysics([model], [0], stepper=stepper)
    rows = physics.bind([[Feature("touching", "geom", name) for name in ("near", "on")]])
    physics.step(1)
    data = physics.data(0)
    near = (data.contact.geom == model.geom("near").id).any(axis=1)
    np.testing.assert_array_equal(data.contact.efc_address[near], [-1, -1])
    assert data.efc_force[-1] > 0
    np.testing.assert_array_equal(rows, [[1, 0]])
    physics.close()


def test_unknown_feature_names_the_nearest_one() -> None:
    physics = BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0], stepper="portable")
    with pytest.raises(MetarlError, match="did you mean 'tip'"):
        physics.bind([[Feature("xpos", "site", "tpi")]])
    with pytest.raises(MetarlError, match="no feature 'colour' of a site"):
        physics.bind([[Feature("colour", "site", "tip")]])
    physics.close()


def test_inputs_of_another_shape_are_refused() -> None:
    physics = BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0, 0], stepper="portable")
    with pytest.raises(MetarlError, match=r"Expected ctrl of shape \(2, 1\), got \(1, 1\)"):
        physics.step(1, ctrl=np.zeros((1, 1)))
    physics.close()


def test_without_a_compiler_there_is_one_line_and_the_portable_path(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    load.cache_clear()
    physics = BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0])
    assert not physics.is_compiled
    assert [record.getMessage() for record in caplog.records] == [
        "Physics runs on Python threads, which is slower: "
        "CC=no-such-compiler names no program ('no-such-compiler' is not found)."
    ]
    with pytest.raises(EngineError, match="compiled stepper cannot be built"):
        BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0], stepper="compiled")
    load.cache_clear()
    physics.close()


def test_unknown_version_of_mujoco_reuses_no_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mujoco.MjModel.from_xml_string(PENDULUM)
    monkeypatch.setattr(worlds, "EXACT_VERSIONS", (mujoco.mj_version(),))
    assert can_reuse_forward(model, Finish.FORWARD)
    monkeypatch.setattr(worlds, "EXACT_VERSIONS", (1,))
    assert not can_reuse_forward(model, Finish.FORWARD)


def test_sparse_newton_of_mujoco_4_0_0_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco, "mj_version", lambda: 4_000_000)
    text = '<mujoco><option {}/><worldbody><body><freejoint/><geom size="1"/></body></worldbody></mujoco>'
    for options in ('jacobian="sparse" solver="CG"', 'jacobian="dense"'):
        check_solver(mujoco.MjModel.from_xml_string(text.format(options)))
    sparse = mujoco.MjModel.from_xml_string(text.format('jacobian="sparse"'))
    with pytest.raises(EngineError, match=r"another MuJoCo than 4\.0\.0 for a model with 6 degrees"):
        BatchedPhysics([sparse], [0], stepper="portable")
    monkeypatch.setattr(mujoco, "mj_version", lambda: 4_000_001)
    check_solver(sparse)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked")
@pytest.mark.parametrize("stepper", STEPPERS)
def test_stepper_refuses_to_run_in_a_forked_process(stepper: StepperName) -> None:
    physics = BatchedPhysics([mujoco.MjModel.from_xml_string(PENDULUM)], [0], stepper=stepper)
    physics._stepper._process = -1  # type: ignore[attr-defined]  # as it looks to a child
    with pytest.raises(EngineError, match="after the fork"):
        physics.step(1)
    physics._stepper._process = os.getpid()  # type: ignore[attr-defined]  # close it properly
    physics.close()
