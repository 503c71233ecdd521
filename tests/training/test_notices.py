"""A run in which nothing was learned or measured says so once while it goes on, and once at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from metarl.agents.maml_ppo import MAMLPPOConfig
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.multi_task import MultiTaskConfig
from metarl.agents.pearl import PEARLConfig
from metarl.agents.rl2 import RL2Config
from metarl.cli.main import main
from metarl.config import AgentConfig, EvaluationConfig, SamplingConfig
from metarl.envs.toy.point import PointConfig, PointVectorEnv
from metarl.evaluation.evaluate import evaluate
from metarl.functional.solvers import LineSearch
from metarl.learning import trust_region
from metarl.rollouts.tally import (
    Counts,
    Limits,
    Streak,
    Tally,
    count_iteration,
    count_rollouts,
    equal_rewards,
    tally_from_json,
)
from metarl.training import runs
from metarl.training.notices import (
    baseline_notice,
    evaluation_notices,
    kl_limit,
    running_notices,
    training_notices,
)
from metarl.types import Rollout
from support import tiny
from support.programs import POINT, RESUME, point_config

Flags = npt.NDArray[np.bool_]
Step = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Flags, Flags, dict[str, Flags]]
AGENT = MAMLTRPOConfig(hidden_sizes=(8,))
AT_THE_END = EvaluationConfig(every=0, episodes=2, adaptation_episodes=2, adaptation_steps=1)


class Listener:
    """An observer that keeps each notice with the last iteration before it."""

    def __init__(self) -> None:
        self.iteration = 0
        self.heard: list[tuple[int, str]] = []

    def on_step(self, episodes: int) -> None:
        pass

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        self.iteration = iteration

    def on_notice(self, sentence: str) -> None:
        self.heard.append((self.iteration, sentence))


def change_steps(monkeypatch: pytest.MonkeyPatch, change: Callable[[PointVectorEnv, Step], Step]) -> None:
    """Let every step of ``point`` return something else."""
    step = PointVectorEnv.step

    def changed(self: PointVectorEnv, actions: npt.NDArray[np.float64]) -> Step:
        return change(self, step(self, actions))

    monkeypatch.setattr(PointVectorEnv, "step", changed)


def refuse_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the line search accept nothing."""

    def search(_: object, start: torch.Tensor, *__: object, **___: object) -> LineSearch:
        return LineSearch(start, accepted=False, trials=15)

    monkeypatch.setattr(trust_region, "backtracking_line_search", search)


def succeed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    change_steps(monkeypatch, lambda env, step: (*step[:4], {"success": np.ones(env.num_envs, np.bool_)}))


def leave_success_out(monkeypatch: pytest.MonkeyPatch) -> None:
    change_steps(monkeypatch, lambda env, step: (*step[:4], {}))


def reward_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    change_steps(monkeypatch, lambda env, step: (step[0], 0 * step[1], *step[2:]))


def reward_every_step_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    change_steps(monkeypatch, lambda env, step: (step[0], (step[1] < 0).astype(np.float64), *step[2:]))


def trained(folder: Path, iterations: int, **changes: object) -> tuple[list[tuple[int, str]], list[str]]:
    """Train on ``point``; return the notices while the run went on, and those at its end."""
    listener = Listener()
    settings = {"iterations": iterations, "evaluation": AT_THE_END, **changes}
    experiment = runs.start(point_config(**settings), folder, [listener])
    evaluation = experiment.run()
    at_the_end = {**experiment.evaluation_notices(evaluation), **experiment.training_notices()}
    return listener.heard, list(at_the_end.values())


def test_run_in_which_all_goes_well_gives_no_notice(tmp_path: Path) -> None:
    assert trained(tmp_path, 6) == ([], [])


def test_refused_steps_are_told_after_five_in_a_row_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_steps(monkeypatch)
    heard, at_the_end = trained(tmp_path, 7)
    assert [(iteration, sentence[:46]) for iteration, sentence in heard] == [
        (4, "5 of 5 steps were refused by the line search, "),
    ]
    assert [sentence.partition(",")[0] for sentence in at_the_end] == [
        "7 of 7 steps were refused by the line search"
    ]
    assert "--agent.curvature-stride 1" in at_the_end[0]


@pytest.mark.parametrize("spoil", [reward_nothing, reward_every_step_alike])
def test_equal_rewards_are_told_and_explain_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None]
) -> None:
    spoil(monkeypatch)
    heard, at_the_end = trained(tmp_path, 6)
    assert [(iteration, sentence[:19]) for iteration, sentence in heard] == [(4, "In all 5 iterations")]
    assert "In all 6 iterations all episodes of a task had the same rewards" in at_the_end[-1]


