"""Success at any step, at the last step and held; policies that learn nothing; return against success."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.toy.point import PointConfig
from metarl.evaluation import references as module
from metarl.evaluation.experience import at_counts
from metarl.evaluation.record import Evaluation, evaluation_from_json, from_rollouts, join
from metarl.evaluation.references import (
    IdleActor,
    RandomActor,
    Reference,
    has_references,
    measure_references,
    rates_by_family,
    references,
    references_from_json,
    references_json,
)
from metarl.evaluation.summary import disagreement, rank_correlation, summarize_ends
from metarl.meta_learner import act_at_start, inputs_at_start
from metarl.reporting.success_tables import family_success_table, success_rows, success_table
from metarl.rollouts.collect import collect
from metarl.success_bonus import with_success_bonus
from metarl.types import Rollout, Task
from support import tiny


def climbing(*scripts: list[float], flag: float = 5.0, summit: float = 1e9) -> Rollout:
    """Return one episode of a task for each script, which starts at 0 and is solved at the flag's height."""
    tasks = [tiny.climb(0.0, summit, flag)] * len(scripts)
    env = tiny.ClimbEnv(len(scripts), len(scripts[0]))
    actor = tiny.ScriptedActor([[script] for script in scripts])
    horizon = len(scripts[0])
    return collect(env, tasks, actor, episodes=1, horizon=horizon, rng=np.random.default_rng(0))


def test_streak_counts_the_solved_steps_in_a_row_up_to_the_last() -> None:
    rollout = climbing(
        [5.0, 0.0, 0.0, 0.0],  # solved throughout
        [5.0, 1.0, -1.0, 0.0],  # solved, lost, solved for two
        [5.0, 0.0, 0.0, 1.0],  # lost at the last
        [1.0, 1.0, 1.0, 1.0],  # never
        flag=5.0,
    )
    assert rollout.success is not None
    assert rollout.success_streak is not None
    assert rollout.success_streak.squeeze(1).tolist() == [4, 2, 0, 0]
    assert rollout.success.squeeze(1).tolist() == [True, True, True, False]


def test_episode_that_is_over_keeps_its_streak() -> None:
    # the first ends at its second step, at the summit that is also the flag; idle slots claim success
    rollout = climbing([1.0, 4.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], flag=5.0, summit=5.0)
    assert rollout.success_streak is not None
    assert rollout.success_streak.squeeze(1).tolist() == [1, 0]
    assert rollout.mask.sum(dim=2).squeeze(1).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("solved_from", "last", "held"), [(0, True, True), (2, True, True), (3, True, False), (12, False, False)]
)
def test_held_means_the_last_ten_steps(solved_from: int, last: bool, held: bool) -> None:
    script = [0.0] * 12
    if solved_from < 12:
        script[solved_from] = 5.0
    evaluation = from_rollouts([tiny.climb(0.0, flag=5.0)], [climbing(script)], 0)
    assert evaluation.last is not None
    assert evaluation.held is not None
    assert (evaluation.last.tolist(), evaluation.held.tolist()) == ([[[last]]], [[[held]]])


def test_episode_of_fewer_than_ten_steps_holds_what_it_solves_throughout() -> None:
    evaluation = from_rollouts(
        [tiny.climb(0.0, flag=5.0)] * 2, [climbing([5.0, 0.0, 0.0], [0.0, 5.0, 0.0])], 0
    )
    assert evaluation.held is not None
    assert evaluation.held[:, 0, 0].tolist() == [True, False]


def evaluation(rates: list[float], returns: list[float] | None = None) -> Evaluation:
    """Return 10 episodes a task: some solved, half of them at the end, a quarter held; two families."""
    tasks = tuple(Task("near" if i % 2 else "far", (float(i),), f"t/{i}") for i in range(len(rates)))
    counts = np.array(rates)[:, None, None] * 10
    order = np.arange(10)[None, None, :]
    values = np.zeros((len(rates), 1, 10)) + np.array(returns or rates)[:, None, None]
    return Evaluation(
        tasks, values, order < counts, 0, last=order < counts / 2, held=order < np.floor(counts / 4)
    )


def test_kinds_survive_files_and_parts_and_early_files_have_none() -> None:
    whole = evaluation([0.4, 0.8, 0.0, 1.0])
    again = evaluation_from_json(json.loads(json.dumps(whole.to_json())))
    for kind in ("success", "success_last", "success_held"):
        rates, read = whole.rates(kind), again.rates(kind)
        assert rates is not None
        assert read is not None
        assert np.array_equal(rates, read)
    data = {
        name: value
        for name, value in whole.to_json().items()
        if name not in ("successes_last", "successes_held")
    }
    early = evaluation_from_json(data)
    assert early.task_successes is not None
    assert early.rates("success_last") is early.rates("success_held") is None
    assert summarize_ends([early], np.random.default_rng(0)) == {}
    # one early part leaves the whole without
    assert join([whole, early]).last is None
    joined = join([whole, whole])
    assert joined.held is not None
    assert joined.held.shape == (8, 1, 10)
    far = whole.only("far")
    assert far.last is not None
    assert far.last[:, 0].mean(axis=1).tolist() == [0.2, 0.0]


def test_common_axis_takes_the_same_stages_of_every_kind() -> None:
    one = evaluation([0.4, 0.8])
    assert one.successes is not None
    stages = np.concatenate([one.successes, ~one.successes], axis=1)
    both = replace(one, returns=np.zeros((2, 2, 10)), successes=stages, last=stages, held=stages)
    kept = at_counts(both, 5, [5])
    for flags in (kept.successes, kept.last, kept.held):
        assert flags is not None
        assert np.array_equal(flags, stages[:, 1:])


