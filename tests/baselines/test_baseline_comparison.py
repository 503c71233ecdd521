"""Baselines: what they learn from, what they are measured on, and ``metarl baseline`` as users see it."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.baselines.comparison import Comparison
from metarl.baselines.learners import ALGORITHMS, AlgorithmName, LearnerConfig, PPOLearner
from metarl.baselines.plan import Baseline, ComparisonConfig, planned
from metarl.baselines.runner import BaselineRunner
from metarl.baselines.store import Measured
from metarl.cli.main import main
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.evaluation.record import evaluation_from_json
from metarl.reporting.baseline_files import draw, rows
from metarl.reporting.figures.style import save
from metarl.rollouts.collect import collect
from metarl.sb3.vec_env import TaskVecEnv, in_turn
from metarl.training import runs
from metarl.types import Task
from support import tiny
from support.programs import POINT

SUITE = PointTasks(horizon=10)
TASK = SUITE.tasks("test")[0]
HORIZON = 20
"""So that the larger budget is beyond SAC's warm-up."""
RUN = (*POINT, "--iterations", "1", "--horizon", str(HORIZON), "--evaluation.every", "0")
TINY = ("--tasks", "2", "--budgets", "2", "1", "--training-steps", "100", "--updates-per-step", "0.5")
BUDGET = 2 * 2 * HORIZON
"""Of the tiny run: adaptation steps x episodes x horizon."""


def learner(name: AlgorithmName, steps: int, *, slots: int = 2, seed: int = 0, **settings: int) -> PPOLearner:
    env = TaskVecEnv(SUITE.make_vector_env(slots), in_turn([TASK]), seed=seed, unit_actions=True)
    config = replace(LearnerConfig(steps=steps, seed=seed), **settings)  # type: ignore[arg-type]  # by name
    return ALGORITHMS[name](env, config)  # type: ignore[return-value]  # SAC is used as what both are


def steps_taken(name: AlgorithmName, steps: int, **settings: int) -> int:
    taken: list[int] = []
    learner(name, steps, **settings).learn(taken.append)
    return sum(taken)


@pytest.mark.parametrize("name", ["ppo", "sac"])
@pytest.mark.parametrize("steps", [4, 80, 97, 101])
def test_a_baseline_takes_its_budget_and_no_step_more(name: AlgorithmName, steps: int) -> None:
    assert steps - 2 < steps_taken(name, steps) <= steps


def test_a_rollout_is_one_step_of_all_slots_at_least() -> None:
    agent = learner("ppo", 19, slots=8, rollout=6)
    assert (agent.model.n_steps, agent.planned) == (1, 16)


def test_a_long_budget_is_divided_into_rollouts_of_at_most_the_wanted_size() -> None:
    agent = learner("ppo", 500, slots=4, rollout=96)
    assert (agent.model.n_steps * 4, agent.planned) == (80, 480)  # 6 rollouts of 83, rounded to 4 slots


def test_a_budget_of_less_than_two_steps_a_slot_is_refused() -> None:
    with pytest.raises(MetarlError, match="a budget of 4 environment steps or more, but it is 3"):
        learner("ppo", 3)