def test_success_at_the_first_step_of_every_episode_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed_at_once(monkeypatch)
    heard, at_the_end = trained(tmp_path, 3)
    assert [iteration for iteration, _ in heard] == [0]
    (sentence,) = at_the_end
    assert sentence.startswith(
        "Success was true at the first step of 48 of 48 episodes, so the success rate "
    )


def test_success_that_is_never_reported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_success_out(monkeypatch)
    heard, at_the_end = trained(tmp_path, 3)
    assert [iteration for iteration, _ in heard] == [0]
    (sentence,) = at_the_end
    assert sentence.startswith("No step of 48 episodes reported success")
    assert "success_key" in sentence


def test_success_that_only_held_out_tasks_leave_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = runs.start(point_config(iterations=1), tmp_path)
    with monkeypatch.context() as patch:
        leave_success_out(patch)
        env = experiment.make_env()
        evaluation = experiment.test(env, experiment.suite.tasks("test")[:3], np.random.default_rng(0))
    (sentence,) = experiment.evaluation_notices(evaluation).values()
    assert sentence.startswith("No step of 18 episodes reported success")


def test_adaptation_that_changes_nothing_is_told(tmp_path: Path) -> None:
    # of the first iteration, all biases are zero and change by a very small number
    heard, at_the_end = trained(tmp_path, 6, agent=MAMLTRPOConfig(hidden_sizes=(8,), inner_lr=1e-30))
    assert [iteration for iteration, _ in heard] == [5]
    assert heard[0][1].startswith("In 5 of 6 iterations adapting left the policy of every task exactly as it")
    assert len(at_the_end) == 1


def test_evaluation_in_which_adapting_changes_nothing_is_told(tmp_path: Path) -> None:
    agent = MultiTaskConfig(hidden_sizes=(8,), inner_lr=1e-30)
    heard, at_the_end = trained(tmp_path, 1, agent=agent)
    assert heard == []
    assert [sentence[:53] for sentence in at_the_end] == [
        "Adapting left the policy of every held-out task exact"
    ]


@pytest.mark.parametrize(("episodes", "heard"), [(3, True), (4, False)])
def test_baseline_with_too_few_transitions_is_told_at_the_start(
    tmp_path: Path, episodes: int, heard: bool
) -> None:
    listener = Listener()
    config = point_config(  # 2 x 2 + 4 features, so 16 transitions are enough
        iterations=1,
        suite=PointConfig(horizon=4),
        sampling=SamplingConfig(meta_batch_size=2, episodes=episodes),
        evaluation=replace(point_config().evaluation, adaptation_episodes=4),
    )
    experiment = runs.start(config, tmp_path, [listener])
    evaluation = experiment.run()
    assert [sentence.partition(";")[0] for _, sentence in listener.heard] == [
        "The linear baseline has 8 features and at most 12 transitions of a task to fit"
    ] * heard
    assert ("baseline" in experiment.training_notices()) == heard
    assert "baseline" not in experiment.evaluation_notices(evaluation)


def test_baseline_that_gets_too_little_as_episodes_end_early_is_told() -> None:
    rollout = random_float_rollout(0, steps=12)
    features = rollout.num_steps // len(rollout.mask) // 2
    for asked, short in ((features, False), (features + 1, True)):
        tally = count_iteration(Tally(), [rollout], [], {}, Limits(asked))
        assert (tally.streaks["baseline"].times == 1) == short


@pytest.mark.parametrize(
    ("iterations", "sentence"),
    [
        (4, "The first 3 iterations fill the agent's buffer only; it learns from iteration 4 on."),
        (3, "No iteration of this run updates the agent, as the first ones only fill its buffer; "),
    ],
)
def test_iterations_that_only_fill_a_buffer_are_told_once_at_the_start(
    tmp_path: Path, iterations: int, sentence: str
) -> None:
    agent = PEARLConfig(hidden_sizes=(4,), initial_iterations=3, update_ratio=0.01, batch_size=4)
    heard, _ = trained(tmp_path, iterations, agent=agent)
    assert [(when, said[: len(sentence)]) for when, said in heard] == [(0, sentence)]
    listener = Listener()
    runs.resume(tmp_path / "it", print, [listener], iterations=iterations + 1).run()
    assert listener.heard == []


def test_resumed_run_says_the_same_at_its_end_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_steps(monkeypatch)
    config = point_config(iterations=7, evaluation=AT_THE_END)
    unbroken = runs.start(replace(config, name="unbroken"), tmp_path)
    unbroken.run()
    runs.start(replace(config, iterations=6), tmp_path).run()
    listener = Listener()
    resumed = runs.resume(tmp_path / "it", print, [listener], iterations=7)
    resumed.run()
    assert listener.heard == []
    assert resumed.training_notices() == unbroken.training_notices() != {}


