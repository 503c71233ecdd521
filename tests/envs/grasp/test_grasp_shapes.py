"""Objects to grasp: the suite contract, equality with the reference, lying still and being held."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mujoco
import numpy as np
import pytest
from metaworld.envs.sawyer_pick_place_v3 import SawyerPickPlaceEnvV3
from metaworld.policies import SawyerPickPlaceV3Policy

from metarl.config import construct
from metarl.envs.engines.rendering import offscreen
from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.worlds import read_field
from metarl.envs.grasp.env import grasp_class
from metarl.envs.grasp.objects import (
    FIELDS,
    PREFIX,
    SHAPES,
    TYPICAL,
    Thing,
    full_object_model,
    object_fields,
    object_model,
    rest_height,
)
from metarl.envs.grasp.suite import (
    FAMILIES,
    TEST_SHAPES,
    TRAIN_RANGES,
    TRAIN_SHAPES,
    UNSEEN_RANGES,
    GraspShapesConfig,
    GraspShapesTasks,
    draw_tasks,
)
from metarl.envs.metaworld.env import MetaWorldEnv
from metarl.envs.metaworld.reset_bank import set_rand_vec
from metarl.errors import EngineError, MetarlError
from metarl.plugins.registry import suite as suite_named
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Renderable, TaskVectorEnv
from support import suite_contract

HORIZON = 6
MIDDLE = (0.02, 0.65, 0.05, 0.85, 0.2)
"""A start and a goal."""
EXTREMES = (Thing(0.013, 0.1, 0.6), Thing(0.0201, 1.0, 1.5), Thing(0.024, 0.1, 0.6))


def reference_env(family: str) -> MetaWorldEnv:
    """Return the environment that the processes engine runs."""
    return MetaWorldEnv(family, known=FAMILIES)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def suite() -> GraspShapesTasks:
    """Return few families, of which one is a compound: each costs a model."""
    return GraspShapesConfig(
        train_shapes=("box", "roller"), test_shapes=("hammer",), layouts=3, horizon=HORIZON
    ).build()


@pytest.fixture(scope="module")
def env(suite: GraspShapesTasks) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


def task_of(shape: str, thing: Thing = TYPICAL, layout: tuple[float, ...] = MIDDLE) -> Task:
    return Task(PREFIX + shape, (*thing, *layout), f"{shape}/{thing.size}/{thing.mass}")


def start(tasks: Sequence[Task], horizon: int = 500) -> tuple[TaskVectorEnv, Array]:
    """Return an engine that has begun an episode of each task, and what it shows."""
    env = GraspShapesTasks(train=tuple(tasks), test=(), horizon=horizon).make_vector_env(len(tasks))
    env.set_tasks(tasks)
    observations, _ = env.reset()
    return env, observations


def scripted(observations: Array, tasks: Sequence[Task]) -> Array:
    """Return what Meta-World's policy does where it sees the goals."""
    policy = SawyerPickPlaceV3Policy()
    seen = [
        np.concatenate([o[:-3], task.parameters[5:]]) for o, task in zip(observations, tasks, strict=True)
    ]
    with warnings.catch_warnings():  # it warns of its own large actions
        warnings.simplefilter("ignore")
        return np.clip([policy.get_action(one) for one in seen], -1, 1).astype(np.float32)


@pytest.mark.parametrize("claim", suite_contract.SUITE_CLAIMS, ids=lambda claim: claim.__name__)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: GraspShapesTasks) -> None:
    claim(suite)


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: GraspShapesTasks, env: TaskVectorEnv
) -> None:
    claim(suite, env)


