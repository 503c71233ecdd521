"""Pictures: pixel for pixel those of Meta-World, of any slot of any engine, without touching an episode."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs import from_gymnasium
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.envs.engines.processes.worker import check_picture
from metarl.envs.engines.rendering import offscreen
from metarl.envs.metaworld.models import environment_class
from metarl.envs.metaworld.rendering import CAMERAS
from metarl.envs.metaworld.reset_bank import set_rand_vec
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.envs.metaworld.vector_env import MetaWorldVectorEnv, VectorOptions
from metarl.envs.toy.point import PointConfig
from metarl.envs.toy.point_drawing import VIEW
from metarl.errors import EngineError, MetarlError
from metarl.system.caches import cache_folder
from metarl.types import Task
from metarl.vector_env import Picture, Renderable, TaskVectorEnv
from support.physics import rand_vec
from support.task_envs import Drawing, Unpaintable, set_goal

FAMILY = "pick-place-v3"
# A site that moves with the goal, a body that does, and a geom that only a camera sees.
FAMILIES = (FAMILY, "basketball-v3", "drawer-open-v3", "hammer-v3")
WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def needs_gl() -> None:
    """Skip where nothing can be drawn."""
    try:
        offscreen.gl_context()
    except EngineError as error:
        pytest.skip(str(error))


def task_of(family: str, number: int = 1) -> Task:
    return Task(family, tuple(rand_vec(environment_class(family)(), number).tolist()), f"{family}/{number}")


@pytest.fixture(scope="module")
def tasks() -> tuple[Task, ...]:
    return tuple(task_of(family) for family in FAMILIES)


@pytest.fixture(scope="module")
def env(tasks: tuple[Task, ...], cache: Path) -> Iterator[SawyerVectorEnv]:
    """Return an engine some steps after a reset."""
    del cache
    env = MetaWorldTasks(name="four", train=tasks, test=()).make_vector_env(len(tasks))
    assert isinstance(env, SawyerVectorEnv)
    env.reset()
    for actions in actions_of(5, len(tasks)):
        env.step(actions)
    yield env
    env.close()


def actions_of(num_steps: int, slots: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(-1, 1, (num_steps, slots, 4)).astype(np.float32)


def original(task: Task, camera: str, actions: Sequence[np.ndarray]) -> Picture:
    """Return what Meta-World's own environment draws after some steps."""
    env: SawyerXYZEnv = environment_class(task.family)(
        render_mode="rgb_array", camera_name=camera, width=WIDTH, height=HEIGHT
    )
    set_rand_vec(env, task.family, np.array(task.parameters))
    env.reset()
    for action in actions:
        env.step(action)
    picture = np.array(env.render())
    env.close()
    return picture


