from __future__ import annotations

import functools
import gc
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.envs.engines.processes import vector_env
from metarl.envs.engines.processes.env_pool import EnvFactory, EnvPool
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.errors import EngineError, MetarlError
from metarl.system.cores import usable_cores
from metarl.types import Task
from metarl.vector_env import Array
from support import task_envs
from support.task_envs import ACTION_SPACE, OBSERVATION_SPACE, Trap, Trapped, walk_tasks

HORIZON = task_envs.Walk.horizon
Trajectory: TypeAlias = list[tuple[Array, Array, Array, Array, Array]]


def build(
    num_envs: int,
    num_workers: int,
    *,
    factory: EnvFactory = task_envs.make,
    tasks: list[Task] | None = None,
    timeout: float = 60.0,
) -> ProcessTaskVectorEnv:
    return ProcessTaskVectorEnv(
        factory,
        default_tasks=tasks or walk_tasks(3),
        num_envs=num_envs,
        num_workers=num_workers,
        observation_space=OBSERVATION_SPACE,
        action_space=ACTION_SPACE,
        timeout=timeout,
    )


def actions_for(num_envs: int, steps: int = HORIZON, seed: int = 0) -> Array:
    drawn = np.random.default_rng(seed).uniform(-1.0, 1.0, size=(steps, num_envs, 2))
    return drawn.astype(np.float64)


def play(env: ProcessTaskVectorEnv, actions: Array) -> Trajectory:
    return [(*(step := env.step(action))[:4], step[4]["success"]) for action in actions]


def play_from_reset(env: ProcessTaskVectorEnv, seed: int = 5) -> Trajectory:
    first, _ = env.reset(seed=seed)
    zeros = np.zeros(env.num_envs)
    return [(first, zeros, zeros, zeros, zeros), *play(env, actions_for(env.num_envs))]