def test_fewer_updates_than_one_a_step_of_all_slots_are_refused() -> None:
    suite = SUITE.make_vector_env(4)
    env = TaskVecEnv(suite, in_turn([TASK]), seed=0, unit_actions=True)
    few, enough = (LearnerConfig(steps=80, seed=0, updates_per_step=share) for share in (0.1, 0.25))
    with pytest.raises(
        MetarlError, match=r"4 slots, so updates_per_step must be 0\.25 or more, but it is 0\.1"
    ):
        ALGORITHMS["sac"](env, few)
    assert ALGORITHMS["sac"](env, enough).model.gradient_steps == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_learning_leaves_the_global_generators_alone_and_does_not_depend_on_them(name: AlgorithmName) -> None:
    learned = []
    for ambient in (1, 2):
        torch.manual_seed(ambient)
        np.random.seed(ambient)  # noqa: NPY002  # the generator that is looked at
        random.seed(ambient)
        before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
        agent = learner(name, 140)
        agent.learn(lambda slots: None)
        after = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])
        learned.append(agent.weights)
    assert all(torch.equal(value, learned[1][key]) for key, value in learned[0].items())


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_weights_carry_all_that_acts_from_one_agent_to_another(name: AlgorithmName) -> None:
    teacher, pupil = learner(name, 140), learner(name, 140, seed=1)
    teacher.learn(lambda slots: None)
    pupil.load(teacher.weights)
    seen = torch.randn(1, 50, 2, generator=torch.Generator().manual_seed(0))
    for seed in (None, 3):
        draws = [
            tiny.act(agent.actor, seen, None if seed is None else torch.Generator().manual_seed(seed))
            for agent in (teacher, pupil)
        ]
        assert torch.equal(draws[0].actions, draws[1].actions)


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_the_most_likely_action_is_sb3s_deterministic_one(name: AlgorithmName) -> None:
    agent = learner(name, 140)
    agent.learn(lambda slots: None)
    seen = torch.randn(1, 50, 2, generator=torch.Generator().manual_seed(0))
    theirs, _ = agent.model.predict(seen[0].numpy(), deterministic=True)
    np.testing.assert_allclose(tiny.act(agent.actor, seen, None).actions[0], 0.1 * theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_drawn_actions_have_the_spread_of_sb3s_own(name: AlgorithmName) -> None:
    agent = learner(name, 140)
    seen = torch.zeros(1, 4000, 2)
    ours = tiny.act(agent.actor, seen, torch.Generator().manual_seed(0)).actions[0].numpy()
    theirs = 0.1 * agent.model.predict(seen[0].numpy(), deterministic=False)[0]
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.008)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), atol=0.004)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("ppo", 40_000), ("sac", 3_000)])
def test_a_baseline_learns_to_walk_to_a_goal(name: AlgorithmName, steps: int) -> None:
    agent = learner(name, steps, slots=8)

    def earned() -> float:
        rng = np.random.default_rng(0)
        env = SUITE.make_vector_env(8)
        rollout = collect(env, [TASK], agent.actor, episodes=8, horizon=10, rng=rng, deterministic=True)
        return float(rollout.episode_returns.mean())

    before = earned()
    agent.learn(lambda slots: None)
    assert earned() > 0.5 * before  # returns are negative


def test_stages_of_an_agent_with_a_memory_are_episodes() -> None:
    agent = Baseline("meta")
    assert agent.stages(2) == ("before", "1 step", "2 steps")
    assert agent.stages(2, "sequential") == ("first episode", "after 1 episode", "after 2 episodes")


def test_the_plan_is_the_agent_then_scratch_by_budget_then_what_trains_on_tasks() -> None:
    plan = planned(ComparisonConfig(budgets=(10, 1, 10), algorithms=("sac", "ppo")))
    assert [baseline.stem for baseline in plan] == [
        "meta",
        *("sac-scratch-x1", "ppo-scratch-x1", "sac-scratch-x10", "ppo-scratch-x10"),
        *("sac-multitask", "ppo-multitask", "sac-oracle", "ppo-oracle"),
    ]


@pytest.fixture(scope="module", autouse=True)
def short_pilots() -> Iterator[None]:
    """Measure the speeds, of which nothing but the expected time depends, in fewer steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metarl.baselines.runner.PPO_PILOT", 32)
        patch.setattr("metarl.baselines.runner.SAC_PILOT", 2)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(RUN) == 0
    return folder / "runs" / "it"


@pytest.fixture(scope="module")
def compared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compare once; return the folder of the results."""
    copy = shutil.copytree(trained, tmp_path_factory.mktemp("compared") / "it")
    assert main(["baseline", str(copy), *TINY]) == 0
    return copy / "baselines"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a run's folder that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "it")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_every_agent_at_every_stage_with_what_it_learned_from(compared: Path) -> None:
    found = [
        (row["agent"], row["stage"], int(row["task_steps"]), int(row["training_steps"]))
        for row in table(compared)
    ]
    meta = 8 * HORIZON * 2  # tasks x episodes x horizon of the one iteration, before and after adapting
    assert found == [
        *[("meta-learned", stage, 2 * HORIZON * k, meta) for k, stage in enumerate(("before", "1 step"))],
        ("meta-learned", "2 steps", BUDGET, meta),
        *[(f"{name} from scratch x{x}", "", x * BUDGET, 0) for x in (1, 2) for name in ("PPO", "SAC")],
        *[
            (f"{name} multi-task", stage, steps, 100)
            for name in ("PPO", "SAC")
            for stage, steps in (("", 0), ("tuned", BUDGET))
        ],
        *[(f"{name} oracle", "", 0, 100) for name in ("PPO", "SAC")],
    ]


def test_every_agent_is_measured_on_the_same_tasks_with_as_many_episodes(compared: Path) -> None:
    files = [path for path in compared.glob("*.json") if path.stem not in ("comparison", "settings")]
    data = [json.loads(path.read_text()) for path in files]
    assert len(data) == 9
    assert all("label" in one and one["tasks"] == data[0]["tasks"] for one in data)
    assert {evaluation_from_json(one).returns[:, 0].shape for one in data} == {(2, 2)}


