"""Factors of variation: the same episodes on both engines, physics as compiled, held-out values apart."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import pytest

from metarl.config import SuiteConfig
from metarl.envs.engines.threads.model_changes import ModelChanger
from metarl.envs.engines.threads.slim import compile_slim, slim_spec
from metarl.envs.engines.threads.worlds import read_field, write_field
from metarl.envs.metaworld import factors
from metarl.envs.metaworld.env import MetaWorldEnv
from metarl.envs.metaworld.factors import FACTORS, SIZED, Variation, draw_factors, model_fields, object_body
from metarl.envs.metaworld.rewards.catalog import TASKS
from metarl.envs.metaworld.suite import ML1Config, ML10Config
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.evaluation.factors import factors_of_tasks
from metarl.evaluation.record import Evaluation
from metarl.reporting.tables import factor_table
from metarl.success_bonus import with_success_bonus
from metarl.tasks import Parameter, Split
from metarl.types import Task

ALL = tuple(FACTORS)
CHANGING = ("size", "mass", "friction")
FAMILY = "push-v3"


def test_an_episode_is_the_same_on_both_engines_after_another_task() -> None:
    suite = ML1Config(task=FAMILY, vary=ALL, horizon=30, training_goals=1, test_goals=2).build()
    first, other = suite.tasks("test")
    rng = np.random.default_rng(0)
    reference = MetaWorldEnv(FAMILY, horizon=30, known=suite.known)
    with closing(suite.make_vector_env(1, engine="threads", num_workers=1)) as env, closing(reference):
        for task in (other, first):
            env.set_tasks([task])
            reference.set_task(task)
            assert np.array_equal(env.reset()[0][0], reference.reset()[0])
        for _ in range(30):
            # down on the puck, with the fingers closing
            action = rng.uniform((-0.3, 0, -1, 0), (0.3, 0.6, 0, 1)).astype(np.float32)
            seen, reward, *_ = env.step(action[None])
            expected, paid, *_ = reference.step(action)
            assert np.array_equal(seen[0], expected)
            assert reward[0] == pytest.approx(paid, abs=1e-6)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_another_size_moves_as_mujoco_compiles_it(factor: float) -> None:
    model = Variation(("size",)).stepped(FAMILY, ())
    original = {field: read_field(model, field) for field in factors._FIELDS["size"]}
    for field, values in model_fields(FAMILY, ("size",), np.array([factor])).items():
        write_field(model, field, values)
    # the same puck, written into the model's source
    [geom] = factors.touching_geoms(model, object_body(model, FAMILY))
    spec = slim_spec(factors.environment_class(FAMILY).__new__(factors.environment_class(FAMILY)).model_name)
    source = next(each for each in spec.body("obj").geoms if each.contype)
    height = original["geom_size"][geom, 1]
    source.size = original["geom_size"][geom] * factor
    source.pos = (0.0, 0.0, (factor - 1) * height)
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    compiled = compile_slim(spec)
    compiled.eq_data[:] = model.eq_data
    for field in ("geom_size", "geom_pos", "geom_rbound", "geom_aabb"):
        np.testing.assert_allclose(read_field(model, field), read_field(compiled, field), atol=1e-15)
    # the source states its inertia, which the size does not change there
    for field in (*factors._OF_INERTIA, "geom_pos", "geom_rbound", "geom_aabb"):
        write_field(compiled, field, read_field(model, field))
    worlds = [(each, mujoco.MjData(each)) for each in (model, compiled)]
    for step in range(200):
        for each, data in worlds:
            data.mocap_pos[0] = (0.0, 0.6 + 0.02 * (step // 40), 0.05)
            data.mocap_quat[0], data.ctrl[:] = (1, 0, 1, 0), (1, -1)
            mujoco.mj_step(each, data)
    (_, ours), (_, theirs) = worlds
    assert ours.ncon > 0
    assert np.array_equal(ours.qpos, theirs.qpos)


@pytest.mark.parametrize(("factor", "value"), [("size", 1.2), ("mass", 4.0), ("friction", 0.5)])
def test_no_field_changes_but_those_that_worlds_have_to_themselves(factor: str, value: float) -> None:
    model = factors._slim(FAMILY)
    changes = factors._CHANGES[factor](model, FAMILY, value)
    assert set(ModelChanger(model).fields(changes)) <= set(factors._FIELDS[factor])


def test_mass_and_friction_multiply_what_meta_world_has() -> None:
    model, drawer = factors._slim("drawer-open-v3"), ("mass", "friction")
    body = object_body(model, "drawer-open-v3")
    fields = model_fields("drawer-open-v3", drawer, np.array([2.0, 0.5]))
    assert model.body(body).name == "drawer_link"
    assert fields["body_mass"][body] == 2 * model.body_mass[body]
    assert np.array_equal(fields["geom_friction"], 0.5 * model.geom_friction)
    assert fields["dof_damping"][model.body_dofadr[body]] == 0.5 * model.dof_damping[model.body_dofadr[body]]


def test_colour_and_camera_change_the_pictures_alone() -> None:
    names = ("colour", "camera")
    assert model_fields(FAMILY, names, np.array([0.0, 30.0])) == {}
    original, model = factors._full(FAMILY), factors.full_model(FAMILY)
    Variation(names).look(model, FAMILY, (0.0, 30.0))
    [puck] = factors.touching_geoms(model, object_body(model, FAMILY))
    assert model.geom_rgba[puck, 0] == pytest.approx(0.95)  # hue 0 is red
    camera = model.camera("corner2").id
    before, after = (each.cam_pos[camera] - factors._AROUND for each in (original, model))
    cosine = before[:2] @ after[:2] / (np.linalg.norm(before[:2]) * np.linalg.norm(after[:2]))
    assert np.degrees(np.arccos(cosine)) == pytest.approx(30.0)
    assert after[2] == before[2]


def test_held_out_factors_are_outside_the_training_ranges() -> None:
    suite = ML1Config(task="pick-place-v3", vary=("friction", "size")).build()
    assert [each.name for each in suite.describe_parameters("pick-place-v3")][6:] == ["size", "friction"]
    low, high = np.transpose([(FACTORS[name].low, FACTORS[name].high) for name in ("size", "friction")])
    for tasks, inside in ((suite.train, True), (suite.test, False)):
        values = np.array([task.parameters[6:] for task in tasks])
        assert ((low <= values) & (values <= high) == inside).all()
    within = ML1Config(task="pick-place-v3", vary=("size",), test_range="in").build()
    assert all(0.9 <= task.parameters[6] <= 1.1 for task in within.tasks("test"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_first_factors_do_not_depend_on_how_many_are_drawn_or_what_else_varies(split: Split) -> None:
    few = draw_factors(FAMILY, ("mass",), 3, 42, split, beyond=True)
    many = draw_factors(FAMILY, ("size", "mass"), 9, 42, split, beyond=True)
    assert np.array_equal(few[:, 0], many[:3, 1])


def test_the_name_says_what_varies() -> None:
    assert ML1Config(task=FAMILY, vary=("friction", "mass")).label == "ml1-push-v3+vary-mass,friction"
    goals = ML10Config(vary=("mass",), test_range="in", training_goals=500)
    assert goals.label == "ml10+goals500+vary-mass-in"
    assert ML1Config(task=FAMILY).label == "ml1-push-v3"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (lambda: ML1Config(vary=("mas",)), "did you mean 'mass'"),
        (lambda: ML1Config(task=FAMILY, vary=("mass", "mass")), "vary once, got mass, mass"),
        (lambda: ML1Config(task="reach-v3", vary=("mass",)), "factors that reach-v3 has, got mass"),
        (lambda: ML1Config(task="drawer-open-v3", vary=("size",)), "drawer-open-v3 has, got size"),
    ],
)
def test_a_factor_that_there_is_not_is_refused(config: type[SuiteConfig], said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        config()


def test_the_gpu_engine_is_refused() -> None:
    suite = ML1Config(task=FAMILY, vary=("mass",)).build()
    with pytest.raises(MetarlError, match="threads or processes for tasks that vary, got warp"):
        suite.make_vector_env(1, engine="warp")


def test_families_without_a_factor_keep_their_tasks() -> None:
    suite, plain_suite = ML10Config(vary=("mass",)).build(), ML10Config().build()
    numbers = {task.id: len(task.parameters) for task in suite.tasks("train")}
    for task in plain_suite.tasks("train"):
        assert numbers[task.id] == len(task.parameters) + (task.family != "reach-v3")


def test_a_table_has_the_tasks_below_in_and_above_the_training_range() -> None:
    suite = ML1Config(task=FAMILY, vary=("mass",)).build()
    tasks = [
        replace(task, parameters=(*task.parameters[:6], mass))
        for task, mass in zip(suite.tasks("test"), (0.3, 1.0, 3.0, 3.5), strict=False)
    ]
    returns = np.array([[[0.0]], [[10.0]], [[20.0]], [[40.0]]])
    found = factors_of_tasks(with_success_bonus(suite, 1.0), tasks)
    assert found[0].to_json() == {"trained": [0.5, 2.0], "values": [0.3, 1.0, 3.0, 3.5]}
    table = factor_table(Evaluation(tuple(tasks), returns, None, 0), found)
    assert [(row.name, row.values[1]) for row in table.rows] == [
        ("mass < 0.5 (1)", 0.0),
        ("mass 0.5 to 2 (1)", 10.0),
        ("mass > 2 (2)", 30.0),
    ]


def test_factors_come_in_the_order_of_the_tasks_whichever_families_have_them() -> None:
    @dataclass(frozen=True)
    class OneEach(PointTasks):
        def describe_parameters(self, family: str) -> list[Parameter]:
            return [Parameter(family, observed=False, trained=(0.0, 1.0))]

    tasks = [Task(f"family{number}", (0.5,), f"task{number}") for number in range(20)]
    assert [each.name for each in factors_of_tasks(OneEach(), tasks)] == [task.family for task in tasks]


@pytest.mark.slow
def test_size_varies_where_the_object_is_one_block_without_a_site_that_is_read() -> None:
    blocks = (mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER)
    found = []
    for family, task in TASKS.items():
        if family in factors._NO_OBJECT:
            continue
        model = factors._slim(family)
        body = object_body(model, family)
        assert body > 0
        touching = factors.touching_geoms(model, body)
        sites = [feature.name for feature in task.features if feature.of == "site"]
        read = [name for name in sites if model.body_weldid[model.site(name).bodyid[0]] == body]
        if (
            len(touching) == 1
            and model.geom_type[touching[0]] in blocks
            and not read
            and "reach" not in family
        ):
            found.append(family)
    assert set(found) == set(SIZED)
