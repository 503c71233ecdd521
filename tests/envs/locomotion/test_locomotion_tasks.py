"""Locomotion tasks: models that differ from world to world, and rewards that tasks decide."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import product

import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco import MujocoEnv

from metarl.envs.engines.arrays import Array, Vector
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName
from metarl.envs.engines.threads.model_changes import Change, ModelChanger
from metarl.envs.engines.threads.worlds import write_field
from metarl.envs.locomotion.robots import Quantities
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.errors import MetarlError
from metarl.types import Task
from support.locomotion import (
    HEAVY,
    PLAIN,
    ROBOTS,
    SLOW_MOTION,
    changes,
    gymnasium_env,
    hold_equal,
    random_actions,
    state,
    tasks,
)
from support.physics import STEPPERS

FLOATING = (1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 1.0)
ALL_ELSE = (0.6, 1.7, 0.3, 2.5, 0.7, 1.2, 0.9)


def change_as_a_reader_of_mujocos_manual_would(env: MujocoEnv, parameters: tuple[float, ...]) -> None:
    """Change Gymnasium's model in place, and let MuJoCo derive what follows."""
    mass, inertia, friction, damping, gear, gravity, timestep = parameters
    model = env.model
    model.body_mass[1] *= mass
    model.body_mass[-1] *= mass * 1.1 if mass != 1.0 else 1.0
    model.body_inertia[2:] *= inertia
    model.geom_friction[:, 0] *= friction
    model.dof_damping *= damping
    model.actuator_gear[0, 0] *= gear
    model.opt.gravity[2] = -9.81 * gravity
    model.opt.timestep *= timestep
    mujoco.mj_setConst(model, mujoco.MjData(model))


def changed_env(
    robot: str, parameters: Sequence[tuple[float, ...]], stepper: StepperName = "auto"
) -> LocomotionVectorEnv:
    """Return our environment with a slot for each model."""
    family = LocomotionFamily(name="changed", robot=robot, dynamics=changes)
    return LocomotionVectorEnv(
        family,
        default_tasks=tasks("changed", parameters),
        num_envs=len(parameters),
        num_threads=2,
        stepper=stepper,
    )


def references(robot: str, parameters: Sequence[tuple[float, ...]]) -> list[MujocoEnv]:
    """Return Gymnasium's environments with the same models."""
    envs = [gymnasium_env(robot) for _ in parameters]
    for env, numbers in zip(envs, parameters, strict=True):
        change_as_a_reader_of_mujocos_manual_would(env, numbers)
    return envs


@pytest.mark.parametrize(("robot", "stepper"), list(product(ROBOTS, STEPPERS)))
def test_changed_models_step_as_gymnasiums_changed_alike(robot: str, stepper: StepperName) -> None:
    parameters = [PLAIN, HEAVY, ALL_ELSE, FLOATING, SLOW_MOTION]
    env = changed_env(robot, parameters, stepper)
    hold_equal(env, references(robot, parameters), random_actions(env, 150), seed=6)
    env.close()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_slot_that_changes_its_task_is_as_if_it_had_always_had_it(stepper: StepperName) -> None:
    env = changed_env("Walker2d-v5", [HEAVY, ALL_ELSE, PLAIN], stepper)
    hold_equal(env, references("Walker2d-v5", [HEAVY, ALL_ELSE, PLAIN]), random_actions(env, 20), seed=1)
    later = [PLAIN, FLOATING, HEAVY]
    env.set_tasks(tasks("changed", later))
    hold_equal(env, references("Walker2d-v5", later), random_actions(env, 60), seed=2)
    env.close()


def test_new_task_counts_from_the_next_reset_on() -> None:
    env, other = (changed_env("HalfCheetah-v5", [HEAVY, PLAIN]) for _ in range(2))
    for each in (env, other):
        each.reset(seed=0)
    env.set_tasks(tasks("changed", [SLOW_MOTION, SLOW_MOTION]))
    for actions in random_actions(env, 5):
        for mine, theirs in zip(env.step(actions)[:2], other.step(actions)[:2], strict=True):  # type: ignore[arg-type]  # float32
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(state(env, 0), state(other, 0))
    for each in (env, other):
        each.close()


def test_what_mujoco_derives_from_a_mass_changes_with_it() -> None:
    env = gymnasium_env("HalfCheetah-v5")
    fields = ModelChanger(env.model).fields([Change("body_mass", 1, 2.0, scale=True)])
    solver = {"dof_invweight0", "body_invweight0", "body_subtreemass", "actuator_acc0", "stat.meaninertia"}
    assert {"body_mass", *solver} <= fields.keys()
    assert fields["body_subtreemass"][0] == pytest.approx(env.model.body_mass.sum() + env.model.body_mass[1])