def assert_equal(one: Trajectory, other: Trajectory) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def children(of: int | None = None) -> list[psutil.Process]:
    return [p for p in psutil.Process(of).children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def wait_until(claim: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not claim() and time.monotonic() < end:
        time.sleep(0.02)
    return claim()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(children())
    yield
    if not set(children()) <= before:
        gc.collect()
    assert set(children()) <= before


@pytest.fixture(scope="module")
def shared_by_workers() -> Iterator[dict[int, ProcessTaskVectorEnv]]:
    vector_envs = {num_workers: build(5, num_workers) for num_workers in (1, 2, 3)}
    yield vector_envs
    for env in vector_envs.values():
        env.close()


@pytest.fixture
def by_workers(shared_by_workers: dict[int, ProcessTaskVectorEnv]) -> dict[int, ProcessTaskVectorEnv]:
    """Return vector environments of 5 slots with walks, by their number of workers."""
    for env in shared_by_workers.values():
        env.set_tasks([*walk_tasks(3), *walk_tasks(2)])
    return shared_by_workers


@pytest.fixture(scope="module")
def undisturbed(shared_by_workers: dict[int, ProcessTaskVectorEnv]) -> Trajectory:
    return play_from_reset(shared_by_workers[1])


@pytest.fixture(scope="module")
def shared_env() -> Iterator[ProcessTaskVectorEnv]:
    vector_env = build(4, 2)
    yield vector_env
    vector_env.close()


@pytest.fixture
def env(shared_env: ProcessTaskVectorEnv) -> ProcessTaskVectorEnv:
    """Return a vector environment of 4 slots with tasks, none of them running."""
    shared_env.set_tasks(walk_tasks(1))
    shared_env.reset()
    shared_env.set_tasks([*walk_tasks(3), *walk_tasks(1)])
    return shared_env


# Semantics


@pytest.mark.parametrize("num_workers", [2, 3])
def test_one_worker_equals_several_bit_for_bit(
    undisturbed: Trajectory, by_workers: dict[int, ProcessTaskVectorEnv], num_workers: int
) -> None:
    assert_equal(play_from_reset(by_workers[num_workers]), undisturbed)


def test_results_do_not_depend_on_workers_without_seeds(by_workers: dict[int, ProcessTaskVectorEnv]) -> None:
    def unseeded(env: ProcessTaskVectorEnv) -> list[Array]:
        env.reset(seed=3)
        return [env.reset()[0], env.reset()[0]]

    one, three = unseeded(by_workers[1]), unseeded(by_workers[3])
    np.testing.assert_array_equal(one, three)
    assert not np.array_equal(one[0], one[1])


def test_slots_equal_environments_stepped_by_hand(env: ProcessTaskVectorEnv) -> None:
    env.set_tasks(walk_tasks(4))
    env.reset(seed=11)
    actions = actions_for(4, steps=9).astype(np.float32)
    steps = [env.step(action) for action in actions]
    for slot, task in enumerate(walk_tasks(4)):
        alone = task_envs.Walk()
        alone.set_task(task)
        alone.reset(seed=11 + slot)
        for action, step in zip(actions[:, slot], steps, strict=True):
            observation, reward, terminated, truncated, info = alone.step(action)
            np.testing.assert_array_equal(step[0][slot], observation)
            assert [column[slot] for column in step[1:4]] == [reward, terminated, truncated]
            assert step[4]["success"][slot] == info["success"]


def test_pendulum_equals_gymnasiums_sync_vector_env() -> None:
    gravities = (9.81, 1.62, 3.71)
    sync = SyncVectorEnv(
        [functools.partial(task_envs.TaskPendulum, g=g) for g in gravities],
        autoreset_mode=AutoresetMode.DISABLED,
    )
    single = sync.single_observation_space, sync.single_action_space
    ours = ProcessTaskVectorEnv(
        lambda family: task_envs.TaskPendulum(),
        default_tasks=[Task("pendulum", (g,), str(g)) for g in gravities],
        num_envs=3,
        num_workers=2,
        observation_space=single[0],
        action_space=single[1],
    )
    assert_same_as_gymnasium(ours, sync)


def test_cart_pole_with_discrete_actions_equals_gymnasiums_sync_vector_env() -> None:
    sync = SyncVectorEnv([task_envs.TaskCartPole] * 3, autoreset_mode=AutoresetMode.DISABLED)
    ours = ProcessTaskVectorEnv(
        lambda family: task_envs.TaskCartPole(),
        default_tasks=[Task("cart-pole", (0.5,), "0")],
        num_envs=3,
        num_workers=2,
        observation_space=sync.single_observation_space,
        action_space=sync.single_action_space,
    )
    assert_same_as_gymnasium(ours, sync)


def assert_same_as_gymnasium(ours: ProcessTaskVectorEnv, sync: SyncVectorEnv[Array, Array]) -> None:
    """Play 100 steps with masked resets of what has ended, or of the first slot now and then."""
    assert ours.observation_space == sync.observation_space
    assert ours.action_space == sync.action_space
    np.testing.assert_array_equal(ours.reset(seed=7)[0], sync.reset(seed=7)[0], strict=True)
    ours.action_space.seed(0)
    for index in range(100):
        actions = ours.action_space.sample()
        mine, theirs = ours.step(actions), sync.step(actions)
        for a, b in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        mask = mine[2] | (np.arange(3) == 0 if index % 30 == 29 else np.zeros(3, bool))
        if mask.any():
            seeds = [100 * index + slot for slot in range(3)]
            left, _ = ours.reset(seed=seeds, options={"reset_mask": mask})
            right, _ = sync.reset(seed=list(seeds), options={"reset_mask": mask})
            np.testing.assert_array_equal(left, right, strict=True)
    ours.close()
    sync.close()


def test_masked_reset_leaves_other_slots_untouched(
    undisturbed: Trajectory, by_workers: dict[int, ProcessTaskVectorEnv]
) -> None:
    env = by_workers[2]
    env.reset(seed=5)
    actions = actions_for(5)
    steps = play(env, actions[:4])
    mask = np.array([False, True, False, False, True])
    env.reset(seed=900, options={"reset_mask": mask})
    steps += play(env, actions[4:])
    for step, expected in zip(steps, undisturbed[1:], strict=True):
        for a, b in zip(step, expected, strict=True):
            np.testing.assert_array_equal(a[~mask], b[~mask])
    assert not np.array_equal(steps[4][0][mask], undisturbed[5][0][mask])


def test_finished_slot_stays_idle_until_it_is_reset(env: ProcessTaskVectorEnv) -> None:
    env.set_tasks(walk_tasks(4))  # slot 0 terminates at step 9, slot 1 at step 10
    env.reset(seed=0)
    last = [env.step(action) for action in actions_for(4, steps=9)][-1]
    assert last[2].tolist() == [True, False, False, False]
    after = env.step(np.ones((4, 2)))
    np.testing.assert_array_equal(after[0][0], last[0][0])
    assert after[1][0] == 0.0
    assert after[2].tolist() == [False, True, False, False]
    assert after[4]["_success"].tolist() == [False, True, True, True]
    first, _ = env.reset(seed=0, options={"reset_mask": np.array([True, False, False, False])})
    assert first[0, 2] == 0.0
    assert env.step(np.ones((4, 2)))[0][0, 2] == 1.0


def test_slots_past_the_last_task_stay_idle(env: ProcessTaskVectorEnv) -> None:
    env.set_tasks(walk_tasks(3))
    first, _ = env.reset(seed=0)
    observations, rewards, *_ = env.step(np.ones((4, 2)))
    assert observations[:3, 2].tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(observations[3], first[3])
    assert rewards[3] == 0.0
    env.reset(seed=0, options={"reset_mask": np.array([False, False, False, True])})
    np.testing.assert_array_equal(env.step(np.ones((4, 2)))[0][3], first[3])


def test_slot_that_loses_its_task_stops(env: ProcessTaskVectorEnv) -> None:
    env.reset(seed=0)
    env.step(np.ones((4, 2)))
    env.set_tasks(walk_tasks(1))
    assert env.step(np.ones((4, 2)))[0][:, 2].tolist() == [2.0, 1.0, 1.0, 1.0]


def test_new_tasks_begin_at_the_next_reset(env: ProcessTaskVectorEnv) -> None:
    env.reset(seed=0)
    before = env.step(np.zeros((4, 2)))
    env.reset(seed=0)
    env.set_tasks([Task("walk", (50.0, 5.0), "far")] * 4)
    np.testing.assert_array_equal(env.step(np.zeros((4, 2)))[1], before[1])
    env.reset(seed=0)
    assert (env.step(np.zeros((4, 2)))[1] < -90.0).all()


def test_reset_without_set_tasks_runs_the_default_tasks_in_turn() -> None:
    env = build(5, 2, tasks=walk_tasks(2))
    env.reset(seed=0)
    ends = np.array([env.step(action)[2] for action in actions_for(5)])
    assert (ends.argmax(axis=0) + 1).tolist() == [9, 10, 9, 10, 9]
    env.close()


def test_stepping_before_any_reset_does_nothing() -> None:
    env = build(4, 2)
    observations, rewards, terminated, truncated, infos = env.step(np.ones((4, 2)))
    assert not observations.any()
    assert not rewards.any()
    assert not terminated.any()
    assert not truncated.any()
    assert infos == {}
    env.close()


def test_same_seed_gives_the_same_episode_whatever_ran_before(env: ProcessTaskVectorEnv) -> None:
    first = play_from_reset(env, seed=8)
    play_from_reset(env, seed=9)
    assert_equal(play_from_reset(env, seed=8), first)


def test_int_seed_counts_up_over_the_slots(env: ProcessTaskVectorEnv) -> None:
    one, _ = env.reset(seed=3)
    listed, _ = env.reset(seed=[3, 4, 5, 6])
    np.testing.assert_array_equal(one, listed)
    repeated, _ = env.reset(seed=[3, 3, 3, 3])
    np.testing.assert_array_equal(repeated, one[[0, 0, 0, 0]])


def test_unseeded_resets_of_two_environments_differ() -> None:
    one, other = build(1, 1), build(1, 1)
    assert not np.array_equal(one.reset()[0], other.reset()[0])
    one.close()
    other.close()


def test_unseeded_reset_follows_from_the_slots_last_seed(env: ProcessTaskVectorEnv) -> None:
    env.reset(seed=3)
    follows, _ = env.reset()
    env.reset(seed=77)
    env.reset(seed=[3, 4, 5, 6])
    mixed, _ = env.reset(seed=[None, None, 5, None])
    np.testing.assert_array_equal(mixed[[0, 1, 3]], follows[[0, 1, 3]])
    assert not np.array_equal(mixed[2], follows[2])


def test_other_reset_options_reach_the_environments(env: ProcessTaskVectorEnv) -> None:
    options: dict[str, object] = {"start": [4.0, 2.0], "reset_mask": np.array([True, False, False, True])}
    observations, _ = env.reset(seed=0, options=options)
    assert (observations[:, 0] == 4.0).tolist() == [True, False, False, True]
    assert set(options) == {"start", "reset_mask"}


def test_returned_arrays_are_copies(env: ProcessTaskVectorEnv) -> None:
    first, _ = env.reset(seed=0)
    kept = first.copy()
    step = env.step(np.ones((4, 2)))
    np.testing.assert_array_equal(first, kept)
    step[0][:] = np.nan
    assert np.isfinite(env.step(np.ones((4, 2)))[0]).all()


def test_environment_may_keep_the_action_it_was_given() -> None:
    env = build(1, 1, tasks=[Task("forgetful", (0.0, 9.0), "0")])
    alone = task_envs.Forgetful()
    alone.set_task(Task("forgetful", (0.0, 9.0), "0"))
    env.reset(seed=1)
    alone.reset(seed=1)
    for action in actions_for(1, steps=3).astype(np.float32):
        np.testing.assert_array_equal(env.step(action)[0][0], alone.step(action[0])[0])
    env.close()


def test_environments_that_say_nothing_of_success_leave_it_out() -> None:
    env = build(1, 1, tasks=walk_tasks(1, "silent"))
    env.reset(seed=0)
    assert env.step(np.zeros((1, 2)))[4] == {}
    env.close()


def test_declares_that_it_does_not_reset_by_itself(env: ProcessTaskVectorEnv) -> None:
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.observation_space.shape == (4, 3)
    assert env.action_space.shape == (4, 2)


# Arguments


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ([True] * 4, TypeError),
        (np.ones(3, bool), ValueError),
        (np.ones((4, 1), bool), ValueError),
        (np.ones(4, int), TypeError),
        (np.zeros(4, bool), ValueError),
    ],
)
def test_bad_masks_are_refused_as_gymnasium_does(
    env: ProcessTaskVectorEnv, mask: object, error: type[Exception]
) -> None:
    sync = SyncVectorEnv([task_envs.Walk] * 4, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(error, match="reset_mask"):
        sync.reset(options={"reset_mask": mask})
    with pytest.raises(error, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_wrong_arguments_are_refused_in_a_sentence(env: ProcessTaskVectorEnv) -> None:
    with pytest.raises(ValueError, match="4 slots, got 3"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(MetarlError, match=r"\(4, 2\), got \(2,\)"):
        env.step(np.zeros(2))
    with pytest.raises(MetarlError, match="Expected 1 to 4 tasks, one a slot, got 5"):
        env.set_tasks(walk_tasks(5))
    with pytest.raises(MetarlError, match="got 0"):
        env.set_tasks([])


@pytest.mark.parametrize(
    ("num_envs", "num_workers", "timeout", "sentence"),
    [(0, 1, 1.0, "num_envs"), (1, -1, 1.0, "num_workers"), (1, 1, 0.0, "timeout"), (1, 1, np.nan, "timeout")],
)
def test_absurd_numbers_are_refused(num_envs: int, num_workers: int, timeout: float, sentence: str) -> None:
    with pytest.raises(MetarlError, match=sentence):
        build(num_envs, num_workers, timeout=timeout)


def test_factory_that_cannot_travel_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(MetarlError, match="cannot be sent to other processes"):
        build(1, 1, factory=lambda family: task_envs.make(family if lock else ""))


def test_space_without_a_shape_is_refused() -> None:
    with pytest.raises(MetarlError, match="numeric dtype, got Text"):
        ProcessTaskVectorEnv(
            task_envs.make,
            default_tasks=walk_tasks(1),
            num_envs=1,
            observation_space=gymnasium.spaces.Text(3),
            action_space=ACTION_SPACE,
        )


def test_unknown_family_is_refused_as_the_factory_says(env: ProcessTaskVectorEnv) -> None:
    env.reset(seed=0)
    with pytest.raises(MetarlError, match="no family called 'wolk'; did you mean 'walk'") as caught:
        env.set_tasks([*walk_tasks(3), Task("wolk", (), "w")])
    assert not isinstance(caught.value, EngineError)
    assert env.step(np.ones((4, 2)))[0][:, 2].tolist() == [1.0] * 4


def test_family_that_cannot_be_built_is_named(env: ProcessTaskVectorEnv) -> None:
    with pytest.raises(EngineError, match="family 'unbuildable' can be built: OSError: no such robot"):
        env.set_tasks([Task("unbuildable", (), "u")])


# Exceptions in environments


@pytest.mark.parametrize("num_workers", [1, 3])
def test_exception_names_family_task_and_step(
    by_workers: dict[int, ProcessTaskVectorEnv], num_workers: int
) -> None:
    env = by_workers[num_workers]
    env.set_tasks([*walk_tasks(2), Task("broken", (0.0, 9.0), "broken-7"), *walk_tasks(2)])
    env.reset(seed=0)
    play(env, actions_for(5, steps=2))
    sentence = (
        "The environment of family 'broken', task 'broken-7', failed at step 3: "
        "ZeroDivisionError: the wheel came off. Badly."
    )
    with pytest.raises(EngineError) as caught:
        env.step(np.zeros((5, 2)))
    assert str(caught.value) == sentence
    assert "task_envs.py" in caught.value.__notes__[0]
    assert env.restarts == 0


def test_engine_starts_afresh_after_an_exception(
    undisturbed: Trajectory, by_workers: dict[int, ProcessTaskVectorEnv]
) -> None:
    env = by_workers[2]
    env.set_tasks(walk_tasks(5, "broken"))
    env.reset(seed=0)
    with pytest.raises(EngineError):
        play(env, actions_for(5))
    assert not env.step(np.ones((5, 2)))[1].any()
    env.set_tasks([*walk_tasks(3), *walk_tasks(2)])
    assert_equal(play_from_reset(env), undisturbed)


def test_observation_of_a_wrong_shape_is_refused(env: ProcessTaskVectorEnv) -> None:
    env.set_tasks(walk_tasks(1, "misshapen"))
    expected = r"of shape \(3,\) and dtype float32, got shape \(2,\) .*task 'misshapen-0', at the reset"
    with pytest.raises(EngineError, match=expected):
        env.reset()


# Workers that are lost


def build_and_list(
    num_envs: int, num_workers: int, *, factory: EnvFactory = task_envs.make
) -> tuple[ProcessTaskVectorEnv, list[psutil.Process]]:
    """Return a vector environment and its workers, in order."""
    others = children()
    env = build(num_envs, num_workers, factory=factory)
    return env, sorted(set(children()) - set(others), key=lambda process: process.pid)


def kill(worker: psutil.Process) -> None:
    worker.kill()
    assert wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE)  # waiting for it would take its status


@pytest.mark.parametrize("victim", [0, 1])
def test_killed_worker_changes_nothing_but_the_count(
    undisturbed: Trajectory, caplog: pytest.LogCaptureFixture, victim: int
) -> None:
    env, workers = build_and_list(5, 2)
    first, _ = env.reset(seed=5)
    actions = actions_for(5)
    steps = play(env, actions[:7])
    with caplog.at_level(logging.WARNING):
        kill(workers[victim])
        steps += play(env, actions[7:])
    np.testing.assert_array_equal(first, undisturbed[0][0])
    assert_equal(steps, undisturbed[1:])
    assert env.restarts == 1
    (line,) = caplog.messages
    assert line.startswith(f"Worker {victim} (slots {'0, 2, 4' if victim == 0 else '1, 3'})")
    assert line.endswith(
        f"signal 9 (Killed): restarted, {21 if victim == 0 else 14} steps of {3 - victim} episodes run again"
    )
    env.close()


def test_replay_after_staggered_resets_changes_nothing() -> None:
    def staggered(disturbed: bool) -> Trajectory:
        env, workers = build_and_list(4, 2)
        env.reset(seed=5)
        actions = actions_for(4)
        steps = play(env, actions[:3])
        env.reset(seed=40, options={"reset_mask": np.array([True, False, False, True])})
        steps += play(env, actions[3:10])  # slot 1 has ended by now
        for worker in workers if disturbed else []:
            kill(worker)
        steps += play(env, actions[10:])
        assert env.restarts == (2 if disturbed else 0)
        env.close()
        return steps

    assert_equal(staggered(disturbed=True), staggered(disturbed=False))


def test_worker_killed_before_a_masked_reset_keeps_its_other_episodes(undisturbed: Trajectory) -> None:
    env, workers = build_and_list(5, 1)
    env.reset(seed=5)
    actions = actions_for(5)
    play(env, actions[:4])
    kill(workers[0])
    env.reset(seed=5, options={"reset_mask": np.array([False, True, False, False, False])})
    step = env.step(actions[4])
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(step[0][others], undisturbed[5][0][others])
    assert env.restarts == 1
    env.close()


def trapped(tmp_path: Path, kind: str, *, forever: bool = False) -> tuple[EnvFactory, list[Task]]:
    flag = tmp_path / "flag"
    flag.touch()
    trap = Trap(str(flag), kind, forever)
    tasks = walk_tasks(3)
    tasks[1] = Task("walk", tasks[1].parameters, "trapped")
    return lambda family: Trapped(trap), tasks


@pytest.mark.parametrize(
    ("kind", "num_workers", "reason"),
    [("hang", 2, "made no progress for 1.5 s"), ("exit", 1, "status 7"), ("exit", 2, "status 7")],
)
def test_worker_lost_within_a_step_changes_nothing(
    undisturbed: Trajectory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    num_workers: int,
    reason: str,
) -> None:
    factory, tasks = trapped(tmp_path, kind)
    env = build(5, num_workers, factory=factory, tasks=tasks, timeout=1.5)
    with caplog.at_level(logging.WARNING):
        assert_equal(play_from_reset(env), undisturbed)
    assert env.restarts == 1
    assert reason in caplog.text
    env.close()


def test_worker_that_is_slow_but_works_is_left_alone() -> None:
    class Slow(task_envs.Walk):
        def step(
            self, action: task_envs.Vector
        ) -> tuple[task_envs.Vector, float, bool, bool, task_envs.Info]:
            time.sleep(0.3)
            return super().step(action)

    env = build(5, 1, factory=lambda family: Slow(), timeout=1.2)
    env.reset(seed=0)
    env.step(np.zeros((5, 2)))  # takes 1.5 s, though no environment takes 1.2 s
    assert env.restarts == 0
    env.close()


def test_infinite_timeout_waits_as_long_as_it_takes() -> None:
    env = build(2, 1, timeout=np.inf)
    env.reset(seed=0)
    assert env.step(np.zeros((2, 2)))[1].shape == (2,)
    assert env.restarts == 0
    env.close()


def test_worker_lost_over_and_over_is_given_up(tmp_path: Path) -> None:
    factory, tasks = trapped(tmp_path, "exit", forever=True)
    env = build(3, 2, factory=factory, tasks=tasks)
    env.reset(seed=0)
    play(env, actions_for(3, steps=3))
    with pytest.raises(EngineError, match=r"Worker 1 \(slots 1\) was lost 4 times in a row; .* status 7"):
        env.step(np.zeros((3, 2)))
    assert env.restarts == 3
    env.reset(seed=0)
    assert env.step(np.ones((3, 2)))[0][:, 2].tolist() == [1.0] * 3
    env.close()


# What workers are


def test_worker_imports_neither_torch_nor_matplotlib_and_has_one_thread() -> None:
    assert "torch" in sys.modules
    env = build(1, 1, tasks=walk_tasks(1, "witness"))
    imported, threads, _ = env.reset()[0][0]
    env.close()
    assert imported == 0.0
    assert threads == 1.0


def test_families_that_come_again_cost_no_rebuild() -> None:
    env = build(4, 1)
    for families in ("witness", "walk", "witness", "silent", "witness"):
        env.set_tasks(walk_tasks(4, families))
        observations, _ = env.reset(seed=0)
    assert observations[:, 2].tolist() == [4.0] * 4  # environments of this family that were ever built
    env.close()


def test_pool_closes_the_longest_idle_beyond_its_limit() -> None:
    closed: list[str] = []

    class Closing(task_envs.Walk):
        def __init__(self, family: str) -> None:
            self.family = family

        def close(self) -> None:
            closed.append(self.family)

    pool = EnvPool(Closing, max_idle=2)
    for family in "abcd":
        pool.give_back(family, Closing(family))
    pool.trim()
    assert closed == ["a", "b"]
    assert isinstance(kept := pool.take("c"), Closing)
    assert kept.family == "c"
    pool.close()
    assert closed == ["a", "b", "d"]


def test_both_workers_have_work_when_half_of_the_slots_are_in_use() -> None:
    class Located(task_envs.Walk):
        def _observation(self) -> task_envs.Vector:
            return np.array([os.getpid(), 0, self.count], dtype=np.float32)  # exact below 2**24

    env, workers = build_and_list(8, 2, factory=lambda family: Located())
    env.set_tasks(walk_tasks(4))
    env.reset(seed=0)
    observations = env.step(np.zeros((8, 2)))[0]
    assert Counter(observations[:4, 0].tolist()) == {worker.pid: 2 for worker in workers}
    env.close()


def test_no_more_workers_than_slots() -> None:
    env, workers = build_and_list(2, 8)
    assert len(workers) == 2
    env.close()


def test_zero_workers_means_one_a_core_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_env, "usable_cores", usable_cores)
    env, workers = build_and_list(5, 0)
    assert len(workers) == min(5, len(os.sched_getaffinity(0)))
    env.close()


# No orphans


def test_close_ends_the_workers_and_may_come_again() -> None:
    env, workers = build_and_list(3, 2)
    env.close()
    env.close()
    assert not any(worker.is_running() for worker in workers)
    with pytest.raises(MetarlError, match="closed"):
        env.reset()


def test_collected_environment_ends_its_workers() -> None:
    before = children()
    build(3, 2).reset()
    gc.collect()
    assert children() == before


def test_nothing_is_left_open_or_in_shared_memory() -> None:
    def inventory() -> tuple[int, set[Path]]:
        return len(os.listdir("/proc/self/fd")), set(Path("/dev/shm").glob("*metarl*"))  # noqa: PTH208

    before = inventory()
    for _ in range(3):
        env = build(3, 2)
        env.reset()
        env.close()
    del env
    gc.collect()
    assert inventory() == before


SCRIPT = """
import os, signal, sys, time
import gymnasium
import numpy as np
from gymnasium.spaces import Box
from metarl.envs.engines.processes import vector_env
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.types import Task

SPACE = Box(-1.0, 1.0, (1,), np.float32)

class Still(gymnasium.Env):
    observation_space = action_space = SPACE
    def set_task(self, task):
        self.task = task
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {{}}
    def step(self, action):
        time.sleep({sleep})
        return action, 1.0, False, False, {{}}

def make(family):
    return Still()

env = ProcessTaskVectorEnv(
    make, default_tasks=[Task("still", (), "0")], num_envs=3, num_workers=2,
    observation_space=SPACE, action_space=SPACE,
)
env.reset(seed=0)
{end}
"""


def start_script(tmp_path: Path, end: str, sleep: float = 0.0) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(end=end, sleep=sleep))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    )