@pytest.mark.usefixtures("needs_gl")
@pytest.mark.parametrize("slot", range(len(FAMILIES)), ids=FAMILIES)
def test_picture_equals_that_of_metaworld(
    env: SawyerVectorEnv, tasks: tuple[Task, ...], slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", offscreen.gl_backend())  # Gymnasium tries windows first
    theirs = original(tasks[slot], "corner2", actions_of(5, len(tasks))[:, slot])
    ours = env.render_slot(slot, camera="corner2", width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.std() > 10


@pytest.mark.usefixtures("needs_gl")
def test_every_camera_shows_something_else(env: SawyerVectorEnv) -> None:
    pictures = {env.render_slot(0, camera=c, width=WIDTH, height=HEIGHT).tobytes() for c in CAMERAS}
    assert len(pictures) == len(CAMERAS)


@pytest.mark.usefixtures("needs_gl")
def test_camera_of_choice_is_corner2_upright(env: SawyerVectorEnv) -> None:
    chosen, named = (env.render_slot(0, camera=c, width=WIDTH, height=HEIGHT) for c in (None, "corner2"))
    np.testing.assert_array_equal(chosen, named[::-1, ::-1])


@pytest.mark.usefixtures("needs_gl")
def test_pictures_do_not_depend_on_what_was_drawn_before(env: SawyerVectorEnv) -> None:
    first = [env.render_slot(slot, width=WIDTH, height=HEIGHT) for slot in (0, 1, 2)]
    env.render_slot(3, width=30, height=90)
    again = [env.render_slot(slot, width=WIDTH, height=HEIGHT) for slot in (2, 0, 1)]
    for before, after in zip(first, (again[1], again[2], again[0]), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.usefixtures("needs_gl")
def test_looking_changes_nothing(tasks: tuple[Task, ...], cache: Path) -> None:
    del cache
    told = []
    for looks in (False, True):
        env = MetaWorldTasks(name="four", train=tasks, test=()).make_vector_env(len(tasks))
        env.reset()
        seen = []
        for actions in actions_of(6, len(tasks)):
            seen += list(env.step(actions)[:2])
            if looks:
                assert isinstance(env, Renderable)
                env.render_slot(1, width=WIDTH, height=HEIGHT)
        env.close()
        told.append(seen)
    assert all(np.array_equal(a, b) for a, b in zip(*told, strict=True))


@pytest.mark.usefixtures("needs_gl")
def test_process_engine_draws_the_same(env: SawyerVectorEnv, tasks: tuple[Task, ...]) -> None:
    theirs = MetaWorldTasks(name="two", train=tasks[:2], test=()).make_vector_env(
        2, engine="processes", num_workers=1
    )
    assert isinstance(theirs, Renderable)
    with pytest.raises(MetarlError, match="Slot 0 has nothing to show"):
        theirs.render_slot(0)
    theirs.reset()
    for actions in actions_of(5, len(tasks)):
        theirs.step(actions[:2])
    for slot in (1, 0):
        np.testing.assert_array_equal(
            theirs.render_slot(slot, width=WIDTH, height=HEIGHT),
            env.render_slot(slot, width=WIDTH, height=HEIGHT),
        )
    theirs.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessTaskVectorEnv]:
    box = gymnasium.spaces.Box(-1, 1, (1,))
    tasks = [Task("draws", (), "a"), Task("does not", (), "b")]
    env = ProcessTaskVectorEnv(
        Drawing, default_tasks=tasks, num_envs=2, num_workers=1, observation_space=box, action_space=box
    )
    env.reset()
    yield env
    env.close()


def test_process_engine_shows_what_an_environment_renders(processes: ProcessTaskVectorEnv) -> None:
    np.testing.assert_array_equal(processes.render_slot(0), np.full((3, 4, 3), 7))
    processes.step(np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("slot", "camera", "said"),
    [
        (1, None, 'build it with render_mode="rgb_array"'),
        (0, "top", "no choice of cameras"),
        (2, None, "0 to 1"),
    ],
)
def test_process_engine_says_why_it_shows_nothing(
    processes: ProcessTaskVectorEnv, slot: int, camera: str | None, said: str
) -> None:
    with pytest.raises(MetarlError, match=said):
        processes.render_slot(slot, camera=camera)


@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (None, "NoneType"),
        ([np.zeros((4, 4, 3), np.uint8)], "list"),
        (np.zeros((4, 4, 3)), "float64 of shape (4, 4, 3)"),
        (np.zeros((4, 4), np.uint8), "uint8 of shape (4, 4)"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 of shape (4, 4, 4)"),  # with a channel of transparency
        (np.zeros((0, 4, 3), np.uint8), "uint8 of shape (0, 4, 3)"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_came(picture: object, got: str) -> None:
    with pytest.raises(MetarlError, match=f"shows no picture but {re.escape(got)}; build it with"):
        check_picture(picture, "walk")


@pytest.mark.usefixtures("needs_gl")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"slot": 4}, "Expected a slot from 0 to 3, got 4"),
        ({"slot": 0, "camera": "corner9"}, "no camera called 'corner9'; did you mean 'corner'?"),
        ({"slot": 0, "width": 0}, "got 0 x 480"),
        ({"slot": 0, "height": 5000}, "got 480 x 5000"),
    ],
)
def test_mistake_is_one_clear_sentence(env: SawyerVectorEnv, arguments: dict[str, object], said: str) -> None:
    render: Callable[..., Picture] = env.render_slot
    with pytest.raises(MetarlError, match=said.replace("?", r"\?")):
        render(**arguments)


