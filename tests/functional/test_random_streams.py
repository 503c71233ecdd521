"""Random streams: no two purposes, seeds or iterations share one, and none is that of a bare seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from metarl.baselines.learners import LearnerConfig, PPOLearner
from metarl.envs.toy.point import PointConfig, PointVectorEnv
from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.plugins import registry
from metarl.sb3.vec_env import TaskVecEnv, from_training, in_turn
from metarl.tasks import Split, sample_training
from metarl.types import Task
from support import tiny
from support.splits import Splits

EDGES = (3400, 8254, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**64 + 3400)
SEEDS = (*range(1000), *EDGES)


def first_draws(seeds: tuple[int, ...], indices: range) -> Iterator[int]:
    for seed, purpose, index in product(seeds, Purpose, indices):
        yield int(make_rng(seed, purpose, index).integers(2**63))


def test_streams_of_all_purposes_seeds_and_iterations_differ() -> None:
    draws = [*first_draws(SEEDS, range(1)), *first_draws(EDGES, range(1, 50))]
    assert len(set(draws)) == len(draws)


def test_no_stream_is_that_of_a_bare_seed() -> None:
    bare = {int(np.random.default_rng(seed).integers(2**63)) for seed in SEEDS}
    assert not bare & {*first_draws(SEEDS, range(1)), *first_draws(EDGES, range(1, 50))}


def test_streams_with_and_without_an_index_differ() -> None:
    keys = [(), (0,), (0, 0), (1, 2), (12,), ("1", 2), ("12",), ("a", "b"), ("ab",)]
    draws = {int(make_rng(7, Purpose.BASELINE_LEARNING, *key).integers(2**63)) for key in keys}
    assert len(draws) == len(keys)


def test_stream_is_the_same_on_every_machine() -> None:
    # sha256sum of '["metarl", "training", 3, 2]', in little-endian words.
    words = [
        0x8A0E6D24, 0x1694EC6B, 0x41797560, 0x9D9DC91C,
        0x0DB139E9, 0x920C30BA, 0xC2BA041C, 0xBF9CC4F9,
    ]  # fmt: skip
    expected = np.random.default_rng(words).integers(100, size=5)
    assert make_rng(3, Purpose.TRAINING, 2).integers(100, size=5).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("suite", "seed"),
    [("point", 3400), ("half-cheetah-vel", 8254), ("ant-goal", 8254), ("walker2d-rand-params", 8254)],
)
def test_seed_of_the_held_out_list_trains_on_other_tasks(suite: str, seed: int) -> None:
    tasks = registry.suite(suite)().build()
    held_out = {task.parameters for task in tasks.tasks("test")}
    for iteration in range(3):
        drawn = tasks.sample(20, make_rng(seed, Purpose.TRAINING, iteration))
        assert not held_out & {task.parameters for task in drawn}


def lot(*starts: float) -> list[Task]:
    return [tiny.climb(start) for start in starts]


class Dice(Splits):
    """Draws training tasks from six numbers, some of which may be held out."""

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return lot(*rng.integers(6, size=num_tasks).astype(float))


def test_training_tasks_that_are_held_out_are_drawn_again() -> None:
    dice = Dice(train=(), test=tuple(lot(0.0, 3.0)))
    drawn = sample_training(dice, 500, np.random.default_rng(0))
    assert {task.parameters[0] for task in drawn} == {1.0, 2.0, 4.0, 5.0}


def test_distribution_that_draws_held_out_tasks_alone_is_refused() -> None:
    dice = Dice(train=(), test=tuple(lot(*map(float, range(6)))))
    with pytest.raises(MetarlError, match=r"sample\(\) of splits must draw training tasks, but it draws"):
        sample_training(dice, 3, np.random.default_rng(0))


def test_baselines_train_on_no_held_out_task() -> None:
    dice = Dice(train=(), test=tuple(lot(0.0, 3.0)))
    draw = from_training(dice, np.random.default_rng(0))
    assert not {0.0, 3.0} & {task.parameters[0] for _ in range(20) for task in draw(range(8))}


def test_episodes_of_a_baseline_do_not_start_from_the_seed_of_its_actions() -> None:
    suite, seeds = PointConfig(horizon=8).build(), []

    class Spy(PointVectorEnv):
        def reset(self, *, seed: list[int], options: dict[str, object]) -> object:  # type: ignore[override]
            seeds.extend(seed)
            return super().reset(seed=seed, options=options)

    env = TaskVecEnv(Spy(suite, 2), in_turn(suite.tasks("train")), unit_actions=True)
    PPOLearner(env, LearnerConfig(steps=32, seed=5)).learn(lambda slots: None)
    assert seeds
    assert not {5, 6} & set(seeds)