def test_notices_are_printed_and_kept_in_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    leave_success_out(monkeypatch)
    assert main([*POINT, "--iterations", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith("Notice: No step of ")]
    assert len(said) == 2
    kept = json.loads(Path("runs/it/evaluation.json").read_text())["notices"]
    assert said[-1] == lines[-2] == f"Notice: {kept[0]}"
    assert main([*RESUME, "--iterations", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" reported")[0] for line in lines if line.startswith("Notice: ")] == [
        "Notice: No step of 32 episodes"
    ]
    assert main(["evaluate", "runs/it", "--tasks", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("Notice: No step of 40 episodes reported succ")


def test_notice_is_logged_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    succeed_at_once(monkeypatch)
    runs.start(point_config(iterations=1), tmp_path).run()
    assert [record.message[:37] for record in caplog.records] == ["Success was true at the first step of"]


def random_float_rollout(seed: int, **sizes: int) -> Rollout:
    return tiny.random_rollout(seed, dtype=torch.float32, **sizes)


def with_rewards(rewards: list[list[list[float]]]) -> Rollout:
    """Return a rollout with rewards ``[M, K, T]``."""
    values = torch.tensor(rewards)
    tasks, episodes, steps = values.shape
    rollout = random_float_rollout(0, tasks=tasks, episodes=episodes, steps=steps)
    return replace(rollout, rewards=values, mask=torch.ones_like(values, dtype=torch.bool))


@pytest.mark.parametrize(
    ("rewards", "equal"),
    [
        pytest.param([[[0.0, 1.0], [0.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]]], True, id="of each task"),
        pytest.param([[[0.0, 1.0], [0.0, 1.0]], [[2.0, 2.0], [2.0, 3.0]]], False, id="of one task"),
        pytest.param([[[1.0, 0.0], [0.0, 1.0]]], False, id="the return but not the time"),
        pytest.param([[[1.0, 1.0]], [[1.0, 1.0]]], True, id="one episode of each task"),
        pytest.param([[[1.0, 1.0]], [[1.0, 2.0]]], False, id="one episode of different tasks"),
        pytest.param([[[1.0, 1.0]]], False, id="nothing to compare"),
    ],
)
def test_rewards_are_equal_if_no_episode_of_a_task_has_others(
    rewards: list[list[list[float]]], equal: bool
) -> None:
    assert equal_rewards([with_rewards(rewards)]) == equal


def test_rewards_that_differ_once_end_the_count_of_equal_ones_for_good() -> None:
    same, other = with_rewards([[[1.0, 1.0]] * 2]), with_rewards([[[1.0, 1.0], [1.0, 2.0]]])
    tally = Tally()
    for rollout in (same, same, same, same, same, other, same):
        tally = count_iteration(tally, [rollout], [], {}, Limits())
    assert (tally.equal_rewards, tally.iterations) == (5, 7)
    assert "In the first 5 of 7 iterations" in notices_of(tally)["equal_rewards"]


def test_sparse_rewards_that_come_soon_give_no_notice() -> None:
    same, other = with_rewards([[[0.0, 0.0]] * 2]), with_rewards([[[0.0, 0.0], [0.0, 1.0]]])
    tally = Tally()
    for rollout in (same, same, same, other, same):
        tally = count_iteration(tally, [rollout], [], {"gradient_norm": 0.0}, Limits())
        assert running_notices(tally, notices_of(tally)) == {}


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ({"gradient_norm": 0.0, "step_accepted": 0.0}, "zero_gradient"),
        ({"gradient_norm": 1.0, "step_accepted": 0.0}, "refused"),
        ({"gradient_norm": 1.0, "step_accepted": 1.0}, ""),
        ({"gradient_norm": 1.0}, ""),
        ({}, ""),
    ],
)
def test_step_without_a_gradient_is_not_one_that_the_line_search_refused(
    metrics: dict[str, float], name: str
) -> None:
    tally = count_iteration(Tally(), [random_float_rollout(0)], [], metrics, Limits())
    assert list(notices_of(tally)) == [name] * bool(name)


@pytest.mark.parametrize(("largest", "names"), [(9e-5, ["faint"]), (0.0, ["faint"]), (2e-4, [])])
def test_powers_of_rewards_that_vanish_are_told_with_the_setting(largest: float, names: list[str]) -> None:
    tally = count_iteration(Tally(), [random_float_rollout(0)], [], {"largest_reward": largest}, Limits())
    told = notices_of(tally, RL2Config(reward_power=6.0))
    assert list(told) == names
    assert all(
        "In 1 of 1 iterations the power of every reward was below 0.0001" in each for each in told.values()
    )
    assert all("lower --agent.reward-power, which is 6, or" in each for each in told.values())


def test_updates_that_go_absurdly_far_are_told_after_five_in_a_row_and_at_the_end(tmp_path: Path) -> None:
    heard, at_the_end = trained(tmp_path, 7, agent=MAMLPPOConfig(hidden_sizes=(8,), outer_lr=5.0))
    assert [(iteration, sentence.partition(" from")[0]) for iteration, sentence in heard] == [
        (4, "In 5 of 5 updates the KL divergence"),
    ]
    (sentence,) = at_the_end
    assert sentence.startswith("In 7 of 7 updates ")
    assert sentence.endswith("; lower --agent.outer-lr, which is 5.0.")


@pytest.mark.parametrize(
    ("max_kl", "kl", "far"), [(0.0, 0.9, 0), (0.0, 1.1, 1), (0.5, 4.9, 0), (0.5, 5.1, 1)]
)
def test_update_is_far_beyond_one_nat_and_ten_times_its_own_target(
    max_kl: float, kl: float, far: int
) -> None:
    agent = RL2Config(max_kl=max_kl)
    limits = Limits(kl=kl_limit(agent))
    tally = count_iteration(Tally(), [random_float_rollout(0)], [], {"kl": kl}, limits)
    assert tally.streaks["far"].times == far
    told = notices_of(tally, agent)
    assert list(told) == ["far"] * far
    assert all(("--agent.max-kl" in sentence) == bool(max_kl) for sentence in told.values())


@pytest.mark.parametrize(("refused", "told"), [(10, False), (11, True)])
def test_few_refused_steps_are_not_worth_a_notice_at_the_end(refused: int, told: bool) -> None:
    tally = Tally(iterations=100, streaks={"refused": Streak(times=refused)})
    assert ("refused" in notices_of(tally)) == told
    assert "refused" in notices_of(replace(tally, said=("refused",)))


def test_stride_is_named_only_where_there_is_one() -> None:
    tally = Tally(iterations=1, streaks={"refused": Streak(times=1)})
    assert "curvature" in notices_of(tally)["refused"]
    assert "curvature" not in notices_of(tally, MAMLTRPOConfig(curvature_stride=1))["refused"]


def notices_of(tally: Tally, agent: AgentConfig = AGENT) -> dict[str, str]:
    return training_notices(tally, agent, baseline_features=8, success=False)


def test_trained_agent_may_succeed_at_the_only_step() -> None:
    counts = Counts(episodes=100, reporting=100, solved_at_once=100)
    for horizon, number in ((1, 0), (2, 1)):
        found = evaluation_notices(counts, success=True, measured_success=True, horizon=horizon)
        assert len(found) == number


def test_success_that_some_episodes_leave_out_is_told() -> None:
    counts = Counts(episodes=10, reporting=4)
    found = evaluation_notices(counts, success=True, measured_success=False, horizon=2)
    assert found["unreported"].startswith("Success was reported in 4 of 10 held-out episodes")


def test_baseline_notice_says_how_many_episodes_are_enough() -> None:
    sentence = baseline_notice(8, 3, 5, "--sampling.episodes")["baseline"]
    assert "at most 15 transitions" in sentence
    assert "collect 4 episodes or more (--sampling.episodes)" in sentence
    assert baseline_notice(8, 4, 5, "") == baseline_notice(0, 1, 1, "") == {}


def test_first_step_is_told_from_later_ones() -> None:
    # the first task is solved at its first step, the second at its second
    tasks = [tiny.climb(0.0, flag=1.0), tiny.climb(0.0, flag=2.0)]
    env = tiny.ClimbEnv(2, horizon=3)
    agent, measured = (
        tiny.StrideAgent(),
        replace(point_config().evaluation, episodes=1, adaptation_episodes=1),
    )
    found = evaluate(agent, env, tasks, measured, adaptation_steps=0, horizon=3, rng=np.random.default_rng(0))
    assert found.counts == Counts(episodes=2, reporting=2, solved_at_once=1)


def test_adaptations_are_compared_with_the_policy_before() -> None:
    rollout = random_float_rollout(0, tasks=2)
    actors = [
        tiny.StrideActor(torch.tensor(strides), 0.0) for strides in ([1.0, 2.0], [1.0, 2.0], [1.0, 3.0])
    ]
    counts = count_rollouts([rollout] * 3, actors)
    assert (counts.adaptations, counts.unchanged) == (2, 1)


def test_tally_survives_json() -> None:
    tally = Tally(7, Counts(1, 2, 3, 4, 5), 6, {"refused": Streak(2, 1)}, ("refused",))
    assert tally_from_json(json.loads(json.dumps(tally.to_json()))) == tally
    assert tally_from_json(None) == Tally()