def finish(script: subprocess.Popen[str]) -> tuple[str, str]:
    """Close its input, wait until it ends, and return what it wrote."""
    return script.communicate(timeout=60)


def workers_of(script: subprocess.Popen[str]) -> list[psutil.Process]:
    assert script.stdout is not None
    assert script.stdout.readline() == "ready\n"
    workers = children(script.pid)
    assert len(workers) == 2
    return workers


def assert_gone(processes: list[psutil.Process]) -> None:
    assert wait_until(lambda: not any(process.is_running() for process in processes))


def test_factory_of_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = start_script(tmp_path, "print(env.step(np.full((3, 1), 0.5))[0].tolist()); env.close()")
    assert finish(script) == ("[[0.5], [0.5], [0.5]]\n", "")
    assert script.returncode == 0


def test_script_that_forgets_to_close_leaves_no_worker(tmp_path: Path) -> None:
    script = start_script(tmp_path, "print('ready', flush=True); sys.stdin.read()")
    workers = workers_of(script)
    assert finish(script) == ("", "")
    assert not any(worker.is_running() for worker in workers)


def test_exception_in_the_parent_leaves_no_worker(tmp_path: Path) -> None:
    script = start_script(tmp_path, "print('ready', flush=True); sys.stdin.read(); raise KeyError('mine')")
    workers = workers_of(script)
    assert finish(script)[1].endswith("KeyError: 'mine'\n")
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.parametrize("sleep", [0.0, 3600.0], ids=["idle", "stuck in a step"])
def test_sigkill_of_the_parent_leaves_no_worker(tmp_path: Path, sleep: float) -> None:
    stuck = "env.step(np.zeros((3, 1)))" if sleep else "time.sleep(3600)"
    script = start_script(tmp_path, f"print('ready', flush=True); {stuck}", sleep)
    workers = workers_of(script)
    time.sleep(0.3)
    script.kill()
    assert_gone(workers)
    finish(script)


