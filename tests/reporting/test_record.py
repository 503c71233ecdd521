"""A film shows the very episodes that an evaluation runs, and says of them what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metarl.config import EvaluationConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.video.record import (
    MAX_FRAMES,
    Clip,
    Film,
    FilmedEnv,
    View,
    film,
    find_task,
    measured_rollouts,
    outcome,
)
from metarl.training.experiment import Experiment
from metarl.types import Task
from metarl.vector_env import Picture, TaskVectorEnv
from support.programs import HORIZON, point_config
from support.tiny import ClimbEnv, climb

SMALL = View(size=64)


def experiment(folder: Path, **changes: object) -> Experiment:
    """Return an agent that was never trained, with three evaluated adaptation steps."""
    made = Experiment(point_config(**changes), folder)
    evaluation = replace(made.config.evaluation, adaptation_steps=3)
    made.config = replace(made.config, evaluation=evaluation)
    return made


def filmed(made: Experiment, *, place: int = 5, seed: int = 0) -> Film:
    """Film all rollouts of the adaptation to one task."""
    env = made.make_env()
    try:
        task = made.suite.tasks("test")[place]
        return film(made, env, task, seed=seed, view=SMALL, rollouts=range(100))
    finally:
        env.close()


@pytest.fixture
def point(tmp_path: Path) -> Experiment:
    return experiment(tmp_path)


@pytest.fixture
def env(point: Experiment) -> Iterator[TaskVectorEnv]:
    made = point.make_env()
    yield made
    made.close()


def test_filmed_episodes_are_those_of_an_evaluation(point: Experiment, env: TaskVectorEnv) -> None:
    seen = filmed(point, place=5, seed=7)
    measured = point.test(env, [seen.task], make_rng(7, Purpose.FILM, 5))
    np.testing.assert_array_equal(seen.evaluation.returns, measured.returns)


def test_clips_tell_of_the_first_measured_episode_after_each_step(point: Experiment) -> None:
    seen = filmed(point)
    totals = [clip.total for clip in seen.clips]
    np.testing.assert_allclose(totals, seen.evaluation.returns[0, :, 0], rtol=1e-5)
    assert seen.evaluation.successes is not None
    solved = [clip.solved_at is not None for clip in seen.clips]
    assert solved == seen.evaluation.successes[0, :, 0].tolist()


def test_looking_changes_no_episode(point: Experiment) -> None:
    env = point.make_env()
    task = point.suite.tasks("test")[5]
    unseen = film(point, env, task, seed=0, view=SMALL, rollouts=())
    env.close()
    assert unseen.clips == ()
    np.testing.assert_array_equal(unseen.evaluation.returns, filmed(point).evaluation.returns)


def test_another_seed_and_another_task_are_other_episodes(point: Experiment) -> None:
    totals = {
        filmed(point, place=place, seed=seed).clips[0].total for place, seed in ((5, 0), (5, 1), (6, 0))
    }
    assert len(totals) == 3


def test_frames_go_from_the_start_to_the_end_of_the_episode(point: Experiment, env: TaskVectorEnv) -> None:
    clip = filmed(point).clips[-1]
    assert (clip.steps, len(clip.frames)) == (HORIZON, HORIZON + 1)
    env.set_tasks([point.suite.tasks("test")[5]])
    env.reset(seed=0)
    np.testing.assert_array_equal(clip.frames[0], env.render_slot(0, width=64, height=64))  # type: ignore[attr-defined]  # PointVectorEnv draws
    assert any((frame != clip.frames[0]).any() for frame in clip.frames)


def test_long_episode_has_few_frames_and_the_last_shows_its_end(tmp_path: Path) -> None:
    made = experiment(tmp_path, suite=PointConfig(horizon=5 * MAX_FRAMES + 3))
    clip = filmed(made).clips[0]
    assert clip.steps == 5 * MAX_FRAMES + 3
    assert MAX_FRAMES / 2 < len(clip.frames) <= MAX_FRAMES + 2


def test_clip_ends_with_its_own_episode(tmp_path: Path) -> None:
    made = experiment(tmp_path, suite=PointConfig(horizon=200, terminate_at_goal=True))
    near = Task("point", (0.05, 0.0), "near")
    env = made.make_env()
    eye = FilmedEnv(env, SMALL, {0}, 1)
    eye.set_tasks([near, Task("point", (0.4, 0.4), "far")])
    eye.reset(seed=0)
    for _ in range(4):
        eye.step(np.tile([0.05, 0.0], (env.num_envs, 1)))
    env.close()
    (clip,) = eye.clips
    assert (clip.steps, clip.solved_at, len(clip.frames)) == (1, 1, 2)
    assert clip.total == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("deterministic", "steps", "expected"),
    [(False, 3, [0, 1, 2, 3]), (True, 3, [0, 2, 4, 6]), (True, 0, [0])],
)
def test_measured_rollouts_leave_out_those_to_learn_from(
    tmp_path: Path, deterministic: bool, steps: int, expected: list[int]
) -> None:
    evaluation = EvaluationConfig(
        episodes=2, adaptation_episodes=2, adaptation_steps=steps, deterministic=deterministic
    )
    made = Experiment(point_config(evaluation=evaluation), tmp_path)
    assert measured_rollouts(made) == expected
    env = made.make_env()
    eye = FilmedEnv(env, SMALL, (), 1)
    made.test(eye, [made.suite.tasks("test")[0]], np.random.default_rng(0))
    env.close()
    assert eye.rollout == expected[-1]


def test_each_frame_is_told_of_as_it_comes(point: Experiment, env: TaskVectorEnv) -> None:
    told: list[tuple[int, int]] = []
    task = point.suite.tasks("test")[0]
    film(
        point,
        env,
        task,
        seed=0,
        view=SMALL,
        rollouts=(0, 2),
        on_frame=lambda clip: told.append((clip.rollout, clip.steps)),
    )
    assert told == [(rollout, step) for rollout in (0, 2) for step in range(HORIZON + 1)]


class Growing(ClimbEnv):
    """Draws itself in another size at each step."""

    drawn = 0

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        self.drawn += 1
        return np.zeros((32 + self.drawn, 40, 3), np.uint8)


def test_pictures_of_changing_size_are_refused() -> None:
    eye = FilmedEnv(Growing(1, 5), SMALL, {0}, 1)
    eye.set_tasks([climb(0.0)])
    eye.reset(seed=[0])
    with pytest.raises(
        MetarlError, match=r"of one size, \(33, 40\) as the first, got \(34, 40\) after 1 step;"
    ):
        eye.step(np.zeros((1, 1)))


def test_environment_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(
        MetarlError, match="cannot be drawn: their vector environment, ClimbEnv, has no method"
    ):
        FilmedEnv(ClimbEnv(2, 5), SMALL, (0,), 1)


@pytest.mark.parametrize("size", [31, 2049])
def test_size_of_no_use_is_refused(size: int) -> None:
    with pytest.raises(MetarlError, match=r"size in \[32, 2048\]"):
        View(size=size)


TASKS = [
    Task(family, (float(i),), f"{family}/test/{i:02d}") for family in ("push-v3", "reach-v3") for i in (0, 1)
]


@pytest.mark.parametrize(
    ("name", "found"), [("reach-v3/test/01", TASKS[3]), ("reach-v3", TASKS[2]), ("1", TASKS[1])]
)
def test_task_is_found_by_its_id_its_number_or_as_the_first_of_its_family(name: str, found: Task) -> None:
    assert find_task(TASKS, name, "ml10") == found


def test_a_number_beyond_the_last_task_is_refused() -> None:
    with pytest.raises(MetarlError, match="number of a held-out task of ml10 must be 0 to 3, but it is 4"):
        find_task(TASKS, "4", "ml10")


@pytest.mark.parametrize(
    ("name", "nearest"), [("reach-v3/test/91", "reach-v3/test/01"), ("reach-v2", "reach-v3")]
)
def test_unknown_task_is_told_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(MetarlError) as refusal:
        find_task(TASKS, name, "ml10")
    assert (
        str(refusal.value) == f"There is no held-out task of ml10 called {name!r}; did you mean {nearest!r}?"
    )


@pytest.mark.parametrize(
    ("solved_at", "reports", "said"),
    [
        (7, True, "return -3.2, solved at step 7"),
        (None, True, "return -3.2, not solved in 20 steps"),
        (None, False, "return -3.2 in 20 steps"),
    ],
)
def test_outcome_is_said_in_words(solved_at: int | None, reports: bool, said: str) -> None:
    assert outcome(Clip(0, steps=20, total=-3.2, solved_at=solved_at), reports) == said