@pytest.mark.parametrize("shape", SHAPES)
def test_threads_show_what_the_reference_shows_while_it_grasps(shape: str) -> None:
    task = draw_tasks(shape, UNSEEN_RANGES, 1, 7, "test")[0]
    env, observations = start([task])
    reference = reference_env(task.family)
    reference.set_task(task)
    assert np.array_equal(reference.reset()[0], observations[0])
    lifted = 0.0
    for _ in range(60):
        action = scripted(observations, [task])
        observations, rewards, _, _, infos = env.step(action)
        shown, reward, _, _, info = reference.step(action[0])
        assert np.array_equal(shown, observations[0])
        assert reward == pytest.approx(rewards[0], rel=1e-6)  # Meta-World rounds some to float32
        assert info["success"] == infos["success"][0]
        lifted = max(lifted, shown[6] - rest_height(shape, task.parameters[0]))
    env.close()
    assert lifted > 0.01


def test_processes_give_the_same_episodes(suite: GraspShapesTasks) -> None:
    tasks = suite.sample(2, np.random.default_rng(0))
    actions = suite_contract.draw_actions(suite, HORIZON)[:, :2]
    played = []
    for engine in ("threads", "processes"):
        env = suite.make_vector_env(2, engine=engine, num_workers=1)
        played.append(suite_contract.play(env, tasks, actions))
        env.close()
    assert suite_contract.same(*played)


def test_resting_objects_move_less_than_a_millimetre_in_100_idle_steps() -> None:
    tasks = [task_of(shape, thing) for shape in SHAPES for thing in EXTREMES]
    env, before = start(tasks)
    moved = np.zeros(len(tasks))
    for _ in range(100):
        after = env.step(np.zeros((len(tasks), 4), np.float32))[0]
        moved = np.maximum(moved, np.linalg.norm(after[:, 4:7] - before[:, 4:7], axis=1))
    env.close()
    assert {task.id: distance for task, distance in zip(tasks, moved, strict=True) if distance > 1e-3} == {}


def test_scripted_policy_solves_every_shape() -> None:
    tasks = [task for shape in SHAPES for task in draw_tasks(shape, TRAIN_RANGES, 3, 1, "train")]
    env, observations = start(tasks)
    solved = np.zeros(len(tasks), np.bool_)
    for _ in range(120):
        observations, _, _, _, infos = env.step(scripted(observations, tasks))
        solved |= infos["success"]
    env.close()
    by_shape = dict(zip(SHAPES, solved.reshape(-1, 3).sum(axis=1), strict=True))
    assert {shape: count for shape, count in by_shape.items() if count < 2} == {}


def test_inertia_of_a_box_a_sphere_and_a_hammer_by_hand() -> None:
    thing = Thing(size=0.02, mass=0.3, friction=1.0)
    box, ball, hammer = (object_model(shape, thing).body("obj") for shape in ("box", "sphere", "hammer"))
    assert box.inertia == pytest.approx([0.3 / 12 * 2 * 0.04**2] * 3)
    assert ball.inertia == pytest.approx([0.4 * 0.3 * 0.02**2] * 3)
    # a handle of 6 x 2 x 2 at -1 and a head of 2 x 4.4 x 2 at 3, in units of the size
    assert hammer.ipos == pytest.approx([0.02 * (24 * -1 + 17.6 * 3) / (24 + 17.6), 0, 0], abs=1e-9)
    for body in (box, ball, hammer):
        assert body.mass == pytest.approx(0.3)


@pytest.mark.parametrize("shape", ["cylinder", "dumbbell"])
def test_fields_are_all_that_differs_between_two_objects_of_a_shape(shape: str) -> None:
    plain, other = object_model(shape), object_model(shape, EXTREMES[0])
    arrays = [name for name in dir(plain) if isinstance(getattr(plain, name), np.ndarray)]
    differing = {
        name
        for name in arrays
        if not np.array_equal(getattr(plain, name), getattr(other, name), equal_nan=False)
    }
    assert {"geom_size", "body_mass", "dof_invweight0"} <= differing
    # search trees, which these models do not use
    assert differing - {"bvh_aabb"} <= set(FIELDS)
    fields = object_fields(shape, EXTREMES[0])
    assert all(np.array_equal(fields[field], read_field(other, field)) for field in FIELDS)