def test_without_opengl_it_says_what_to_install(
    env: SawyerVectorEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offscreen, "gl_backend", lambda: "no_such_library")
    monkeypatch.delattr(offscreen._of_this_thread, "context", raising=False)
    with pytest.raises(EngineError, match="apt install libegl1"):
        env.render_slot(0, width=17, height=17)


@pytest.mark.usefixtures("needs_gl")
def test_an_environment_of_ones_own_finds_opengl_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    tasks = from_gymnasium(
        "InvertedPendulum-v5", sample=lambda rng: rng.uniform(), apply=lambda env, mass: None, horizon=5
    )
    env = tasks.make_vector_env(1)
    env.reset(seed=0)
    assert env.render_slot(0).std() > 1
    env.close()


def test_an_environment_that_fails_to_draw_itself_says_so() -> None:
    tasks = from_gymnasium(Unpaintable, sample=lambda rng: rng.uniform(), apply=set_goal, horizon=5)
    env = tasks.make_vector_env(1)
    env.reset(seed=0)
    with pytest.raises(EngineError, match=r"cannot draw itself \(RuntimeError: no paint\)"):
        env.render_slot(0)
    env.close()


@pytest.mark.usefixtures("needs_gl")
def test_gymnasium_renders_all_slots_or_those_chosen(tasks: tuple[Task, ...], cache: Path) -> None:
    del cache
    options = VectorOptions(
        render_mode="rgb_array", render_slots=(2, 0), camera_id=2, width=WIDTH, height=HEIGHT
    )
    env = MetaWorldVectorEnv(
        [[task] for task in tasks], families=FAMILIES, options=options, cache=cache_folder() / "resets"
    )
    env.reset()
    frames = env.render()
    assert [frame.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 2
    for frame, slot in zip(frames, (2, 0), strict=True):
        np.testing.assert_array_equal(
            frame, env.render_slot(slot, camera=CAMERAS[2], width=WIDTH, height=HEIGHT)
        )
    env.close()


def test_render_without_a_render_mode_says_how() -> None:
    env = MetaWorldVectorEnv([[task_of(FAMILY)]], families=[FAMILY])
    with pytest.raises(MetarlError, match='made with render_mode="rgb_array"'):
        env.render()
    env.close()


@pytest.fixture
def point() -> TaskVectorEnv:
    env = PointConfig().build().make_vector_env(2)
    env.set_tasks([Task("point", (0.3, -0.2), "a"), Task("point", (0.0, 0.0), "b")])
    env.reset()
    return env


def centre_of(
    picture: Picture, colour: tuple[int, int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return where in the plane a colour lies in the mean."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    size = len(picture)
    return (np.array([columns.mean(), size - 1 - rows.mean()]) - (size - 1) / 2) * 2 * VIEW / size


def test_point_is_drawn_where_it_is_and_its_goal_where_that_is(point: TaskVectorEnv) -> None:
    assert isinstance(point, Renderable)
    point.step(np.array([[0.1, 0.05], [0.0, 0.0]]))
    picture = point.render_slot(0, width=600, height=600)
    np.testing.assert_allclose(centre_of(picture, (30, 70, 170)), [0.1, 0.05], atol=0.003)
    np.testing.assert_allclose(centre_of(picture, (44, 140, 60)), [0.3, -0.2], atol=0.003)


def test_point_that_walked_away_is_drawn_on_the_edge(point: TaskVectorEnv) -> None:
    assert isinstance(point, Renderable)
    for _ in range(20):
        point.step(np.full((2, 2), 0.1))
    np.testing.assert_allclose(
        centre_of(point.render_slot(0, width=600, height=600), (30, 70, 170)), VIEW - 0.025, atol=0.003
    )


@pytest.mark.parametrize("arguments", [{"camera": "top"}, {"width": 0}, {"slot": 2}])
def test_point_refuses_what_makes_no_sense(point: TaskVectorEnv, arguments: dict[str, object]) -> None:
    assert isinstance(point, Renderable)
    render: Callable[..., Picture] = point.render_slot
    with pytest.raises(MetarlError):
        render(**{"slot": 0, **arguments})
