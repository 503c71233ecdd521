"""Training tasks: drawn anew in each iteration, or from a list that a run keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metarl.config import SamplingConfig
from metarl.envs.metaworld.suite import ML10Config
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.meta_learner import Plan
from metarl.tasks import TaskDistribution
from metarl.training import runs
from metarl.training.training_tasks import TrainingTasks
from metarl.types import Task
from support.programs import point_config
from support.two_doors import TRAIN, TwoDoors

POINT = PointConfig(horizon=20).build()


def drawn(suite: TaskDistribution, count: int, seed: int = 3, draws: int = 20) -> list[Task]:
    """Return the tasks of many meta-batches of four."""
    tasks, rng = TrainingTasks(suite, count, seed), np.random.default_rng(0)
    return [task for _ in range(draws) for task in tasks.draw(Plan(), 4, rng)]


def test_tasks_of_a_fixed_list_come_again() -> None:
    assert len(set(drawn(POINT, 6))) == 6
    assert len(set(drawn(POINT, 0))) == 80


def test_meta_batch_has_each_task_of_the_list_once_at_most() -> None:
    tasks, rng = TrainingTasks(POINT, 4, 0), np.random.default_rng(0)
    for _ in range(20):
        assert set(tasks.draw(Plan(), 4, rng)) == set(tasks.fixed)


def test_list_is_a_function_of_the_seed() -> None:
    lists = [TrainingTasks(POINT, 5, seed).fixed for seed in (1, 1, 2)]
    assert lists[0] == lists[1] != lists[2]


def test_no_task_of_the_list_is_held_out() -> None:
    fixed = TrainingTasks(POINT, 50, 3400).fixed
    assert not {task.parameters for task in fixed} & {task.parameters for task in POINT.tasks("test")}


@pytest.mark.parametrize("count", [8, 9, 1000])
def test_finite_suite_gives_its_own_list(count: int) -> None:
    assert TrainingTasks(TwoDoors(), count, 0).fixed == TRAIN


def test_part_of_a_finite_list_is_even_over_families() -> None:
    fixed = TrainingTasks(ML10Config().build(), 20, 0).fixed
    assert set(Counter(task.family for task in fixed).values()) == {2}
    assert len(set(fixed)) == 20


@pytest.mark.parametrize("count", [-1, 1_000_001])
def test_number_of_tasks_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(MetarlError, match=r"training_tasks in \[0, 1000000\], got"):
        SamplingConfig(training_tasks=count)


def test_resumed_run_has_the_list_that_it_had(tmp_path: Path) -> None:
    config = point_config(sampling=SamplingConfig(meta_batch_size=4, episodes=2, training_tasks=6))
    begun = runs.start(replace(config, iterations=1), tmp_path)
    begun.run()
    assert (
        runs.resume(tmp_path / "it", print, iterations=2).training_tasks.fixed == begun.training_tasks.fixed
    )
