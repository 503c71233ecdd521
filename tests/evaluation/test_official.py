"""Meta-World's own evaluator on our agents: the same numbers as on its own environments, and its bias."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import metaworld
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from metaworld.evaluation import Timestep

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.pearl import PEARLConfig
from metarl.agents.policy_reuse import PolicyReuseConfig
from metarl.agents.rl2 import RL2Config
from metarl.agents.varibad import VariBADConfig
from metarl.cli.commands.evaluate import official_suite
from metarl.cli.main import main
from metarl.config import AgentConfig, MeasurementConfig, SamplingConfig
from metarl.envs.metaworld.official import (
    Layout,
    layout,
    measure_officially,
    official_steps,
    same_step_options,
)
from metarl.envs.metaworld.official_agent import OfficialAgent
from metarl.envs.metaworld.official_env import OfficialVectorEnv, Outcome, OutcomeVectorEnv
from metarl.envs.metaworld.suite import MetaWorldTasks, ML1Config, ML10Config
from metarl.errors import MetarlError
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.official import OfficialEvaluation, OfficiallyEvaluated, OfficialSettings
from metarl.evaluation.record import Evaluation
from metarl.meta_learner import MetaLearner
from metarl.reporting.evaluation_files import write_official
from metarl.reporting.tables import protocol_table
from metarl.success_bonus import with_success_bonus
from metarl.tasks import TaskDistribution
from metarl.types import Rollout, Task
from support import tiny
from support.programs import ML1

HORIZON = 12


@pytest.fixture(scope="module")
def suite() -> MetaWorldTasks:
    return ML1Config(task="reach-v3", horizon=HORIZON).build()


@pytest.fixture(scope="module")
def agent(suite: MetaWorldTasks) -> MetaLearner:
    return build(MAMLTRPOConfig(hidden_sizes=(8,)), suite)


@pytest.fixture
def env(suite: MetaWorldTasks) -> Iterator[OfficialVectorEnv]:
    env = OfficialVectorEnv(suite.test[:4], 2, seed=0, options=same_step_options(HORIZON))
    yield env
    env.close()


@pytest.fixture(scope="module")
def theirs() -> Iterator[SyncVectorEnv]:
    env = metaworld.make_ml_envs_test(
        "reach-v3", seed=42, meta_batch_size=3, total_tasks_per_cls=3, max_episode_steps=HORIZON
    )
    yield env
    env.close()


AGENTS = [
    MAMLTRPOConfig(hidden_sizes=(8,)),
    PEARLConfig(hidden_sizes=(8,), encoder_sizes=(8,)),
    RL2Config(memory_size=8, embedding_size=8, changes=True),
    VariBADConfig(),
    # deviations near zero: one try shows which expert is better
    PolicyReuseConfig(memory_size=8, embedding_size=8, initial_std=1e-4, min_std=1e-4),
]


@pytest.mark.parametrize("config", AGENTS, ids=lambda config: config.kind)
def test_numbers_are_those_on_metaworlds_own_environments(
    suite: MetaWorldTasks, theirs: SyncVectorEnv, config: AgentConfig
) -> None:
    agent = build(config, suite)
    settings, plan = settings_for(agent), Layout(slots=3, rounds=1)
    ours = OfficialVectorEnv(suite.test[:3], 3, seed=0, options=same_step_options(HORIZON))
    found = [
        measure_officially(agent, env, settings, plan, np.random.default_rng(0)) for env in (ours, theirs)
    ]
    ours.close()
    # agents that read rewards see their last bits
    assert found[0].mean_return == pytest.approx(found[1].mean_return)
    assert replace(found[0], mean_return=0.0) == replace(found[1], mean_return=0.0)
    assert found[0].env_steps == 3 * HORIZON * (settings.adaptation_episodes + 1)
    assert found[0].mean_return > 0


@pytest.mark.parametrize("config", AGENTS[2:], ids=lambda config: config.kind)
def test_goals_that_none_solves_have_the_return_that_metarl_measures(
    suite: MetaWorldTasks, config: AgentConfig
) -> None:
    agent = build(config, suite)
    settings = replace(settings_for(agent), deterministic=True)
    theirs = suite.official_evaluation(agent, suite.test[:3], settings, rng=np.random.default_rng(0))
    measured = MeasurementConfig(episodes=1, adaptation_episodes=2, deterministic=True)
    rng, horizon = np.random.default_rng(0), suite.horizon
    with closing(suite.make_vector_env(6)) as env:
        ours = evaluate(agent, env, suite.test[:3], measured, adaptation_steps=1, horizon=horizon, rng=rng)
    assert theirs.success_rate == 0
    assert theirs.mean_return == pytest.approx(ours.task_returns[:, 1].mean(), rel=1e-3)


def build(config: AgentConfig, suite: TaskDistribution) -> MetaLearner:
    """Return an untrained agent."""
    return config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())


def settings_for(agent: MetaLearner) -> OfficialSettings:
    """Return one adaptation step, of two episodes if they are parallel."""
    return OfficialSettings(adaptation_episodes=1 if agent.trial == "sequential" else 2)


def test_suite_offers_the_official_evaluation(suite: MetaWorldTasks, agent: MetaLearner) -> None:
    assert isinstance(suite, OfficiallyEvaluated)
    settings = OfficialSettings(adaptation_episodes=1)
    seen: list[int] = []
    found = suite.official_evaluation(
        agent, suite.test[:5], settings, rng=np.random.default_rng(0), on_step=seen.append
    )
    assert (found.tasks, found.counted_episodes, list(found.family_successes)) == (5, 3, ["reach-v3"])
    vector_steps, env_steps = suite.official_steps(suite.test[:5], settings)
    assert len(seen) <= vector_steps
    assert sum(seen) == found.env_steps <= env_steps


@pytest.fixture
def bias(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the program that prints the bias."""
    spec = importlib.util.spec_from_file_location(
        "official_bias", root / "benchmarks" / "learning" / "official_bias.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_one_goal_of_four_solved_is_reported_as_all(bias: ModuleType) -> None:
    wanted = bias.Arguments(family="reach-v3", slots=4, rounds=1, horizon=250, shares=(0.0, 0.25, 1.0))
    none, quarter, all_of_them = bias.measure(wanted)
    assert (none.per_goal, none.official) == (0.0, 0.0)
    assert (quarter.true, quarter.per_goal) == (0.25, 0.25)
    assert quarter.official == 1.0  # not what is true
    assert (all_of_them.per_goal, all_of_them.official) == (1.0, 1.0)


def test_bias_is_not_measured_on_more_goals_than_there_are(bias: ModuleType) -> None:
    with pytest.raises(MetarlError, match="must be at most the 50 held-out goals, but it is 60"):
        bias.measure(bias.Arguments(slots=30, rounds=2))
    with pytest.raises(MetarlError, match="family"):
        bias.Arguments(family="door-open-v3")


@pytest.mark.parametrize(
    ("benchmark", "families", "goals", "expected"),
    [
        ("ml1-push-v3", 1, 50, Layout(10, 5)),
        ("ml10", 5, 50, Layout(4, 10)),
        ("ml25-clean", 5, 50, Layout(10, 4)),
        ("ml45", 5, 50, Layout(9, 5)),
        ("ml10", 5, 3, Layout(3, 1)),
        ("ml1-push-v3", 1, 25, Layout(10, 2)),
    ],
)
def test_layout_is_the_published_one_as_far_as_there_are_goals(
    benchmark: str, families: int, goals: int, expected: Layout
) -> None:
    tasks = [Task(str(f), (float(g),), f"{f}/{g}") for f in range(families) for g in range(goals)]
    assert layout(benchmark, tasks) == expected


def test_steps_by_hand() -> None:
    tasks = [Task(family, (float(i),), f"{family}/{i}") for family in "ab" for i in range(4)]
    # Per round 2 x 10 episodes to adapt; 3 episodes from 2 slots a family take two more; 4 slots in all.
    assert official_steps(tasks, OfficialSettings(adaptation_steps=2), Layout(2, 2), horizon=100) == (
        2 * 22 * 100,
        2 * 22 * 100 * 4,
    )


def test_every_goal_is_met_once(env: OfficialVectorEnv, suite: MetaWorldTasks) -> None:
    met = []
    for _ in range(2):
        env.call("sample_tasks")
        met += list(env.tasks)
    assert sorted(task.id for task in met if task) == [task.id for task in suite.test[:4]]


def test_a_goal_stays_through_all_episodes_of_a_round(env: OfficialVectorEnv) -> None:
    env.call("sample_tasks")
    before = env.tasks
    env.reset()
    for _ in range(2 * HORIZON):
        env.step(np.zeros((2, 4), np.float32))
    assert env.tasks == before


def test_returns_of_episodes_are_told_when_they_end(env: OfficialVectorEnv) -> None:
    env.call("toggle_terminate_on_success", False)
    env.call("sample_tasks")
    env.reset()
    for _ in range(2):
        total = np.zeros(2)
        for _ in range(HORIZON):
            _, rewards, _, truncated, infos = env.step(np.full((2, 4), 0.5, np.float32))
            total += rewards
        assert truncated.all()
        assert infos["final_info"]["episode"]["r"] == pytest.approx(total)  # type: ignore[index]  # a dict


def test_switches_are_passed_on(env: OfficialVectorEnv) -> None:
    env.call("toggle_terminate_on_success", True)
    assert env.get_attr("terminate_on_success") == (True, True)
    assert env.get_attr("task_name") == ("SawyerReachEnvV3",) * 2


def test_what_another_version_might_ask_for_is_refused(env: OfficialVectorEnv) -> None:
    with pytest.raises(MetarlError, match="attribute of a slot called 'dance'"):
        env.call("dance")
    with pytest.raises(MetarlError, match="attribute of a slot called 'mood'"):
        env.get_attr("mood")


class Listener(tiny.StrideAgent):
    """Keeps the rollouts that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[Rollout] = []

    def adapt(
        self, actor: tiny.StrideActor, rollout: Rollout, rng: np.random.Generator | None = None
    ) -> tiny.StrideActor:
        self.rollouts.append(rollout)
        return super().adapt(actor, rollout)


UNREAD = Timestep(*[np.empty(0)] * 5, {})
"""The evaluator's step, of which the environment has said more."""


def slots(number: int) -> OutcomeVectorEnv:
    """Return what an agent asks of an environment."""
    return SimpleNamespace(num_envs=number, outcome=None)  # type: ignore[return-value]  # all that is read


def told(endings: list[tuple[int, int]], episodes: int) -> Rollout:
    """Let an agent see steps whose rewards count up, of two slots; return what it adapts from.

    Args:
        endings: whether each slot's episode is over after the step: 0, 1 for truncated or 2 for terminated.
        episodes: that it wants.
    """
    listener, env = Listener(), slots(2)
    driven = OfficialAgent(listener, env, episodes=episodes, rng=np.random.default_rng(0))
    for number, ended in enumerate(endings):
        driven.adapt_action(np.array([[number, 0.0], [number, 1.0]]))
        over, after = np.array(ended), np.array([[number + 0.5, 0.0], [number + 0.5, 1.0]])
        env.outcome = Outcome(after, np.full(2, float(number)), over == 2, over == 1)
        driven.step(UNREAD)
    driven.adapt()
    return listener.rollouts[0]


def test_episodes_are_cut_where_each_slots_end() -> None:
    rollout = told([(0, 1), (2, 0), (0, 0), (1, 2), (1, 1)], episodes=2)
    assert rollout.mask.tolist() == [
        [[True, True, False], [True, True, False]],
        [[True, False, False], [True, True, True]],
    ]
    assert rollout.rewards.tolist() == [[[0, 1, 0], [2, 3, 0]], [[0, 0, 0], [1, 2, 3]]]
    assert rollout.terminated.nonzero().tolist() == [[0, 0, 1], [1, 1, 2]]
    assert rollout.truncated.nonzero().tolist() == [[0, 1, 1], [1, 0, 0]]
    assert rollout.observations[0, 1].tolist() == [[2, 0], [3, 0], [0, 0]]
    assert rollout.final_observations.tolist() == [[[1.5, 0], [3.5, 0]], [[0.5, 1], [3.5, 1]]]


def test_too_few_episodes_to_adapt_from_are_refused() -> None:
    with pytest.raises(MetarlError, match="Expected 2 episodes of each task"):
        told([(1, 1), (0, 1)], episodes=2)


def test_adapted_agent_is_measured_and_init_forgets() -> None:
    env = slots(1)
    driven = OfficialAgent(
        tiny.StrideAgent(), env, episodes=1, rng=np.random.default_rng(0), deterministic=True
    )
    seen = np.zeros((1, 2))
    driven.adapt_action(seen)
    env.outcome = Outcome(seen, np.array([8.0]), np.array([True]), np.array([False]))
    driven.step(UNREAD)
    driven.adapt()
    env.outcome = None
    assert driven.eval_action(seen).tolist() == [[4.0]]  # half of the reward
    driven.init()
    assert driven.eval_action(seen).tolist() == [[1.0]]


@pytest.mark.parametrize("bonus", [0.0, 10.0])
def test_difference_is_written_after_equally_many_steps_of_equal_rewards(
    tmp_path: Path, bonus: float
) -> None:
    returns = np.array([[[1.0], [3.0], [90.0]], [[1.0], [5.0], [90.0]]])
    per_goal = Evaluation((Task("a", (0.0,), "0"), Task("a", (1.0,), "1")), returns, returns > 4, 0)
    official = OfficialEvaluation(
        evaluator="theirs",
        settings=OfficialSettings(adaptation_steps=1, success_bonus=bonus),
        tasks=2,
        counted_episodes=3,
        success_rate=1.0,
        mean_return=6.0,
        family_successes={"a": 1.0},
        env_steps=10,
    )
    content = json.loads(write_official(tmp_path / "it", official, per_goal).read_text())
    assert (content["per_goal_success_rate"], content["success_rate_difference"]) == (0.5, 0.5)
    returned = content.get("per_goal_mean_return"), content.get("mean_return_difference")
    assert returned == ((None, None) if bonus else (4.0, 2.0))
    table = protocol_table(per_goal, official)
    assert table.rows[2].values == (None, None, None if bonus else "+2.0", "+50.0")
    assert ("counts the bonus for success" in table.caption) == bool(bonus)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once on reach; return the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*ML1, "--iterations", "1"]) == 0
    return folder / "runs" / "it"


