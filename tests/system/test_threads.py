"""Threads of adapting and learning: how many there are, how work is split, and that no bit depends on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import gymnasium
import numpy as np
import pytest
import torch

from metarl.agents.gradient_based import GradientBasedAgent, GradientBasedConfig
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.rl2 import RL2Config
from metarl.cli.main import main
from metarl.config import AgentConfig, EvaluationConfig, SamplingConfig, construct
from metarl.errors import MetarlError, Stopped
from metarl.evaluation.evaluate import evaluate
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.meta_learner import MetaLearner
from metarl.plugins import registry
from metarl.system import threads
from metarl.system.cores import openmp_threads, usable_cores
from metarl.system.threads import (
    learning_threads,
    one_thread,
    parallel_map,
    stoppable,
    task_chunks,
    use_threads,
)
from metarl.tasks import TaskDistribution
from metarl.training.experiment import Experiment
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params, Rollout
from support import agent_contract, tiny
from support.agents import GRADIENT_BASED
from support.programs import POINT

ENOUGH = 8
"""Threads that every test machine can start, if not run at once."""


@contextmanager
def pytorch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def learned(config: AgentConfig) -> Params:
    """Return an agent's state after one meta-iteration on three tasks."""
    agent = agent_contract.build(config)
    agent.update(agent_contract.meta_batch(agent))
    return agent.state().tensors


def exactly_learned(config: AgentConfig) -> tuple[Params, dict[str, float]]:
    """Return an agent's parameters and metrics after one update in float64."""
    agent = tiny_agent(config)
    agent.params = {name: value.double() for name, value in agent.params.items()}
    agent.outer_state = {name: value.double() for name, value in agent.outer_state.items()}
    rollouts = [tiny.random_rollout(seed, episodes=6) for seed in range(agent.adaptation_steps + 1)]
    metrics = agent.update(rollouts)
    return agent.params, metrics


class TinySpaces:
    """All that building an agent reads of a suite; the spaces of the tiny rollouts."""

    observation_space = gymnasium.spaces.Box(-1, 1, (tiny.POLICY.observation_size,))
    action_space = gymnasium.spaces.Box(-1, 1, (tiny.POLICY.action_size,))


def tiny_agent(config: AgentConfig) -> GradientBasedAgent[GradientBasedConfig]:
    suite = cast("TaskDistribution", TinySpaces())
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    assert isinstance(agent, GradientBasedAgent)
    return agent


def small(name: str) -> AgentConfig:
    return construct(registry.agent(name), {"hidden_sizes": (8,)})


@pytest.mark.parametrize("name", GRADIENT_BASED)
def test_tasks_in_chunks_learn_what_all_at_once_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, told = exactly_learned(small(name))
    monkeypatch.setattr(threads, "WORK_PER_CHUNK", 1)
    chunked, also_told = exactly_learned(small(name))
    assert told == pytest.approx(also_told, rel=1e-6, abs=1e-9)
    assert whole.keys() == chunked.keys()
    for parameter, value in whole.items():
        torch.testing.assert_close(chunked[parameter], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["maml-trpo", "promp", "maml-ppo", "e-maml", "reptile"])
def test_number_of_threads_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORK_PER_CHUNK", 1)
    states = []
    for count in (1, 2, ENOUGH):
        with use_threads(count):
            states.append(learned(small(name)))
    for other in states[1:]:
        assert all(torch.equal(other[parameter], value) for parameter, value in states[0].items())


def test_wide_network_learns_the_same_bits_on_one_core_and_two() -> None:
    """OpenMP splits products of this size, and its sums depend on how many threads it has."""
    config = MAMLTRPOConfig(hidden_sizes=(300, 300))
    rollouts = [tiny.random_rollout(seed, episodes=40, dtype=torch.float32) for seed in range(2)]
    states = []
    for count in (1, 2):
        with pytorch_threads(count):
            agent = tiny_agent(config)
            agent.update(rollouts)
            actor = agent.adapt(agent.initial_actor(len(rollouts[0].mask)), rollouts[0])
            assert isinstance(actor, AdaptedPolicy)
            states.append(agent.state().tensors | {f"adapted.{key}": v for key, v in actor.params.items()})
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


class Watched:
    """An agent that notes on how many threads PyTorch computes while it adapts and learns."""

    def __init__(self, agent: MetaLearner) -> None:
        self.agent = agent
        self.seen: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.agent, name)

    def adapt(self, actor: object, rollout: Rollout, rng: object) -> object:
        self.seen.append(torch.get_num_threads())
        return self.agent.adapt(actor, rollout)  # type: ignore[arg-type]  # whatever the agent gave

    def update(self, rollouts: list[Rollout], *_: object) -> dict[str, float]:
        self.seen.append(torch.get_num_threads())
        return self.agent.update(rollouts)


def test_pytorch_has_one_thread_while_an_agent_adapts_learns_and_is_evaluated() -> None:
    suite, tasks = agent_contract.SUITE, agent_contract.TASKS
    agent = Watched(agent_contract.build(small("maml-trpo")))
    env, rng = suite.make_vector_env(12), np.random.default_rng(0)
    with pytorch_threads(2):
        meta_iteration(agent, env, tasks, episodes=4, horizon=8, rng=rng)  # type: ignore[arg-type]  # a stand-in
        config = EvaluationConfig(episodes=4, adaptation_episodes=4)
        evaluate(agent, env, tasks, config, adaptation_steps=1, horizon=8, rng=rng)  # type: ignore[arg-type]
        assert agent.seen == [1, 1, 1]
        assert torch.get_num_threads() == 2


