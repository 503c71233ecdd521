"""Meta-iterations that an agent plans: filling a buffer first, learning without new data."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.config import EvaluationConfig, ExperimentConfig, SamplingConfig
from metarl.errors import MetarlError, Stopped
from metarl.meta_learner import Plan
from metarl.plugins import entry_points
from metarl.rollouts.collect import collect, join_episodes, join_tasks
from metarl.storage.metrics import read_metrics
from metarl.training import runs
from metarl.training.meta_iteration import mean_metrics, meta_iteration
from metarl.training.step_counts import most_env_steps, remaining_vector_steps
from metarl.types import Rollout, Task
from support import replay_agent
from support.programs import REPLAY, Trap, errors, outcome, point_config, resume, run
from support.replay_agent import ReplayAgentConfig
from support.tiny import ClimbEnv, StrideAgent, climb, random_rollout

SCHEDULED = (*REPLAY, "--agent.planned", "--sampling.training-tasks", "5", "--agent.capacity", "800")
TASKS = [climb(float(n)) for n in range(5)]


@pytest.fixture(autouse=True)
def agent_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "_entries", entry_points._entries)  # put back afterwards
    replay_agent.offer()


class Noted(StrideAgent):
    """An agent that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int, int]] = []
        """What, how many rollouts, and how many tasks."""

    def plan(self, iteration: int) -> Plan:
        return Plan()

    def remember(self, rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> None:
        self.asked.append(("remember", len(rollouts), len(tasks)))

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        if should_stop():
            raise Stopped
        self.asked.append(("update", len(rollouts), len(tasks)))
        return {"loss": float(len(self.asked))}


@pytest.mark.parametrize(
    ("plan", "asked", "rollouts"),
    [
        (Plan(), [("update", 2, 5)], 2),
        (Plan(learns=False), [("remember", 2, 5)], 2),
        (Plan(adaptation_steps=0, learns=False), [("remember", 1, 5)], 1),
        (Plan(adaptation_steps=3), [("update", 4, 5)], 4),
        (Plan(further_updates=2), [("update", 2, 5), ("update", 0, 0), ("update", 0, 0)], 2),
        (Plan("nothing", further_updates=1), [("update", 0, 0)], 0),
        (Plan("all tasks", learns=False), [("remember", 2, 5)], 2),
    ],
)
def test_agent_is_asked_for_what_it_planned(
    plan: Plan, asked: list[tuple[str, int, int]], rollouts: int
) -> None:
    agent, env = Noted(), ClimbEnv(10, horizon=3)
    done = meta_iteration(agent, env, TASKS, episodes=2, horizon=3, rng=np.random.default_rng(0), plan=plan)
    assert agent.asked == asked
    assert [len(rollout.mask) for rollout in done.rollouts] == [5] * rollouts
    assert env.steps_taken == 3 * rollouts


def test_tasks_take_turns_where_slots_are_few() -> None:
    agent, env = Noted(), ClimbEnv(4, horizon=3)
    done = meta_iteration(
        agent,
        env,
        TASKS,
        episodes=2,
        horizon=3,
        rng=np.random.default_rng(0),
        plan=Plan("all tasks", adaptation_steps=0, learns=False),
    )
    assert agent.asked == [("remember", 1, 5)]
    assert env.steps_taken == 3 * 3
    assert done.rollouts[0].observations[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_metrics_of_several_updates_are_their_means() -> None:
    agent = Noted()
    done = meta_iteration(
        agent,
        ClimbEnv(10, horizon=3),
        TASKS,
        episodes=2,
        horizon=3,
        rng=np.random.default_rng(0),
        plan=Plan(further_updates=2),
    )
    assert done.metrics == {"loss": (1 + 2 + 3) / 3}
    assert mean_metrics([{"a": 1.0}, {"a": 2.0, "b": 5.0}]) == {"a": 1.5, "b": 5.0}


def test_stop_is_asked_for_in_further_updates() -> None:
    calls = iter([False, True])
    with pytest.raises(Stopped):
        meta_iteration(
            Noted(),
            ClimbEnv(10, horizon=3),
            TASKS,
            episodes=2,
            horizon=3,
            rng=np.random.default_rng(0),
            should_stop=lambda: next(calls),
            plan=Plan(further_updates=1),
        )


def test_joined_rollouts_are_those_of_all_tasks_at_once() -> None:
    agent = StrideAgent(noise=0.0)

    def collected(tasks: Sequence[Task]) -> Rollout:
        env, rng = ClimbEnv(10, horizon=3), np.random.default_rng(0)
        return collect(env, tasks, agent.initial_actor(len(tasks)), episodes=2, horizon=3, rng=rng)

    joined = join_tasks([collected(TASKS[:2]), collected(TASKS[2:])]).tensors()
    whole = collected(TASKS).tensors()
    assert joined.keys() == whole.keys()
    assert all(torch.equal(joined[name], whole[name]) for name in whole)


@pytest.mark.parametrize("join", [join_tasks, join_episodes])
def test_success_that_not_all_report_is_not_known_of_those_joined(
    join: Callable[[Sequence[Rollout]], Rollout],
) -> None:
    silent = random_rollout(0)
    yes = torch.ones(silent.mask.shape[:2], dtype=torch.bool)
    telling = replace(silent, success=yes, success_at_first_step=yes, success_streak=yes.long())
    for rollouts in ([silent, telling], [telling, silent]):
        joined = join(rollouts)
        assert joined.success is joined.success_at_first_step is joined.success_streak is None
        assert joined.num_steps == 2 * silent.num_steps
    both = join([telling, telling])
    assert both.success is not None
    assert both.success.numel() == 2 * yes.numel()


def scheduled_config(**sampling: int) -> ExperimentConfig:
    return point_config(
        agent=ReplayAgentConfig(hidden_sizes=(8,), planned=True, capacity=2000),
        iterations=5,
        sampling=SamplingConfig(meta_batch_size=2, episodes=2, **sampling),
        evaluation=EvaluationConfig(every=0, episodes=1, adaptation_episodes=1, adaptation_steps=0),
    )


def test_env_steps_and_buffer_are_counted_by_hand(tmp_path: Path) -> None:
    experiment = runs.start(scheduled_config(training_tasks=7), tmp_path)
    most = most_env_steps(experiment)
    experiment.run()
    rows = read_metrics(experiment.folder)
    # 7 tasks x 2 episodes x 10 steps first, then 2 tasks x 2 episodes x 10 steps, nothing in the fifth
    assert [row["env_steps"] for row in rows] == [140, 180, 220, 260, 260]
    assert [row.get("update/replay_steps") for row in rows] == [None, 180, 220, 260, 260]
    assert most == 260


def test_vector_steps_announces_the_true_number(tmp_path: Path) -> None:
    class Counter:
        steps = 0

        def on_step(self, episodes: int) -> None:
            self.steps += 1

        def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
            pass

    counter = Counter()
    experiment = runs.start(scheduled_config(training_tasks=7), tmp_path, [counter])
    announced = remaining_vector_steps(experiment)
    experiment.run()
    assert counter.steps == announced


def test_all_tasks_without_a_list_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match=r"got none; set --sampling\.training-tasks\.$"):
        runs.start(scheduled_config(), tmp_path)
    assert not (tmp_path / "it").exists()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(folder, SCHEDULED) == 0, errors(folder)
    return folder


@pytest.mark.parametrize(
    "trap",
    [
        pytest.param(Trap("support.replay_agent:ReplayAgent.remember", 1), id="filling the buffer"),
        pytest.param(Trap("support.replay_agent:ReplayAgent.update", 8), id="a further update"),
        pytest.param(Trap("metarl.training.experiment:save", 6), id="after learning without new data"),
    ],
)
def test_killed_run_equals_the_unbroken_one(unbroken: Path, tmp_path: Path, trap: Trap) -> None:
    assert run(tmp_path, SCHEDULED, trap) == -signal.SIGKILL
    resume(tmp_path)
    assert outcome(tmp_path) == outcome(unbroken)