def test_compiling_again_leaves_no_trace_of_the_object_before() -> None:
    first = object_fields("hammer", EXTREMES[1])
    object_fields("hammer", EXTREMES[2])
    fresh = full_object_model("hammer", EXTREMES[1])
    for field in (
        "body_mass",
        "body_inertia",
        "body_invweight0",
        "dof_invweight0",
        "qpos0",
        "stat.meaninertia",
    ):
        assert np.array_equal(first[field], read_field(fresh, field))


def test_slim_and_full_models_have_the_same_object() -> None:
    slim, full = object_model("beads", EXTREMES[1]), full_object_model("beads", EXTREMES[1])
    assert slim.ngeom < full.ngeom
    for name in ("objGeom", "objGeom1", "objGeom2"):
        assert np.array_equal(slim.geom(name).size, full.geom(name).size)
    assert np.array_equal(slim.dof_invweight0, full.dof_invweight0)


def test_object_decides_the_friction_of_its_contacts_with_the_fingers() -> None:
    """Without a priority the larger would count, the pads' 2.0, whatever the task says."""
    model = object_model("box", Thing(0.02, 0.4, 0.7))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    data.qpos[9:12] = data.body("leftpad").xpos
    mujoco.mj_forward(model, data)
    pad, held = model.geom("leftpad_geom").id, model.geom("objGeom").id
    touching = [contact for contact in data.contact if {contact.geom1, contact.geom2} == {pad, held}]
    assert touching
    assert {contact.friction[0] for contact in touching} == {0.7}


def test_caging_reward_of_the_pucks_width_is_meta_worlds_own() -> None:
    env = grasp_class("grasp-cylinder")(reward_function_version="v2")
    task = task_of("cylinder", Thing(0.02, 0.75, 1.0))
    set_rand_vec(env, task.family, np.array(task.parameters))
    observation, _ = env.reset()
    seen = set()
    for _ in range(45):
        action = scripted(observation[None], [task])[0]
        observation = env.step(action)[0]
        obj = observation[4:7]
        published = SawyerPickPlaceEnvV3._gripper_caging_reward(env, action, obj)  # type: ignore[arg-type]  # its subclass
        assert env._gripper_caging_reward(action, obj, 0.0, 0.0, 0.0, 0.0) == pytest.approx(
            published, abs=1e-12
        )
        seen.add(round(published, 2))
    assert len(seen) > 5


def test_nothing_but_the_pose_of_the_object_is_shown() -> None:
    tasks = [task_of("sphere", Thing(0.02, mass, friction)) for mass in (0.2, 0.6) for friction in (0.8, 1.2)]
    env, observations = start(tasks)
    env.close()
    assert np.ptp(observations, axis=0).max() < 1e-3
    assert not observations[:, 11:18].any()
    assert not observations[:, 36:].any()


def test_held_out_shapes_and_ranges() -> None:
    tasks = GraspShapesConfig(layouts=4).build()
    assert {task.family for task in tasks.train} == {PREFIX + shape for shape in TRAIN_SHAPES}
    new = [task for task in tasks.test if task.family in {PREFIX + shape for shape in TEST_SHAPES}]
    known = [task for task in tasks.test if task not in new]
    assert (len(new), len(known)) == (4 * len(TEST_SHAPES), 4 * len(TRAIN_SHAPES))
    for task in (*tasks.train, *new):
        size, mass, friction = task.parameters[:3]
        assert all((0.015 <= size <= 0.021, 0.2 <= mass <= 0.6, 0.8 <= friction <= 1.2))
    for task in known:
        size, mass, friction = task.parameters[:3]
        assert not any((0.015 < size < 0.021, 0.2 < mass < 0.6, 0.8 < friction < 1.2))
    assert GraspShapesConfig(layouts=4, held_out="shapes").build().test == tuple(new)
    assert GraspShapesConfig(layouts=4, held_out="ranges").build().test == tuple(known)