@pytest.mark.parametrize("sleep", [0.0, 3600.0], ids=["stepping", "stuck in a step"])
def test_ctrl_c_leaves_no_worker_and_no_noise(tmp_path: Path, sleep: float) -> None:
    forever = "print('ready', flush=True)\nwhile True: env.step(np.zeros((3, 1)))"
    script = start_script(tmp_path, forever, sleep)
    workers = workers_of(script)
    time.sleep(0.3)
    os.killpg(script.pid, signal.SIGINT)
    _, errors = finish(script)
    assert errors.count("Traceback") == 1
    assert errors.endswith("KeyboardInterrupt\n")
    assert_gone(workers)


def test_parent_that_handles_signals_to_its_group_keeps_its_workers(tmp_path: Path) -> None:
    end = """
got = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: got.append(number))
print("ready", flush=True)
while len(got) < 2:
    env.step(np.zeros((3, 1)))
for _ in range(100):
    env.step(np.zeros((3, 1)))
print(env.restarts)
env.close()
"""
    script = start_script(tmp_path, end)
    workers_of(script)
    for number in (signal.SIGINT, signal.SIGTERM):
        time.sleep(0.1)
        os.killpg(script.pid, number)
    assert finish(script) == ("0\n", "")


def test_engine_goes_on_after_an_interrupted_step(tmp_path: Path) -> None:
    end = """
def alarm(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    env.step(np.zeros((3, 1)))
except KeyboardInterrupt:
    print(env.reset(seed=1)[0].ravel().tolist())
env.close()
"""
    script = start_script(tmp_path, end, sleep=3600.0)
    assert finish(script)[0] == "[0.0, 0.0, 0.0]\n"
    assert script.returncode == 0


