"""Tasks as records, even sampling over families, and the check that test tasks are held out."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.errors import MetarlError
from metarl.tasks import check_disjoint, sample_evenly
from metarl.types import Task
from support.splits import Splits

FAMILIES = {"a": 5, "b": 3, "c": 1}
TASKS = [Task(name, (float(i),), f"{name}{i}") for name, count in FAMILIES.items() for i in range(count)]


def draw(num_tasks: int, seed: int = 0) -> list[Task]:
    return sample_evenly(TASKS, num_tasks, np.random.default_rng(seed))


@pytest.mark.parametrize("num_tasks", range(1, 20))
def test_families_differ_by_at_most_one(num_tasks: int) -> None:
    drawn = draw(num_tasks)
    counts = Counter(dict.fromkeys(FAMILIES, 0))
    counts.update(task.family for task in drawn)
    assert len(drawn) == num_tasks
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("num_tasks", range(1, 20))
def test_task_comes_again_only_when_its_family_has_no_other(num_tasks: int) -> None:
    counts = Counter(draw(num_tasks))
    for family, size in FAMILIES.items():
        times = [counts[task] for task in TASKS if task.family == family]
        assert len(times) == size
        assert max(times) - min(times) <= 1


def test_every_task_is_drawn_equally_often() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(sample_evenly(TASKS, 1, rng)[0] for _ in range(9000))
    # A family of n tasks gives each of them 9000 / 3 / n draws; 5 standard deviations of a count.
    for task in TASKS:
        share = 1 / 3 / FAMILIES[task.family]
        assert counts[task] == pytest.approx(9000 * share, abs=5 * (9000 * share * (1 - share)) ** 0.5)


def test_families_share_the_remainder_by_chance() -> None:
    rng = np.random.default_rng(0)
    extra = Counter(
        Counter(task.family for task in sample_evenly(TASKS, 4, rng)).most_common(1)[0][0] for _ in range(900)
    )
    assert all(extra[family] == pytest.approx(300, abs=5 * 200**0.5) for family in FAMILIES)


def test_sampling_is_a_function_of_the_generator() -> None:
    assert draw(7, seed=1) == draw(7, seed=1)
    assert draw(7, seed=1) != draw(7, seed=2)


@pytest.mark.parametrize("num_tasks", [0, -3])
def test_sampling_no_task_is_refused(num_tasks: int) -> None:
    with pytest.raises(MetarlError, match="Expected the number of tasks to sample >= 1"):
        draw(num_tasks)


def test_disjoint_splits_pass() -> None:
    check_disjoint(Splits((Task("a", (1.0,), "x"), Task("b", (2.0,), "z")), (Task("a", (2.0,), "y"),)))


@pytest.mark.parametrize(
    "leak",
    [Task("a", (1.0,), "x"), Task("a", (1.0,), "under another id"), Task("a", (9.0,), "x")],
    ids=["the same task", "the same parameters", "the same id"],
)
def test_a_test_task_put_into_training_is_found(leak: Task) -> None:
    splits = Splits((Task("a", (1.0,), "x"),), (Task("a", (2.0,), "y"), leak))
    with pytest.raises(MetarlError, match=f"Test task '{leak.id}' of splits is also a training task"):
        check_disjoint(splits)


@given(st.text(), st.lists(st.floats(allow_nan=False)), st.text())
def test_task_survives_json_exactly(family: str, parameters: list[float], name: str) -> None:
    task = Task(family, tuple(parameters), name)
    back = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert back == task
    assert hash(back) == hash(task)
    assert np.array(back.parameters).tobytes() == np.array(task.parameters).tobytes()


def test_task_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        TASKS[0].family = "other"  # type: ignore[misc]  # that is what is tested