def test_every_file_has_its_table_and_its_figure(compared: Path) -> None:
    stems = {path.stem for path in compared.glob("*.json")} - {"settings"}
    assert {path.stem for path in compared.glob("*.csv")} == stems
    assert {path.stem for path in compared.glob("*.png")} == stems


def test_the_steps_on_a_task_are_those_of_the_evaluations(compared: Path) -> None:
    data = json.loads((compared / "ppo-scratch-x2.json").read_text())
    assert data["env_steps"] == 2 * (data["task_steps"][0] + 2 * HORIZON)  # each of 2 tasks: 2 episodes


class Spy:
    """Notes the seeds of the episodes that are measured on each task."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: dict[str, set[str]] = {}
        real = BaselineRunner._episodes_of

        def noted(runner: BaselineRunner, task: Task) -> np.random.Generator:
            rng = real(runner, task)
            self.states.setdefault(task.id, set()).add(str(rng.bit_generator.state))
            return rng

        monkeypatch.setattr(BaselineRunner, "_episodes_of", noted)


def test_episodes_of_a_task_come_from_the_same_seeds_whoever_is_measured(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    assert main(["baseline", str(run), *TINY[:-2], "--algorithms", "ppo"]) == 0
    assert [len(states) for states in spy.states.values()] == [1, 1]
    assert len(set().union(*spy.states.values())) == 2


class Killed(BaseException):
    """Ends a process as nothing that is caught can."""


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kill a comparison before its 4th and its 8th result; the list fills with what was computed."""
    real, computed = Comparison._measure, []

    def measure(comparison: Comparison, runner: BaselineRunner, baseline: Baseline, task: Task) -> Measured:
        if len(computed) in (3, 8):
            computed.append("killed")
            raise Killed
        computed.append(f"{baseline.stem} {task.id}")
        return real(comparison, runner, baseline, task)

    monkeypatch.setattr(Comparison, "_measure", measure)
    return computed


def test_a_comparison_that_is_killed_over_and_over_gives_the_same_numbers(
    run: Path, compared: Path, killing: Sequence[str]
) -> None:
    for _ in range(20):
        try:
            assert main(["baseline", str(run), *TINY, "--algorithms", "sac"]) == 0
            break
        except Killed:
            continue
    done = Counter(entry for entry in killing if entry != "killed")
    assert set(done.values()) == {1}
    assert table(run / "baselines") == [row for row in table(compared) if not row["agent"].startswith("PPO")]


