"""Meta-testing: how many episodes, what they adapt from, and that nothing passes between tasks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metarl.config import MeasurementConfig
from metarl.errors import MetarlError
from metarl.evaluation.evaluate import evaluate, slots_needed, vector_steps
from metarl.evaluation.record import Evaluation
from metarl.evaluation.summary import summarize, summarize_seeds
from metarl.types import Task
from support import tiny

HORIZON = 3
TASKS = [tiny.climb(float(start), flag=float(start + 2)) for start in range(5)]


def config(
    episodes: int = 2, adaptation_episodes: int = 2, *, deterministic: bool = False
) -> MeasurementConfig:
    return MeasurementConfig(
        episodes=episodes, adaptation_episodes=adaptation_episodes, deterministic=deterministic
    )


def measure(
    agent: tiny.StrideAgent,
    env: tiny.ClimbEnv,
    tasks: list[Task] = TASKS,
    how: MeasurementConfig | None = None,
    *,
    steps: int = 2,
    seed: int = 0,
) -> Evaluation:
    return evaluate(
        agent,
        env,
        tasks,
        how or config(),
        adaptation_steps=steps,
        horizon=HORIZON,
        rng=np.random.default_rng(seed),
    )


def plain(slots: int = 10) -> tiny.ClimbEnv:
    return tiny.ClimbEnv(slots, HORIZON)


def test_returns_by_hand() -> None:
    # From 0 by strides of 1: heights 1, 2, 3. Half their mean is the next stride, 1 again; from 1 it is
    # heights 2, 3, 4, so a stride of 1.5, then 2.5, 4, 5.5 and a stride of 2.
    evaluation = measure(tiny.StrideAgent(), plain(), TASKS[:2])
    assert evaluation.task_returns.tolist() == [[6.0, 6.0, 6.0], [9.0, 12.0, 15.0]]


def test_every_task_has_exactly_n_episodes_after_each_step() -> None:
    evaluation = measure(tiny.StrideAgent(noise=0.1), plain(12), how=config(episodes=4))
    assert evaluation.returns.shape == (5, 3, 4)
    assert np.unique(evaluation.returns[:, 0]).size == 20  # different episodes, none of them twice
    assert evaluation.tasks == tuple(TASKS)
    assert evaluation.adaptation_steps == 2


def test_fast_successes_do_not_fill_anothers_quota() -> None:
    # The first task ends at its first step, the others last; each still has its two episodes.
    tasks = [tiny.climb(0.0, summit=1.0, flag=1.0), tiny.climb(50.0), tiny.climb(60.0)]
    evaluation = measure(tiny.StrideAgent(), plain(), tasks, steps=0)
    assert evaluation.task_successes is not None
    assert evaluation.task_successes.tolist() == [[1.0], [0.0], [0.0]]
    assert evaluation.env_steps == 2 * (1 + 3 + 3)


def test_success_by_hand() -> None:
    # Strides of 1 and of 2 meet the flag 2 above the start, one of 1.5 jumps over it.
    evaluation = measure(tiny.StrideAgent(), plain(), TASKS[:2])
    assert evaluation.task_successes is not None
    assert evaluation.task_successes.tolist() == [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]


def test_success_is_none_where_the_suite_does_not_say() -> None:
    evaluation = measure(tiny.StrideAgent(), tiny.ClimbEnv(10, HORIZON, says_success=False))
    assert evaluation.successes is None
    assert evaluation.task_successes is None


def test_permuting_tasks_permutes_results() -> None:
    order = [3, 0, 4, 1, 2]
    straight = measure(tiny.StrideAgent(), plain())
    permuted = measure(tiny.StrideAgent(), plain(), [TASKS[i] for i in order])
    np.testing.assert_array_equal(permuted.returns, straight.returns[order])


@pytest.mark.parametrize("slots", [2, 4, 5, 9])
def test_results_do_not_depend_on_how_many_tasks_run_at_once(slots: int) -> None:
    few, all_at_once = measure(tiny.StrideAgent(), plain(slots)), measure(tiny.StrideAgent(), plain(10))
    np.testing.assert_array_equal(few.returns, all_at_once.returns)
    assert few.successes is not None
    np.testing.assert_array_equal(few.successes, all_at_once.successes)
    assert few.env_steps == all_at_once.env_steps


def test_a_task_alone_does_as_among_others() -> None:
    together = measure(tiny.StrideAgent(), plain())
    alone = [measure(tiny.StrideAgent(), plain(), [task]).returns[0] for task in TASKS]
    np.testing.assert_array_equal(together.returns, alone)


def test_agent_is_not_changed() -> None:
    agent = tiny.StrideAgent()
    measure(agent, plain())
    assert (agent.stride, agent.rate) == (1.0, 0.5)


def test_evaluation_is_a_function_of_the_generator() -> None:
    one, again, other = (measure(tiny.StrideAgent(noise=0.1), plain(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.returns, again.returns)
    assert not np.array_equal(one.returns, other.returns)


def test_deterministic_measurement_has_no_noise() -> None:
    agent = tiny.StrideAgent(noise=0.1)
    noisy = measure(agent, plain(), steps=1)
    still = measure(agent, plain(), how=config(deterministic=True), steps=1)
    assert (still.returns.std(axis=2) == 0).all()
    assert (noisy.returns.std(axis=2) > 0).all()
    # What it adapts from is drawn with noise all the same, so strides differ from those without noise.
    noiseless = measure(tiny.StrideAgent(), plain(), steps=1)
    assert not np.array_equal(still.returns[:, 1], noiseless.returns[:, 1])


@pytest.mark.parametrize(
    ("how", "expected"),
    [(config(2, 2), [2, 2]), (config(2, 3), [3, 3]), (config(2, 2, deterministic=True), [2, 2])],
)
def test_adaptation_learns_from_as_many_episodes_as_asked(
    how: MeasurementConfig, expected: list[int]
) -> None:
    agent = tiny.StrideAgent()
    measure(agent, plain(15), how=how)
    assert agent.episodes_seen == expected


@pytest.mark.parametrize(
    ("how", "rollouts"),
    [(config(2, 2), 3 * 2), (config(2, 3), 3 * 2 + 2 * 3), (config(2, 2, deterministic=True), 3 * 2 + 2 * 2)],
)
def test_steps_of_adaptation_are_counted(how: MeasurementConfig, rollouts: int) -> None:
    assert measure(tiny.StrideAgent(), plain(15), how=how).env_steps == 5 * HORIZON * rollouts


@pytest.mark.parametrize("slots", [3, 4, 7, 15])
@pytest.mark.parametrize("how", [config(2, 2), config(2, 3), config(3, 1), config(3, 3, deterministic=True)])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_vector_steps_is_the_true_number(slots: int, how: MeasurementConfig, steps: int) -> None:
    env = plain(slots)
    measure(tiny.StrideAgent(), env, how=how, steps=steps)
    assert env.steps_taken == vector_steps(how, len(TASKS), steps, slots, HORIZON)


def test_too_few_slots_are_refused() -> None:
    assert slots_needed(config(2, 7)) == slots_needed(config(7, 2)) == 7
    with pytest.raises(MetarlError, match=r"Evaluating needs 7 slots or more.* 6"):
        measure(tiny.StrideAgent(), plain(6), how=config(2, 7))


def test_only_takes_one_familys_part() -> None:
    tasks = (Task("a", (0.0,), "0"), Task("b", (1.0,), "1"), Task("a", (2.0,), "2"))
    returns = np.arange(12.0).reshape(3, 2, 2)
    part = Evaluation(tasks, returns, returns > 5, env_steps=7).only("a")
    assert part.tasks == (tasks[0], tasks[2])
    assert part.returns.tolist() == returns[[0, 2]].tolist()
    assert part.successes is not None
    assert part.successes.tolist() == (returns > 5)[[0, 2]].tolist()


def test_summary_by_hand() -> None:
    tasks = (Task("a", (0.0,), "0"), Task("a", (1.0,), "1"))
    returns = np.array([[[0.0, 2.0], [5.0, 5.0]], [[3.0, 3.0], [7.0, 7.0]]])
    summary = summarize(Evaluation(tasks, returns, returns >= 3, 0), np.random.default_rng(0))
    assert [interval.mean for interval in summary.returns] == [2.0, 6.0]
    assert summary.successes is not None
    assert [interval.mean for interval in summary.successes] == [0.5, 1.0]
    # Each task gains 4: paired over tasks there is no doubt about that.
    assert summary.return_gains == ((0.0, 0.0, 0.0), (4.0, 4.0, 4.0))
    # Two tasks of 5 and 7: a standard error of 1, with one degree of freedom.
    assert summary.returns[1] == pytest.approx((6.0, 6.0 - 12.7062, 6.0 + 12.7062), rel=1e-4)


def test_intervals_of_success_stay_within_what_a_rate_can_be() -> None:
    tasks = tuple(Task("a", (float(i),), str(i)) for i in range(4))
    successes = np.array([[[0, 0], [1, 1]], [[0, 1], [1, 1]], [[0, 0], [1, 1]], [[0, 0], [1, 1]]], np.bool_)
    summary = summarize(Evaluation(tasks, 1.0 * successes, successes, 0), np.random.default_rng(0))
    assert summary.of_success is not None
    shares = [*summary.of_success.means, *summary.of_success.iqms, *summary.of_success.medians]
    shares += [*summary.of_success.worse, *summary.of_return.worse]
    assert all(0 <= low <= mean <= high <= 1 for mean, low, high in shares)
    assert summary.of_success.means[1] == pytest.approx((1.0, 0.025 ** (1 / 4), 1.0))
    assert -1 <= summary.of_success.gains[1].low <= summary.of_success.gains[1].high <= 1
    assert summary.of_success.gains[0] == summary.of_success.worse[0] == (0.0, 0.0, 0.0)


def test_share_of_tasks_made_worse_is_counted_for_returns_and_successes() -> None:
    tasks = tuple(Task("a", (float(i),), str(i)) for i in range(4))
    returns = np.array([[[3.0], [2.0]], [[3.0], [3.0]], [[0.0], [4.0]], [[5.0], [4.0]]])
    summary = summarize(Evaluation(tasks, returns, returns >= 3, 0), np.random.default_rng(0))
    assert [share.mean for share in summary.of_return.worse] == [0.0, 0.5]
    assert summary.of_success is not None
    assert [share.mean for share in summary.of_success.worse] == [0.0, 0.25]


def test_seeds_on_the_same_tasks_are_summarized_as_a_table_of_scores() -> None:
    tasks = (Task("a", (0.0,), "0"), Task("a", (1.0,), "1"))
    parts = [Evaluation(tasks, np.full((2, 2, 3), value), None, 0) for value in (0.0, 10.0)]
    summary = summarize_seeds(parts, np.random.default_rng(0))
    # Tasks never differ; two seeds of 0 and 10 have a standard error of 5, with one degree of freedom.
    assert summary.returns[1] == pytest.approx((5.0, 5.0 - 5 * 12.7062, 5.0 + 5 * 12.7062), rel=1e-4)
    assert summary.return_gains[1] == (0.0, 0.0, 0.0)


def test_seeds_on_other_tasks_are_refused() -> None:
    one, other = (Evaluation((Task("a", (v,), f"a/{v}"),), np.zeros((1, 2, 1)), None, 0) for v in (0.0, 1.0))
    with pytest.raises(MetarlError, match=r"not of the same tasks: 1 from 'a/0.0' on, and 1 from 'a/1.0' on"):
        summarize_seeds([one, other], np.random.default_rng(0))


def test_metrics_have_one_name_for_each_number() -> None:
    evaluation = measure(tiny.StrideAgent(), plain(), steps=1)
    metrics = summarize(evaluation, np.random.default_rng(0)).metrics()
    assert set(metrics) == {
        f"test/{quantity}{measure}/step_{step}{ending}"
        for quantity in ("return", "success")
        for measure, steps in {
            "": (0, 1),
            "_iqm": (0, 1),
            "_median": (0, 1),
            "_gain": (1,),
            "_worse": (1,),
        }.items()
        for step in steps
        for ending in ("", "/low", "/high")
    }
    assert metrics["test/return/step_1"] == pytest.approx(evaluation.returns[:, 1].mean())


def test_summary_without_success_names_none() -> None:
    evaluation = measure(tiny.StrideAgent(), tiny.ClimbEnv(10, HORIZON, says_success=False))
    summary = summarize(evaluation, np.random.default_rng(0))
    assert summary.successes is None
    assert summary.success_gains is None
    assert not any("success" in name for name in summary.metrics())


def test_json_holds_every_number() -> None:
    evaluation = measure(tiny.StrideAgent(), plain())
    data = json.loads(json.dumps(evaluation.to_json()))
    assert [Task.from_json(task) for task in data["tasks"]] == TASKS
    np.testing.assert_array_equal(data["returns"], evaluation.returns)
    np.testing.assert_array_equal(data["successes"], evaluation.successes)
    assert data["env_steps"] == evaluation.env_steps