def test_starts_and_goals_are_pick_places() -> None:
    published = SawyerPickPlaceEnvV3()
    space = published._random_reset_space
    assert space is not None
    layouts = np.array([task.parameters[3:] for task in draw_tasks("box", TRAIN_RANGES, 300, 0, "train")])
    low, high = np.delete(space.low, 2), np.delete(space.high, 2)
    assert ((low <= layouts) & (layouts <= high)).all()
    assert (np.ptp(layouts, axis=0) > 0.9 * (high - low)).all()
    assert (np.linalg.norm(layouts[:, :2] - layouts[:, 2:4], axis=1) >= 0.15).all()


def test_first_tasks_do_not_depend_on_how_many_are_drawn() -> None:
    assert draw_tasks("box", TRAIN_RANGES, 9, 0, "train")[:4] == draw_tasks(
        "box", TRAIN_RANGES, 4, 0, "train"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_shapes": ["box", "spere"]}, "no shape called 'spere'; did you mean 'sphere'"),
        ({"test_shapes": ["box"]}, "No shape may be trained on and held out, but it is box"),
        ({"train_shapes": []}, "Shapes must be named"),
        ({"held_out": "shape"}, "held_out of GraspShapesConfig cannot be 'shape'"),
        ({"layouts": 0}, r"layouts in \[1, 10000\], got 0"),
        ({"horizon": 501}, r"horizon in \[1, 500\], got 501"),
    ],
)
def test_bad_setting_is_refused_in_one_sentence(settings: dict[str, object], message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        construct(suite_named("grasp-shapes"), settings)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((0.02, 0.4, *MIDDLE), "Expected 8 finite parameters"),
        ((-0.02, 0.4, 1.0, *MIDDLE), "size of an object must be positive"),
        ((0.02, 0.4, 0.0, *MIDDLE), "friction of an object must be positive"),
        ((*TYPICAL, 0.0, 0.7, 0.0, 0.8, 0.2), "goal must be 0.15 m from the start"),
    ],
)
@pytest.mark.parametrize("engine", ["threads", "reference"])
def test_task_that_is_no_object_is_refused(
    parameters: tuple[float, ...], message: str, engine: str, env: TaskVectorEnv
) -> None:
    task = Task("grasp-box", parameters, "odd")

    def run() -> None:
        if engine == "threads":
            env.set_tasks([task])
            env.reset()
        else:
            reference = reference_env("grasp-box")
            reference.set_task(task)
            reference.reset()

    with pytest.raises(MetarlError, match=message):
        run()


def test_unknown_family_is_refused() -> None:
    with pytest.raises(MetarlError, match="did you mean 'grasp-sphere'"):
        reference_env("grasp-spheres")


def test_picture_shows_the_size_of_the_object_and_both_engines_draw_alike() -> None:
    try:
        offscreen.gl_context()
    except EngineError as error:
        pytest.skip(str(error))
    tasks = [task_of("hammer", thing) for thing in (EXTREMES[0], EXTREMES[2])]
    env, _ = start(tasks)
    assert isinstance(env, Renderable)
    small, large = (env.render_slot(slot, camera="topview", width=64, height=64) for slot in (0, 1))
    env.close()
    reference = reference_env("grasp-hammer")
    reference.set_task(tasks[1])
    reference.reset()
    drawn = reference.draw(camera="topview", width=64, height=64)
    reference.close()
    assert np.array_equal(drawn, large)
    assert 0 < (small != large).any(axis=2).sum() < 500


def test_program_counts_what_the_policy_solves(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))
    row = importlib.import_module("benchmarks.learning.grasp_shapes").measure(
        "capsule", "training", layouts=2, steps=80, seed=0
    )
    assert (row.shape, row.split, row.layouts) == ("capsule", "training", 2)
    assert (row.solved, row.kept) == (2, 2)
    assert 20 < row.median_steps < 80