def test_what_is_asked_for_later_is_added_to_what_is_there(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--algorithms", "ppo", "--kinds", "scratch", "--tasks", "2", "--budgets")
    assert main(["baseline", str(run), *few, "1"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(BaselineRunner, "meta", lambda *_: pytest.fail("it was computed again"))
    assert main(["baseline", str(run), *few, "1", "3"]) == 0
    assert "PPO from scratch x3" in capsys.readouterr().out
    assert main(["baseline", str(run), *few, "1", "3"]) == 0
    assert "Nothing is missing" in capsys.readouterr().out


def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = BaselineRunner.meta

    def meta(runner: BaselineRunner, task: Task) -> Measured:
        done = real(runner, task)
        signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(BaselineRunner, "meta", meta)
    assert main(["baseline", str(run), *TINY]) == 130
    assert "Stopped; 1 of 18 results are new and kept: start it again." in capsys.readouterr().out


def test_an_oracle_is_told_the_task_that_it_is_measured_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = runs.open_trained(run, pytest.fail)
    tasks = experiment.suite.tasks("test")[:1]
    config = ComparisonConfig(algorithms=("ppo",), kinds=("oracle",), training_steps=100)
    comparison = Comparison(experiment, tasks, config, run / "baselines")
    shown: list[torch.Tensor] = []
    real = PPOLearner.actor.fget
    assert real is not None

    def actor(agent: PPOLearner) -> object:
        own = real(agent)

        def distribution(seen: torch.Tensor) -> object:
            shown.append(seen)
            return own.distribution(seen)

        return replace(own, distribution=distribution)

    monkeypatch.setattr(PPOLearner, "actor", property(actor))
    with comparison.open_runner(lambda phase, slots: None) as runner:
        comparison.run(runner, lambda baseline, task: None)
    goal = torch.tensor(tasks[0].parameters, dtype=torch.float32)
    assert shown
    assert all(torch.equal(seen[:, 2:], goal.expand(len(seen), 2)) for seen in shown)


def test_the_estimate_counts_what_is_pending(run: Path) -> None:
    experiment = runs.open_trained(run, pytest.fail)
    config = ComparisonConfig(training_steps=500)
    comparison = Comparison(experiment, experiment.suite.tasks("test")[:3], config, run / "baselines")
    episodes = 3 * 2 * HORIZON
    wanted = {"measure": 2 * episodes, "ppo/task": 3 * BUDGET, "ppo/training": 500}
    assert comparison.pending_steps(Baseline("multitask", "ppo")) == wanted
    assert comparison.seconds(Baseline("scratch", "sac", 10), {"measure": 0.5, "sac/task": 2.0}) == (
        0.5 * episodes + 2.0 * 30 * BUDGET
    )


@pytest.mark.usefixtures("drawn_figures")
def test_rows_are_means_over_tasks_and_are_drawn(compared: Path, tmp_path: Path) -> None:
    experiment = runs.open_trained(compared.parent, pytest.fail)
    tasks = [Task.from_json(task) for task in json.loads((compared / "meta.json").read_text())["tasks"]]
    config = ComparisonConfig(budgets=(1, 2), training_steps=100, updates_per_step=0.5)
    found = rows(Comparison(experiment, tasks, config, compared))
    save(draw(found, "title", "caption"), tmp_path / "drawn.png")
    first = found[0]
    returns = evaluation_from_json(json.loads((compared / "meta.json").read_text())).returns
    assert first.returns.mean == pytest.approx(returns[:, 0].mean())
    assert first.returns.low <= first.returns.mean <= first.returns.high


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--budgets 0", "Expected every value of budgets in [1, 1000000], got (0,)."),
        ("--tasks -1", "Expected tasks >= 0, got -1."),
        ("--training-steps -5", "Expected training_steps >= 0, got -5."),
        ("--updates-per-step nan", "Expected updates_per_step in (0, 100], got nan."),
        ("--updates-per-step 2 --algorithms ppo", "SAC's, so algorithms must have sac, but it is ppo."),
        ("--training-steps 9 --kinds scratch", "so kinds must have one, but it is scratch."),
        ("--algorithms pop", "pop"),
        ("--kinds magic", "magic"),
    ],
)
def test_a_malformed_option_is_explained(
    run: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["baseline", str(run), *options.split()])
    assert sentence in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (run / "baselines").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--seed", "1"), "to have seed 1, got results with seed 0; choose another folder with --out"),
        (("--training-steps", "200"), "to have training_steps 200, got results with training_steps 100;"),
    ],
)
def test_results_of_other_settings_are_not_mixed(
    compared: Path, capsys: pytest.CaptureFixture[str], change: Sequence[str], sentence: str
) -> None:
    assert main(["baseline", str(compared.parent), *TINY, *change]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--seed", "7"), "training_seed"),
        (("--horizon", "10"), "suite.horizon"),
        (("--agent.inner-lr", "0.3"), "agent.inner_lr"),
        (("--agent", "promp"), "agent."),
    ],
)
def test_another_run_gets_no_numbers_of_this_one(
    compared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: Sequence[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, *options]) == 0
    before = {path: path.read_bytes() for path in compared.rglob("*") if path.is_file()}
    assert main(["baseline", "runs/it", *TINY, "--output", str(compared)]) == 2
    said = capsys.readouterr().err
    assert f"got results with {name}" in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in compared.rglob("*") if path.is_file()} == before


def test_results_of_other_weights_or_versions_are_not_taken(
    run: Path, compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(compared, run / "baselines")
    settings = run / "baselines" / "settings.json"
    known = json.loads(settings.read_text())
    for name in ("weights_sha256", "version of mujoco", "engine", "horizon"):
        for spoiled in ({**known, name: "other"}, {key: known[key] for key in known if key != name}):
            settings.write_text(json.dumps(spoiled))
            assert main(["baseline", str(run), *TINY]) == 2
            assert name in capsys.readouterr().err


def test_a_run_without_checkpoints_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "checkpoints")
    assert main(["baseline", str(run)]) == 2
    assert "has no checkpoint: it was stopped before its first" in capsys.readouterr().err


def test_damaged_results_are_named(run: Path, compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(compared, run / "baselines")
    part = next((run / "baselines" / "parts" / "meta").glob("*.json"))
    part.write_text("{")
    assert main(["baseline", str(run), *TINY]) == 2
    assert capsys.readouterr().err.endswith("is damaged; delete it, and it is computed again.\n")
    part.unlink()
    assert main(["baseline", str(run), *TINY]) == 0
    assert table(run / "baselines") == table(compared)


@pytest.mark.slow
def test_it_compares_on_meta_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("--iterations", "1", "--horizon", "20", "--sampling.meta-batch-size", "4")
    assert main(["train", "ml1", "--name", "it", *small, "--evaluation.every", "0"]) == 0
    assert main(["baseline", "runs/it", "--tasks", "2", "--budgets", "1", "--training-steps", "400"]) == 0
    assert len(table(Path("runs/it/baselines"))) == 4 + 2 + 4 + 2