def test_results_come_in_order_from_every_thread() -> None:
    barrier = threading.Barrier(2, timeout=30)  # passes only where two threads work at once

    def square(number: int) -> tuple[int, int]:
        if number < 2:
            barrier.wait()
        return number * number, torch.get_num_threads()

    with pytorch_threads(2), use_threads(2):
        assert parallel_map(square, range(5)) == [(number * number, 1) for number in range(5)]


def test_one_thread_starts_no_other() -> None:
    with use_threads(1):
        names = parallel_map(lambda _: threading.current_thread(), range(3))
    assert names == [threading.current_thread()] * 3


@pytest.mark.parametrize("count", [1, 3])
def test_first_error_in_order_reaches_the_caller(count: int) -> None:
    def fail(number: int) -> int:
        raise ValueError(str(number))

    with use_threads(count), pytest.raises(ValueError, match="0"):
        parallel_map(fail, range(1))
    with use_threads(count), pytest.raises(ValueError, match=r"[012]"):
        parallel_map(fail, range(3))


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_recorded_whatever_the_caller_does(count: int) -> None:
    leaf = torch.ones(2, requires_grad=True)
    with use_threads(count), torch.no_grad():
        assert parallel_map(lambda number: (number * leaf).requires_grad, range(4)) == [True] * 4


def test_small_work_is_one_chunk_and_large_work_one_a_task() -> None:
    assert task_chunks(5, threads.WORK_PER_CHUNK) == [slice(0, 5)]
    assert task_chunks(3, 100 * threads.WORK_PER_CHUNK) == [slice(0, 1), slice(1, 2), slice(2, 3)]


@pytest.mark.parametrize(("num_tasks", "share"), [(20, 7), (45, 16), (1, 3), (7, 2)])
def test_chunks_hold_every_task_once_and_are_even(num_tasks: int, share: int) -> None:
    chunks = task_chunks(num_tasks, share**2 * threads.WORK_PER_CHUNK)
    assert len(chunks) == min(num_tasks, share)
    assert [task for chunk in chunks for task in range(num_tasks)[chunk]] == list(range(num_tasks))
    sizes = {chunk.stop - chunk.start for chunk in chunks}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


def test_setting_of_openmp_bounds_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    for setting, expected in (("", 6), ("4", 4), ("9", 6), ("3,2", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
        assert learning_threads() == expected
    with use_threads(5):
        assert learning_threads() == 5


def test_choice_of_the_machine_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with use_threads(0):
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert learning_threads() == 4


@pytest.mark.parametrize("setting", ["0", "-1", "two", "1.5"])
def test_setting_of_openmp_that_is_no_number_is_refused(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    with pytest.raises(MetarlError, match="OMP_NUM_THREADS"):
        openmp_threads()


def test_nonsense_number_of_threads_ends_a_run_before_it_leaves_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert main([*POINT]) == 2
    assert capsys.readouterr().err.endswith(
        "metarl: Expected OMP_NUM_THREADS to be a positive number, got 'many'; change or unset it.\n"
    )
    assert list((tmp_path / "runs").iterdir()) == []


def machine(folder: Path, files: dict[str, str]) -> Path:
    """Write what the kernel would tell under ``/proc`` and ``/sys``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ({"sys/fs/cgroup/cpu.max": "nonsense\n"}, 8),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        (
            {
                "proc/self/cgroup": "0::/user.slice/job\n",
                "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n",
                "sys/fs/cgroup/user.slice/cpu.max": "400000 100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/a\n4:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "500000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
    ],
)
def test_quota_of_a_container_bounds_the_cores(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_cores(machine(tmp_path, files)) == cores


def test_affinity_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert usable_cores(machine(tmp_path, {"sys/fs/cgroup/cpu.max": "200000 100000\n"})) == 1


def test_pytorch_has_its_threads_back_after_an_error() -> None:
    with pytorch_threads(2):
        with pytest.raises(ValueError, match="1"), one_thread():
            raise ValueError(str(torch.get_num_threads()))
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("count", [1, 2])
def test_work_in_chunks_ends_before_the_next_chunk_when_it_is_asked_to_stop(count: int) -> None:
    done: list[int] = []
    with use_threads(count), stoppable(lambda: len(done) >= 3), pytest.raises(Stopped):
        parallel_map(done.append, range(1000))
    assert 3 <= len(done) <= 2 + count


def test_nobody_is_asked_after_the_work() -> None:
    with stoppable(lambda: True):
        pass
    assert parallel_map(str, [1, 2]) == ["1", "2"]


@pytest.mark.parametrize("name", GRADIENT_BASED)
def test_every_part_of_an_update_can_be_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORK_PER_CHUNK", 1)  # a chunk for each task
    agent, tasks = agent_contract.build(small(name)), agent_contract.TASKS
    rollouts = agent_contract.meta_batch(agent)
    asked = 0

    def update(stop_at: int) -> None:
        nonlocal asked
        asked = 0

        def should_stop() -> bool:
            nonlocal asked
            asked += 1
            return asked == stop_at

        with stoppable(should_stop):
            agent.update(rollouts, tasks, np.random.default_rng(0), should_stop)

    before = agent.state()
    update(stop_at=0)
    agent.load_state(before)
    questions = asked
    assert questions >= 2 * len(tasks)
    for stop_at in {1, questions // 2, questions}:
        with pytest.raises(Stopped):
            update(stop_at)
        assert asked == stop_at


def test_number_of_threads_changes_no_bit_of_a_new_agent(tmp_path: Path) -> None:
    """Orthogonal weights of this width come from a product that OpenMP splits."""
    config = registry.configure("point", RL2Config(memory_size=300, embedding_size=8))
    states = []
    for count in (1, 2):
        with pytorch_threads(count):
            states.append(Experiment(config, tmp_path).agent.state().tensors)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