OPTIONS = ("--tasks", "3", "--episodes", "2", "--adaptation-episodes", "2", "--adaptation-steps", "1")


def test_both_protocols_are_shown_with_their_difference(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["evaluate", str(trained), *OPTIONS, "--output", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "The official evaluator takes at most 90 environment steps more." in lines
    rows = [line.split() for line in lines if line.startswith(("per goal ", "official ", "difference "))]
    assert [row[:4] for row in rows[:2]] == [["per", "goal", "3", "6"], ["official", "3", "3", rows[1][3]]]
    assert float(rows[2][1]) == pytest.approx(float(rows[1][3]) - float(rows[0][4]), abs=0.11)
    assert (tmp_path / "iteration1-seed0-official.json").exists()
    tables = [line for line in lines[1:-1] if not line.startswith("Notice: ")]
    assert max(map(len, tables)) <= 80


def test_only_the_protocol_that_is_wanted_is_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for protocol, ending in (("official", "-official"), ("per-goal", "")):
        options = [*OPTIONS, "--output", str(tmp_path / protocol), "--protocol", protocol]
        assert main(["evaluate", str(trained), *options]) == 0
        written = [path.name for path in (tmp_path / protocol).glob("*.json")]
        assert written == [f"iteration1-seed0{ending}.json"]


@pytest.mark.parametrize(("protocol", "runs"), [("official", True), ("both", True), ("per-goal", False)])
def test_a_suite_with_a_bonus_has_its_bases_evaluator(protocol: str, runs: bool) -> None:
    base = ML10Config(horizon=5).build()
    experiment = SimpleNamespace(suite=with_success_bonus(base, 10.0))
    assert official_suite(experiment, protocol) is (base if runs else None)  # type: ignore[arg-type]  # all that is read


def test_agent_with_a_memory_and_a_bonus_is_measured_by_both_protocols(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*ML1, "--iterations", "1", "--agent", "rl2", "--success-bonus", "5"]) == 0
    assert main(["evaluate", "runs/it", "--tasks", "3", "--episodes", "2", "--output", "found"]) == 0
    assert "The per-goal return counts the bonus for success" in capsys.readouterr().out
    found = json.loads((tmp_path / "found" / "iteration1-seed0-official.json").read_text())
    asked = {"adaptation_steps": 1, "adaptation_episodes": 1, "deterministic": False, "success_bonus": 5.0}
    assert found["settings"] == asked
    assert found["success_rate_difference"] == found["success_rate"] - found["per_goal_success_rate"]