@pytest.mark.parametrize("stepper", STEPPERS)
def test_numbers_inside_the_models_structure_are_a_worlds_own(stepper: StepperName) -> None:
    model = gymnasium_env("Ant-v5").model
    wanted = {"opt.gravity": [1.0, 2.0, -3.0], "opt.density": [900.0], "stat.meaninertia": [1e9]}
    physics = BatchedPhysics([model], [0] * (1 + len(wanted)), stepper=stepper, num_threads=2)
    states = physics.get_state([0])
    alone = []
    for world, (name, values) in enumerate(wanted.items(), 1):
        physics.expand(name)[world][...] = values
        changed, data = copy.copy(model), mujoco.MjData(model)
        write_field(changed, name, np.array(values))
        mujoco.mj_step(changed, data, nstep=60)
        alone.append(data.qpos.copy())
    physics.step(60)
    positions = [physics.data(world).qpos.copy() for world in range(1 + len(wanted))]
    np.testing.assert_array_equal(positions[1:], alone)
    assert len({tuple(row) for row in positions}) == len(positions)
    physics.set_state([1, 2], [states[0]] * 2)
    physics.step(60, mask=np.array([False, True, True, False]))
    np.testing.assert_array_equal(physics.data(1).qpos, positions[0])
    np.testing.assert_array_equal(physics.data(2).qpos, positions[0])
    physics.close()


def test_change_that_changes_nothing_entails_nothing() -> None:
    env = gymnasium_env("Ant-v5")
    assert ModelChanger(env.model).fields(changes(PLAIN)) == {}


def test_models_that_follow_one_another_share_nothing() -> None:
    env = gymnasium_env("Ant-v5")
    changer = ModelChanger(env.model)
    alone = ModelChanger(env.model).fields(changes(HEAVY))
    with pytest.raises(MetarlError):
        changer.fields([Change("body_mass", 1, 5.0), Change("body_mass", 99, 1.0)])
    changer.put(changer.fields(changes(ALL_ELSE)))
    after = changer.fields(changes(HEAVY))
    assert after.keys() == alone.keys()
    for name, values in alone.items():
        np.testing.assert_array_equal(after[name], values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change("body_mas", 1, 2.0), "did you mean 'body_mass'"),
        (Change("opt.gravty", 2, 2.0), "no field of numbers called 'opt.gravty'"),
        (Change("opt.integrator", ..., 2.0), "no field of numbers called 'opt.integrator'"),
        (Change("body_mass", 99, 2.0), r"body_mass has shape \(5,\), and no 99"),
        (Change("body_mass", 1, float("nan")), "finite number to change body_mass by, got nan"),
        (Change("body_mass", 1, -1.0, scale=True), "body_mass cannot be -"),
        (Change("opt.timestep", ..., 0.0), r"opt\.timestep cannot be 0\.0"),
        (Change("body_mass", ..., 0.0), "not finite"),
        (Change("dof_invweight0", 1, 7.0), "MuJoCo derives dof_invweight0 from other fields"),
    ],
)
def test_change_that_makes_no_model_is_refused(change: Change, message: str) -> None:
    changer = ModelChanger(gymnasium_env("Hopper-v5").model)
    with pytest.raises(MetarlError, match=message):
        changer.fields([change])


def half_cheetah_vel(infos: Quantities, parameters: Vector) -> Array:
    """Pay for a velocity near the task's (Finn et al. 2017, section 5.3)."""
    return infos["reward_ctrl"] - abs(infos["x_velocity"] - parameters[0])


def test_task_decides_what_the_robot_is_paid_for() -> None:
    family = LocomotionFamily(
        name="velocity",
        robot="HalfCheetah-v5",
        options={"ctrl_cost_weight": 0.05},
        reward=half_cheetah_vel,
    )
    targets = [0.5, 2.0, -1.0]
    env = LocomotionVectorEnv(
        family, default_tasks=tasks("velocity", [(target,) for target in targets]), num_envs=3
    )

    def expected(slot: int, info: Mapping[str, float]) -> float:
        return info["reward_ctrl"] - abs(info["x_velocity"] - targets[slot])

    gymnasiums = [gymnasium_env("HalfCheetah-v5", family.options) for _ in targets]
    hold_equal(env, gymnasiums, random_actions(env, 100), seed=1, reward=expected)
    targets = [3.0, 0.1, 0.2]
    env.set_tasks(tasks("velocity", [(target,) for target in targets]))
    hold_equal(env, gymnasiums, random_actions(env, 10), seed=1, reward=expected)
    env.close()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("chnaged", PLAIN, "x"), "did you mean 'changed'"),
        (Task("changed", PLAIN[:3], "x"), "Expected 7 parameters, got 3 in task 'x'"),
        (Task("changed", (float("inf"), *PLAIN[1:]), "x"), "finite number to change .* by, got inf"),
    ],
)
def test_task_that_fits_not_is_refused_and_leaves_the_others_as_they_were(task: Task, message: str) -> None:
    env = changed_env("Hopper-v5", [HEAVY])
    with pytest.raises(MetarlError, match=message):
        env.set_tasks([task])
    hold_equal(env, references("Hopper-v5", [HEAVY]), random_actions(env, 10), seed=1)
    env.close()
