"""Changed dynamics: what phrases mean, models beside Gymnasium's changed by hand, ranges, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing

import mujoco
import numpy as np
import pytest

from metarl.envs.engines.threads.model_changes import Change
from metarl.envs.locomotion.dynamics import DynamicsConfig, HopperRandParamsConfig, Walker2dRandParamsConfig
from metarl.envs.locomotion.model_variations import ModelVariation, ModelVariations, read_phrase
from metarl.envs.task_sampling.ranges import Range
from metarl.errors import MetarlError
from metarl.tasks import TaskDistribution
from metarl.types import Task
from support import suite_contract
from support.locomotion import gymnasium_env


def knobs(phrase: str, robot: str = "Hopper-v5") -> list[ModelVariation]:
    return read_phrase(phrase, gymnasium_env(robot).model, robot)


@pytest.mark.parametrize(
    ("robot", "phrase", "field", "indices"),
    [
        ("Hopper-v5", "body_mass:torso:x0.5..2", "body_mass", [(1,)]),
        ("Hopper-v5", "body_mass:all:x0.5..2", "body_mass", [(0, 1, 2, 3, 4)]),
        ("Hopper-v5", "body_mass:each:x0.5..2", "body_mass", [(1,), (2,), (3,), (4,)]),  # the world has none
        ("Hopper-v5", "body_mass:each:1..2", "body_mass", [(0,), (1,), (2,), (3,), (4,)]),
        ("Hopper-v5", "geom_friction:floor[0]:x0.5..2", "geom_friction", [((0, 0),)]),
        ("Hopper-v5", "geom_friction:foot_geom:1..2", "geom_friction", [((4, 0), (4, 1), (4, 2))]),
        ("Hopper-v5", "dof_damping:each:x0.5..2", "dof_damping", [(3,), (4,), (5,)]),
        ("Ant-v5", "dof_damping:root:0..2", "dof_damping", [(0, 1, 2, 3, 4, 5)]),  # a free joint
        ("Ant-v5", "jnt_stiffness:hip_1:0..2", "jnt_stiffness", [(1,)]),
        ("HalfCheetah-v5", "actuator_gear:bthigh[0]:x0.5..2", "actuator_gear", [((0, 0),)]),
        ("Ant-v5", "actuator_gear:hip_4[0]:x0.5..2", "actuator_gear", [((0, 0),)]),  # named by its joint only
        ("Hopper-v5", "opt.gravity:z:-12..-7", "opt.gravity", [(2,)]),
        ("Hopper-v5", "opt.timestep:x0.5..1", "opt.timestep", [(...,)]),
    ],
)
def test_phrase_means_these_numbers(
    robot: str, phrase: str, field: str, indices: Sequence[tuple[object, ...]]
) -> None:
    found = knobs(phrase, robot)
    assert {knob.field for knob in found} == {field}
    assert [knob.indices for knob in found] == list(indices)
    assert {knob.scale for knob in found} == {":x" in phrase}


def test_an_environment_of_another_package_varies_by_its_id() -> None:
    pytest.importorskip("gymnasium_robotics", reason="an extra")
    suite = DynamicsConfig(
        env="gymnasium_robotics:FetchReachDense-v4", vary=("dof_damping:all:x0.5..2",), horizon=5
    ).build()
    assert suite.name == "dynamics-FetchReachDense-v4"
    assert suite.observation_space.shape == (16,)  # observation, desired and achieved goal
    light, heavy = (Task(suite.name, (value,), f"{suite.name}/test/{value}") for value in (0.5, 2.0))
    with closing(suite.make_vector_env(2, num_workers=1)) as env:
        env.set_tasks([light, heavy])
        seen = [env.reset(seed=[0, 0])[0]]
        seen += [env.step(np.ones((2, 4), np.float32))[0] for _ in range(3)]
    assert np.array_equal(seen[0][0], seen[0][1])
    assert not np.array_equal(seen[-1][0], seen[-1][1])


@pytest.mark.parametrize(
    ("field", "row"), [("body_ipos:torso[0]:0.01..0.02", 1), ("geom_pos:torso_geom[2]:0.1..0.2", 1)]
)
def test_a_frame_that_mujoco_fixed_is_refused(field: str, row: int) -> None:
    suite = DynamicsConfig(env="Hopper-v5", vary=(field,)).build()
    with pytest.raises(MetarlError, match=rf"reads no other {field.split(':')[0]} of row {row}"):
        suite.make_vector_env(1)


def test_a_package_that_there_is_not_is_named() -> None:
    with pytest.raises(MetarlError, match="Gymnasium cannot make no_such_package:Fetch-v4"):
        DynamicsConfig(env="no_such_package:Fetch-v4", vary=("body_mass:all:x0.5..2",)).build()


def ends(span: Range) -> tuple[float, float, float, float]:
    return span.low, span.high, span.least, span.greatest


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("x0.5..8", Range(0.5, 8.0, 0.25, 16.0, logarithmic=True)),  # a quarter of four doublings is one
        ("1..5", Range(1.0, 5.0, 0.5, 6.0)),  # 0 is none of it, so that the half is
        ("4..8", Range(4.0, 8.0, 3.0, 9.0)),
        ("-1..3", Range(-1.0, 3.0, -2.0, 4.0)),
        ("-12..-8", Range(-12.0, -8.0, -13.0, -7.0)),
        ("0..1e2", Range(0.0, 100.0, -25.0, 125.0)),
        ("-1e2..0", Range(-100.0, 0.0, -125.0, 25.0)),
    ],
)
def test_range_reaches_a_quarter_beyond_and_keeps_its_sign(numbers: str, expected: Range) -> None:
    (knob,) = knobs(f"opt.gravity:z:{numbers}")
    np.testing.assert_allclose(ends(knob.range), ends(expected), rtol=1e-15)
    assert knob.range.logarithmic == expected.logarithmic


def test_draws_fill_the_range_and_those_beyond_both_sides_of_it() -> None:
    rng = np.random.default_rng(0)
    factor = Range(0.5, 2.0, 0.25, 4.0, logarithmic=True)
    within = np.log2([factor.draw(rng) for _ in range(4000)])
    beyond = np.log2([factor.draw(rng, beyond=True) for _ in range(4000)])
    assert np.abs(within).max() <= 1.0
    # uniform in the logarithm: a quarter lies below the half of the lower half
    assert np.mean(within < -0.5) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 4000))
    assert 1.0 <= np.abs(beyond).min()
    assert np.abs(beyond).max() <= 2.0
    assert np.mean(beyond < 0) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(4000))


def test_knobs_turn_with_their_parameters() -> None:
    turned = ModelVariations((*knobs("body_mass:torso:x0.5..2"), *knobs("geom_friction:floor:1..2")))
    assert turned((1.5, 1.25)) == [
        Change("body_mass", 1, 1.5, scale=True),
        *(Change("geom_friction", (0, column), 1.25) for column in range(3)),
    ]


def test_hopper_and_walker_vary_what_rand_param_envs_varies() -> None:
    for config, counts in (
        (HopperRandParamsConfig(), (4, 12, 3, 15)),  # masses, inertias, dampings that are not 0, frictions
        (Walker2dRandParamsConfig(), (7, 21, 6, 24)),
    ):
        tasks = config.build().sample(300, np.random.default_rng(2))
        factors = np.log([task.parameters for task in tasks])
        assert factors.shape == (300, sum(counts))
        limits = np.repeat(np.log([1.5, 1.5, 1.3, 1.5]), counts) * 3.0
        greatest = np.abs(factors).max(axis=0) / limits
        assert (greatest <= 1.0 + 1e-12).all()
        assert (greatest > 0.95).all()


def test_every_number_of_a_model_out_of_range_lies_beyond() -> None:
    suite = HopperRandParamsConfig(test_range="out").build()
    factors = np.log([task.parameters for task in suite.tasks("test")])
    base = np.repeat(np.log([1.5, 1.5, 1.3, 1.5]), (4, 12, 3, 15))
    exponents = np.abs(factors / base)
    assert exponents.min() >= 3.0 - 1e-9
    assert exponents.max() <= 4.0 + 1e-9


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_changed_robot_steps_as_gymnasiums_changed_by_hand(engine: str) -> None:
    vary = ("body_mass:torso:x0.5..2", "geom_friction:all[0]:0.3..1.5", "opt.gravity:z:-12..-7")
    suite = DynamicsConfig(env="Walker2d-v5", vary=vary, horizon=20).build()
    env = suite.make_vector_env(2, engine=engine, num_workers=1)
    light, heavy = (0.5, 0.4, -7.0), (2.0, 1.4, -12.0)
    references = [gymnasium_env("Walker2d-v5") for _ in range(2)]
    for reference, (mass, friction, gravity) in zip(references, (light, heavy), strict=True):
        reference.model.body_mass[1] *= mass
        reference.model.geom_friction[:, 0] = friction
        reference.model.opt.gravity[2] = gravity
        mujoco.mj_setConst(reference.model, mujoco.MjData(reference.model))
    name = "dynamics-Walker2d-v5"
    env.set_tasks([Task(name, light, "light"), Task(name, heavy, "heavy")])
    observations, _ = env.reset(seed=4)
    for slot, reference in enumerate(references):
        np.testing.assert_array_equal(observations[slot], reference.reset(seed=4 + slot)[0])
    for action in suite_contract.draw_actions(suite, 20):
        observations, rewards, *_ = env.step(action[:2])
        for slot, reference in enumerate(references):
            observation, reward, *_ = reference.step(action[slot])
            np.testing.assert_array_equal(observations[slot], observation)
            assert rewards[slot] == reward
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("claim", suite_contract.SUITE_CLAIMS, ids=lambda claim: claim.__name__)
def test_any_other_mujoco_environment_keeps_the_contract(claim: Callable[[TaskDistribution], None]) -> None:
    claim(DynamicsConfig(env="Pusher-v5", vary=("body_mass:all:x0.5..2",), horizon=5).build())


def test_another_mujoco_environment_runs_on_processes_and_its_models_differ() -> None:
    suite = DynamicsConfig(env="Swimmer-v5", vary=("opt.viscosity:x0.2..5",), horizon=5).build()
    env = suite.make_vector_env(suite_contract.SLOTS, num_workers=1)
    for claim in (
        suite_contract.tasks_differ_in_effect,
        suite_contract.episodes_repeat_bit_for_bit,
        suite_contract.slots_of_one_task_and_seed_agree,
        suite_contract.truncation_comes_at_the_horizon_and_then_nothing,
    ):
        claim(suite, env)
    env.close()
    with pytest.raises(MetarlError, match="Swimmer-v5 needs the engine processes"):
        suite.make_vector_env(1, engine="threads")


@pytest.mark.parametrize(
    ("env", "phrase", "message"),
    [
        ("Hopper-v5", "body_mass:torzo:x0.5..2", "no body of Hopper-v5 called 'torzo'; did you mean 'torso'"),
        ("Hopper-v5", "dof_damping:thigh_jiont:x1..2", "did you mean 'thigh_joint'"),
        ("Hopper-v5", "geom_friction:flor:x1..2", "no geom of Hopper-v5 called 'flor'; did you mean 'floor'"),
        ("Hopper-v5", "body_mas:torso:x0.5..2", "did you mean 'body_mass'"),
        ("Hopper-v5", "opt.gravty:z:1..2", "did you mean 'opt.gravity'"),
        ("Hopper-v5", "opt.gravity:w:1..2", "no axis of opt.gravity called 'w'; known are: x, y, z"),
        ("Hopper-v5", "opt.timestep:z:1..2", "opt.timestep is a single number"),
        ("Hopper-v5", "opt.o_solref:1..2", "opt.o_solref has 2 numbers"),
        ("Hopper-v5", "body_mass:torso[2]:x1..2", "column of body_mass from 0 to 0, got 2"),
        ("Hopper-v5", "body_mass:torso:x0.5-2", "Expected a range like x0.5..2 or 3..5"),
        ("Hopper-v5", "body_mass:torso:2..1", "Expected a range like x0.5..2 or 3..5"),
        ("Hopper-v5", "body_mass:torso:x1..nan", "Expected a range like x0.5..2 or 3..5"),
        ("Hopper-v5", "body_mass:torso:x-1..2", "must be positive"),
        ("Hopper-v5", "body_mass:x1..2", "Expected FIELD:NAME:RANGE"),
        ("Hopper-v5", "body_mass::x1..2", "Expected FIELD:NAME:RANGE"),
        ("Hopper-v5", "x1..2", "Expected FIELD:NAME:RANGE"),
        ("Hopper-v5", "geom_size:all:x1..2", "a model field that can vary alone, got geom_size"),
        ("Hopper-v5", "geom_rbound:all:x1..2", "a model field that can vary alone, got geom_rbound"),
        ("Hopper-v5", "jnt_stiffness:each:x1..2", "which no factor changes"),
        ("Hopper-v5", "jnt_stiffness:all:x1..2", "Each number of jnt_stiffness of Hopper-v5 is 0, which no"),
        ("Ant-v5", "dof_damping:root:x1..2", "Each number of dof_damping:root of Ant-v5 is 0, which no"),
        ("Hopper-v5", "opt.gravity:x:x1..2", "Each number of opt.gravity:x of Hopper-v5 is 0, which no"),
        ("Hopper-v5", "tendon_damping:all:0..1", "Expected a robot that has tendon_damping, got Hopper-v5"),
        ("Hoper-v5", "body_mass:torso:x1..2", "did you mean 'Hopper-v5'"),
        ("CartPole-v1", "body_mass:torso:x1..2", "Expected a MuJoCo environment, got CartPole-v1"),
    ],
)
def test_wrong_word_is_named_in_one_sentence(env: str, phrase: str, message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        DynamicsConfig(env=env, vary=(phrase,)).build()


def test_nothing_is_varied_twice_and_something_is() -> None:
    with pytest.raises(MetarlError, match="got body_mass at 1 twice"):
        DynamicsConfig(env="Ant-v5", vary=("body_mass:torso:x1..2", "body_mass:each:x1..2")).build()
    with pytest.raises(MetarlError, match="vary must name at least one thing"):
        DynamicsConfig(vary=())
    with pytest.raises(MetarlError, match=r"log_scale_limit in \(0, 10\]"):
        HopperRandParamsConfig(log_scale_limit=0.0)