def test_answer_to_an_interrupted_step_is_not_taken_for_the_next_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env, other = build(2, 2), build(2, 2)
    env.reset(seed=0)

    def interrupt(_: object) -> None:
        assert wait_until(lambda: all(each.connection.poll() for each in env._supervisor._workers.values()))
        raise KeyboardInterrupt

    monkeypatch.setattr(env._supervisor, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        env.step(np.ones((2, 2)))
    monkeypatch.undo()
    np.testing.assert_array_equal(env.reset(seed=5)[0], other.reset(seed=5)[0])
    env.close()
    other.close()


def test_output_of_workers_stays_out_of_memory_where_standard_error_is_closed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    end = """
assert env._supervisor._memory > 2
print(env.step(np.full((3, 1), 0.5))[0].tolist())
env.close()
"""
    loud = SCRIPT.replace("time.sleep({sleep})", "print('x' * 500); os.system('echo loud')")
    script.write_text(loud.format(end=end))
    command = f"exec {shlex.quote(sys.executable)} {shlex.quote(str(script))} 2>&-"
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "[[0.5], [0.5], [0.5]]\n"


def test_workers_of_a_thread_outlive_it() -> None:
    built: list[ProcessTaskVectorEnv] = []
    thread = threading.Thread(target=lambda: built.append(build(2, 1)))
    thread.start()
    thread.join()
    (env,) = built
    time.sleep(0.2)
    env.reset(seed=0)
    assert env.restarts == 0
    env.close()


def test_forked_process_leaves_the_workers_alone(tmp_path: Path) -> None:
    end = """
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
env.step(np.zeros((3, 1)))
print(env.restarts)
env.close()
"""
    script = start_script(tmp_path, end)
    assert finish(script)[0] == "0\n"