def test_table_and_csv_have_every_kind_beside_the_references() -> None:
    found = evaluation([0.4, 0.8])
    idle = Reference(
        "idle", {"all": {"return": 1.0, "success": 0.0, "success_last": 0.0, "success_held": 0.0}}
    )
    rows = success_table({"drawn": [found], "most likely": [found]}, [idle]).rows
    assert [(row.name, row.detail) for row in rows] == [("0", "drawn"), ("0", "most likely"), ("idle", "")]
    # of 20 episodes 12 are solved, 6 at the end, 1 + 2 held
    means = [value.mean for value in rows[0].values if isinstance(value, tuple)]
    assert means == pytest.approx([0.6, 0.3, 0.15])
    lines = success_rows({"drawn": [found]}, [idle])
    assert [(line["actions"], line["family"]) for line in lines] == [
        ("drawn", "all"),
        ("drawn", "far"),
        ("drawn", "near"),
        ("idle", "all"),
    ]
    assert (lines[1]["success"], lines[2]["success_last"]) == (pytest.approx(0.4), pytest.approx(0.4))
    families = family_success_table({"": [found]}, [idle]).rows
    assert [(row.name, row.values[0]) for row in families] == [("far", 0.4), ("near", 0.8)]


def test_return_and_success_that_rank_the_tasks_otherwise_are_named() -> None:
    rates = [0.1, 0.3, 0.5, 0.7, 0.9]
    assert rank_correlation(evaluation(rates, [1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(1.0)
    assert disagreement(evaluation(rates, [1.0, 2.0, 3.0, 4.0, 5.0])) == ""
    # d = 4, 2, 0, 2, 4: 1 - 6 * 40 / (5 * 24) = -1
    assert rank_correlation(evaluation(rates, [5.0, 4.0, 3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    # d = 1, 1, 2, 0, 2: 1 - 6 * 10 / 120
    assert rank_correlation(evaluation(rates, [2.0, 1.0, 5.0, 4.0, 3.0])) == pytest.approx(0.5)
    # d = 3, 1, 2, 2, 2: 1 - 6 * 22 / 120
    said = disagreement(evaluation(rates, [4.0, 1.0, 5.0, 2.0, 3.0]))
    assert "over the 5 tasks: their rank correlation is -0.10" in said


@pytest.mark.parametrize("rates", [[0.1, 0.2, 0.3, 0.4], [0.5] * 6])
def test_too_few_tasks_or_equal_ones_have_no_rank_correlation(rates: list[float]) -> None:
    assert rank_correlation(evaluation(rates, [float(i) for i in range(len(rates))])) is None


def test_idle_policy_on_point_returns_the_distance_to_the_goal() -> None:
    suite = PointConfig(horizon=7).build()
    tasks = suite.tasks("test")[:5]
    idle, random = measure_references(suite, tasks, num_workers=1)
    expected = -7 * np.mean([np.hypot(*task.parameters) for task in tasks])
    assert idle.rates["all"]["return"] == pytest.approx(float(expected), rel=1e-5)
    assert (idle.policy, random.policy) == ("idle", "random")
    assert random.rates["all"]["return"] != idle.rates["all"]["return"]
    assert references_from_json(json.loads(json.dumps(references_json([idle, random])))) == (idle, random)


def test_random_policy_is_uniform() -> None:
    inputs = inputs_at_start(torch.zeros(1, 20_000, 1), 3)
    generator = torch.Generator().manual_seed(0)
    actions = act_at_start(RandomActor(discrete=False), inputs, generator).actions
    assert float(actions.abs().max()) <= 1
    # mean 0 and variance 1/3, with standard errors of 0.0024 and 0.0012
    assert float(actions.mean()) == pytest.approx(0, abs=0.012)
    assert float(actions.var()) == pytest.approx(1 / 3, abs=0.006)
    choices = act_at_start(RandomActor(discrete=True), inputs, generator).actions
    assert choices.sum(dim=-1).unique().tolist() == [1.0]
    assert choices.mean(dim=(0, 1)).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert not act_at_start(IdleActor(), inputs, None).actions.any()


def test_references_are_kept_by_suite_tasks_and_physics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def measured(*_: object, **__: object) -> tuple[Reference, ...]:
        calls.append(1)
        return (Reference("idle", {"all": {"return": float(len(calls))}}),)

    monkeypatch.setattr(module, "measure_references", measured)
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    suite = PointConfig(horizon=7).build()
    tasks = suite.tasks("test")

    def value(physics: str = "3.3.0", number: int = 5, bonus: float = 0.0) -> float:
        found = references(suite, tasks[:number], {"success_bonus": bonus}, {"mujoco": physics})
        return found[0].rates["all"]["return"]

    assert [value(), value()] == [1.0, 1.0]
    assert [value("3.17.0"), value(number=6), value(bonus=10.0)] == [2.0, 3.0, 4.0]
    assert [value(), value("3.17.0")] == [1.0, 2.0]
    # a file of another key, under this one's name, is not believed
    for path in (tmp_path / "references").glob("*.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "key": {**content["key"], "physics": {"mujoco": "4.0.0"}}}))
    assert value() == 5.0


def test_only_published_benchmarks_have_references() -> None:
    assert not has_references(PointConfig().build())
    suite = ML1Config(horizon=10).build()
    assert has_references(suite)
    assert has_references(with_success_bonus(suite, 10.0))
    assert isinstance(suite.action_space, Box)


def test_rates_by_family_are_means_over_tasks() -> None:
    found = rates_by_family(evaluation([0.4, 0.8, 0.2]))
    assert list(found) == ["all", "far", "near"]
    assert found["far"]["success"] == pytest.approx(0.3)
    assert found["all"] == pytest.approx(
        {"return": 1.4 / 3, "success": 1.4 / 3, "success_last": 0.7 / 3, "success_held": 1 / 10}
    )
