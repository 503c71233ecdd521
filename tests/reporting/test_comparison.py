"""Comparing runs and sweeps, profiles, adaptation from ever more episodes, and leaks between the splits."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from metarl.cli.main import main
from metarl.config import MeasurementConfig
from metarl.envs.metaworld.goals import Goals, published_goals
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.toy.point import PointConfig, PointTasks
from metarl.errors import MetarlError
from metarl.evaluation.comparability import check_comparable
from metarl.evaluation.episode_curve import (
    curve_steps,
    episode_curve,
    episodes_axis,
    first_episodes,
    slots_for,
)
from metarl.evaluation.experience import at_counts, common_counts, experience_of
from metarl.evaluation.record import Evaluation
from metarl.evaluation.statistics import Bootstrap
from metarl.reporting.comparison import (
    EvaluatedRun,
    check_comparable_runs,
    compare,
    on_common_axis,
    read_evaluated,
    same_weights,
)
from metarl.reporting.figures.profiles import profiles_of, write_profiles
from metarl.storage.files import write_json
from metarl.tasks import Split
from metarl.types import Json, Task
from support import tiny
from support.programs import POINT

TASKS = tuple(Task("a", (float(i),), f"a/{i}") for i in range(4))
FEW = Bootstrap(resamples=200)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once; return the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*POINT, "--iterations", "1", "--evaluation.every", "0"]) == 0
    return folder / "runs" / "it"


def measured(value: float, *, success: bool = True) -> Evaluation:
    """Return an evaluation of 4 tasks: returns of ``value`` plus 0, 1, 2, 3, and 10 more after a step."""
    returns = value + np.arange(4.0)[:, None, None] + np.array([[[0.0], [10.0]]])
    return Evaluation(TASKS, returns, returns > 2 if success else None, 0)


def evaluated(*values: float, suite: PointConfig | ML1Config | None = None) -> EvaluatedRun:
    return EvaluatedRun("it", suite or PointConfig(), tuple(measured(value) for value in values))


def test_runs_with_other_numbers_of_training_goals_are_compared_and_told_apart() -> None:
    few, many = (evaluated(0.0, 1.0, suite=ML1Config(training_goals=number)) for number in (50, 500))
    assert many.label == few.label == "ml1-reach-v3"
    check_comparable([*few.sides, *many.sides])
    assert (few.training, many.training) == ("not recorded", "not recorded, with training_goals 500")


def test_runs_with_other_numbers_of_test_goals_are_not_compared() -> None:
    few, many = (evaluated(0.0, suite=ML1Config(test_goals=number)) for number in (50, 60))
    with pytest.raises(MetarlError, match=r"they differ in the suite, ml1-reach-v3 and ml1-reach-v3\+test"):
        check_comparable([*few.sides, *many.sides])


def test_clearly_better_run_improves_on_every_task() -> None:
    verdict = compare(evaluated(0.0, 1.0), evaluated(-9.0), 1, FEW)["return"]
    assert (verdict.improvement.mean, verdict.improvement.high) == (1.0, 1.0)
    assert verdict.improvement.low < 0.5  # two seeds against one prove nothing
    assert verdict.difference.mean == pytest.approx(9.5)
    assert (verdict.our_seeds, verdict.their_seeds) == ((11.5, 12.5), (2.5,))
    assert verdict.ours.mean.mean == pytest.approx(12.0)
    assert verdict.theirs.iqm.mean == pytest.approx(2.5)


def test_run_against_itself_is_undecided() -> None:
    verdict = compare(evaluated(0.0), evaluated(0.0), 0, FEW)["return"]
    assert verdict.improvement.mean == 0.5


def test_rates_are_compared_within_their_bounds() -> None:
    verdict = compare(evaluated(0.0, 1.0), evaluated(-9.0), 1, FEW)["success"]
    assert 0 <= verdict.ours.mean.low < verdict.ours.mean.high <= 1
    assert -1 <= verdict.difference.low < verdict.difference.high <= 1


def test_successes_are_compared_where_both_have_them() -> None:
    silent = replace(evaluated(0.0), evaluations=(measured(0.0, success=False),))
    assert set(compare(evaluated(0.0), evaluated(0.0), 0, FEW)) == {"return", "success"}
    assert set(compare(evaluated(0.0), silent, 0, FEW)) == {"return"}


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (evaluated(0.0, suite=ML1Config()), "they differ in the suite, point and ml1-reach-v3"),
        (evaluated(0.0, suite=PointConfig(horizon=7)), "they differ in the suite's horizon, 100 and 7"),
        (
            replace(evaluated(0.0), evaluations=(replace(measured(0.0), tasks=TASKS[::-1]),)),
            "not of the same tasks",
        ),
    ],
)
def test_runs_of_different_suites_or_tasks_are_not_compared(theirs: EvaluatedRun, sentence: str) -> None:
    with pytest.raises(MetarlError, match=sentence):
        check_comparable_runs([evaluated(0.0), theirs])


def change(path: Path, *place: str, value: object) -> None:
    """Change one setting in a file of JSON."""
    data = json.loads(path.read_text())
    part = data
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    path.write_text(json.dumps(data))


DIFFERENT = {
    ("config", "evaluation", "adaptation_episodes"): (100, "evaluation.adaptation-episodes, 2 and 100."),
    ("config", "evaluation", "deterministic"): (True, "evaluation.deterministic, False and True."),
    ("horizon",): (30, "the horizon, 10 and 30."),
    ("physics", "evaluated", "mujoco"): ("3.10.0", "the version of mujoco, "),
    ("versions", "gymnasium"): ("0.1", "the version of gymnasium, "),
    ("physics", "evaluated", "engine"): ("warp:cuda:1", "the physics, MuJoCo and MuJoCo Warp."),
}


@pytest.mark.parametrize("command", ["compare", "report"])
@pytest.mark.parametrize(("place", "told"), DIFFERENT.items(), ids=[".".join(place) for place in DIFFERENT])
def test_what_was_measured_otherwise_is_not_compared(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    place: tuple[str, ...],
    told: tuple[object, str],
) -> None:
    other = shutil.copytree(trained, tmp_path / "other")
    value, sentence = told
    change(other / "evaluation.json", *place, value=value)
    if place[0] == "config":
        change(other / "config.json", *place[1:], value=value)
    assert main([command, str(trained), str(other), *(["--no-videos"] if command == "report" else [])]) == 2
    said = capsys.readouterr().err
    assert f"cannot be compared: they differ in {sentence}" in said
    assert said.count("\n") == 1


def test_setting_that_the_first_does_not_record_is_compared_among_the_others(trained: Path) -> None:
    known = read_evaluated(trained)
    file = known.files[0]
    silent = replace(known, files=(replace(file, about={}),))
    other = replace(known, files=(replace(file, about={**file.about, "horizon": 30}),))
    check_comparable_runs([silent, known])
    with pytest.raises(MetarlError, match="they differ in the horizon, 10 and 30"):
        check_comparable_runs([silent, known, other])


def test_evaluations_under_other_model_files_are_not_compared(trained: Path) -> None:
    known = read_evaluated(trained)
    file = known.files[0]
    sides = []
    for total in "12":
        physics: Json = {"evaluated": {"models": {"reach-v3": total}}}
        sides.append(replace(known, files=(replace(file, about={**file.about, "physics": physics}),)))
    check_comparable_runs([known, sides[0], sides[0]])
    with pytest.raises(MetarlError, match="they differ in the model files"):
        check_comparable_runs(sides)


def test_number_of_measured_episodes_is_compared(trained: Path, tmp_path: Path) -> None:
    ours = read_evaluated(trained)
    fewer = ours.evaluations[0].returns[:, :, :1]
    evaluation = replace(ours.evaluations[0], returns=fewer, successes=None)
    theirs = replace(ours, files=(replace(ours.files[0], evaluation=evaluation),), evaluations=(evaluation,))
    with pytest.raises(MetarlError, match="they differ in the number of measured episodes, 2 and 1"):
        check_comparable_runs([ours, theirs])


def test_different_training_is_told_and_not_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = shutil.copytree(trained, tmp_path / "longer")
    shutil.rmtree(longer / "checkpoints")
    change(longer / "config.json", "iterations", value=40)
    change(longer / "evaluation.json", "iteration", value=40)
    change(longer / "evaluation.json", "training_steps", value=6_400)
    assert main(["compare", str(trained), str(longer)]) == 0
    said = capsys.readouterr().out
    assert "A was trained for 1 iteration (160 environment steps)." in said
    assert "B was trained for 40 iterations (6,400 environment steps)." in said


def test_what_an_early_evaluation_does_not_record_is_told(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = shutil.copytree(trained, tmp_path / "early")
    data = json.loads((early / "evaluation.json").read_text())
    for name in ("horizon", "versions", "training_steps", "weights_sha256"):
        del data[name]
    (early / "evaluation.json").write_text(json.dumps(data))
    assert main(["compare", str(trained), str(early)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The evaluation of early does not record the horizon, the version of gymnasium" in said
    assert "B was trained for 1 iteration." in said


def test_step_that_was_not_measured_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"step must be in 0\.\.1, but it is 2"):
        compare(evaluated(0.0), evaluated(0.0), 2, FEW)


def test_profile_by_hand() -> None:
    stages = {"before": ([measured(0.0)], 0), "after": ([measured(0.0)], 1)}
    found = profiles_of(stages, "return")
    assert found["before"].thresholds[[0, -1]].tolist() == [0.0, 13.0]
    shares = [share.mean for share in found["before"].shares]
    assert shares[0] == 0.75  # of 0, 1, 2, 3 three are above 0
    assert shares[-1] == 0.0
    assert found["after"].shares[0].mean == 1.0
    assert shares == sorted(shares, reverse=True)


@pytest.mark.usefixtures("drawn_figures")
def test_profiles_leave_out_what_a_suite_does_not_say(tmp_path: Path) -> None:
    write_profiles(tmp_path, {"it": ([measured(0.0, success=False)], 0)}, "title")
    with (tmp_path / "profile.csv").open() as file:
        assert {row["quantity"] for row in csv.DictReader(file)} == {"return"}
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_commands_refuse_in_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = shutil.copytree(trained, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    (bare / "evaluation.json").unlink()
    other = shutil.copytree(trained, tmp_path / "other")
    for file, sections in (("config.json", ()), ("evaluation.json", ("config",))):
        data = json.loads((other / file).read_text())
        (data[sections[0]] if sections else data)["suite"]["horizon"] = 30
        (other / file).write_text(json.dumps(data))
    wrong = {
        (
            "compare",
            str(trained),
            str(other),
        ): "it and other cannot be compared: they differ in the suite's horizon, 10 and 30.",
        ("compare", str(trained), str(bare)): "is no finished run: it has no evaluation.json.",
        ("compare", str(trained), str(tmp_path / "nowhere")): "There is no run",
        (
            "evaluate",
            str(bare),
        ): "has no checkpoint: it was stopped before its first, or copied without them.",
        ("evaluate", str(trained), "--task", "point/test/0,0"): "There is no held-out task of point called",
        ("evaluate", str(trained), "--protocol", "official"): "The suite point has no official evaluator",
    }
    for arguments, sentence in wrong.items():
        assert main(list(arguments)) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert len(said.splitlines()) == 1


def test_compare_prints_and_writes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = ["compare", str(trained), str(shutil.copytree(trained, tmp_path / "copy"))]
    assert main([*command, "--output", str(tmp_path / "new")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["A: it, 1 seed", "B: copy, 1 seed"]
    assert lines[2] == "On 40 held-out tasks of point, after 2 adaptation steps."
    assert lines[3] == "A was trained for 1 iteration (160 environment steps)."
    # That no task of 40 tells them apart leaves 8.8 % for those that might: half of it on either side.
    # the return, and success at any step, at the last and held
    assert sum("A beats B on a task with a probability of 50 % [46, 54]" in line for line in lines) == 4
    # each task differs by exactly 0, which has no interval
    assert sum(line.strip("│ ").endswith("A - B: 0.0") for line in lines) == 1
    assert max(map(len, lines[:-1])) <= 80
    content = json.loads((tmp_path / "new" / "comparison.json").read_text())
    assert content["over"] == "both"
    assert content["return"]["probability_of_improvement"] == pytest.approx([0.5, 0.456, 0.544], abs=1e-3)
    assert content["return"]["difference"] == [0.0, 0.0, 0.0]
    assert len(content["return"]["seeds"]["ours"]) == 1
    assert main([*command, "--output", str(tmp_path / "new")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_run_is_not_compared_with_itself(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    assert main(["compare", str(trained), "."]) == 2
    assert capsys.readouterr().err == "metarl: The run . is named twice; a run cannot differ from itself.\n"


def test_run_is_not_compared_with_its_sweep(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, run = tmp_path / "it-sweep", tmp_path / trained.name
    run.symlink_to(trained)
    write_json(sweep / "sweep.json", {"finished": [trained.name]})
    assert main(["compare", str(sweep), str(trained)]) == 2
    assert f"The run {trained} is named twice" in capsys.readouterr().err


def test_copy_of_a_run_is_said_to_be_the_same_agent(trained: Path) -> None:
    one = read_evaluated(trained)
    copied, other = replace(one, name="copy"), replace(one, name="other", files=())
    assert same_weights([one, copied, other]) == [
        f"{trained.name} and copy are one agent: their weights are the same."
    ]


def test_other_tasks_are_named_before_episodes_of_experience(trained: Path) -> None:
    one = read_evaluated(trained)
    few = replace(one.evaluations[0], trial="sequential", tasks=one.evaluations[0].tasks[:3])
    other = replace(one, name="other", evaluations=(few,), files=(replace(one.files[0], evaluation=few),))
    with pytest.raises(MetarlError, match="not of the same tasks"):
        on_common_axis([one, other])


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train an agent with a memory once, on trials of five episodes; return the run's folder."""
    folder = tmp_path_factory.mktemp("remembering")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sizes = ("--agent.memory-size", "4", "--agent.embedding-size", "4", "--agent.trial-episodes", "5")
        words = POINT[: POINT.index("--agent.hidden-sizes")]
        changes = ("--iterations", "1", "--evaluation.every", "0", "--evaluation.adaptation-steps", "4")
        assert main([*words, "--agent", "rl2", *sizes, *changes, "--name", "remembering"]) == 0
    return folder / "runs" / "remembering"


def test_agents_by_gradient_and_by_memory_are_compared_at_equal_experience(
    trained: Path, remembering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["compare", str(trained), str(remembering)]
    assert main([*both, "--output", str(tmp_path / "new")]) == 0
    assert "On 40 held-out tasks of point, after 4 episodes of experience." in capsys.readouterr().out
    last = json.loads((tmp_path / "new" / "comparison.json").read_text())
    assert last["experience_episodes"] == 4
    assert main([*both, "--step", "2", "--output", str(tmp_path / "two")]) == 0
    assert "after 2 episodes of experience." in capsys.readouterr().out
    two = json.loads((tmp_path / "two" / "comparison.json").read_text())
    # an adaptation step takes two episodes: its first stands beside the third episode of a trial
    ours, theirs = (read_evaluated(folder).evaluations[0] for folder in (trained, remembering))
    assert two["return"]["seeds"]["ours"] == pytest.approx([ours.returns[:, 1].mean()])
    assert two["return"]["seeds"]["theirs"] == pytest.approx([theirs.returns[:, 2].mean()])
    assert last["return"]["seeds"]["ours"] == pytest.approx([ours.returns[:, 2].mean()])
    assert last["return"]["seeds"]["theirs"] == pytest.approx([theirs.returns[:, 4].mean()])


def test_episodes_that_a_memory_does_not_adapt_from_are_no_difference(remembering: Path) -> None:
    ours = read_evaluated(remembering)
    config = cast("dict[str, dict[str, Json]]", ours.files[0].about["config"])
    other: Json = {**config, "evaluation": {**config["evaluation"], "adaptation_episodes": 7}}
    file = replace(ours.files[0], about={**ours.files[0].about, "config": other})
    check_comparable_runs([ours, replace(ours, files=(file,))])


def test_experience_that_only_one_has_is_refused_with_what_there_is(
    trained: Path, remembering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(trained), str(remembering), "--step", "3"]) == 2
    assert capsys.readouterr().err == "metarl: step must be one of 0, 2, 4, but it is 3.\n"


def test_files_of_evaluations_are_compared_like_runs(
    trained: Path, remembering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(run / "evaluation.json") for run in (trained, remembering)]
    assert main(["compare", *files]) == 0
    assert "On 40 held-out tasks of point, after 4 episodes of experience." in capsys.readouterr().out
    one, other = (read_evaluated(Path(path)) for path in (files[0], str(trained)))
    assert one.name == "it/evaluation"
    assert one.evaluations[0].returns.tolist() == other.evaluations[0].returns.tolist()
    assert (one.suite, one.agent, one.training) == (other.suite, other.agent, other.training)
    # a folder beside a file: what only folders have is left out
    assert main(["compare", str(trained), files[1], "--output", str(tmp_path / "new")]) == 0
    written = {path.name for path in (tmp_path / "new").iterdir()}
    assert written == {"agents.csv", "agents.png", "profile.csv", "profile.png", "comparison.json"}
    content = json.loads((tmp_path / "new" / "comparison.json").read_text())
    assert content["return"]["seeds"]["ours"] == pytest.approx([one.evaluations[0].returns[:, 2].mean()])
    # an episode curve has as many stages, which mean something else
    curve = json.loads((trained / "evaluation.json").read_text())
    curve["adaptation_episodes"] = curve.pop("adaptation_steps")
    (tmp_path / "curve.json").write_text(json.dumps(curve))
    with pytest.raises(MetarlError, match="Expected an evaluation by adaptation_steps of metarl evaluate"):
        read_evaluated(tmp_path / "curve.json")


def test_agents_without_equal_experience_are_not_compared() -> None:
    with pytest.raises(
        MetarlError,
        match=r"equally many episodes of experience, got A after 0, 10, 20; B after 0, 1, 2; measure again "
        "with metarl evaluate RUN --adaptation-episodes 1",
    ):
        common_counts([("A", (0, 10, 20)), ("B", (0, 1, 2))])


def test_experience_counts_the_episodes_of_each_step() -> None:
    one = measured(0.0)
    assert experience_of(one, 10) == (0, 10)
    assert experience_of(replace(one, trial="sequential"), 10) == (0, 1)
    assert experience_of(at_counts(one, 10, (10,)), 3) == (10,)
    assert np.array_equal(at_counts(one, 10, (10,)).returns, one.returns[:, 1:])


def test_sweep_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"finished": []}')
    with pytest.raises(MetarlError, match="must have a finished run"):
        read_evaluated(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(MetarlError, match="is damaged"):
        read_evaluated(tmp_path)


HORIZON = 3
CLIMBS = [tiny.climb(float(start)) for start in range(3)]


def curve(slots: int, agent: tiny.StrideAgent | None = None) -> tuple[Evaluation, tiny.ClimbEnv]:
    env = tiny.ClimbEnv(slots, HORIZON, noise=1.0)
    found = episode_curve(
        agent or tiny.StrideAgent(),
        env,
        CLIMBS,
        MeasurementConfig(episodes=2),
        (1, 4),
        horizon=HORIZON,
        rng=np.random.default_rng(0),
    )
    return found, env


def test_curve_adapts_from_each_number_of_episodes() -> None:
    agent = tiny.StrideAgent()
    found, _ = curve(12, agent)
    assert agent.episodes_seen == [1, 4]
    assert found.returns.shape == (3, 3, 2)
    assert found.env_steps == 3 * HORIZON * (4 + 3 * 2)
    assert episodes_axis((1, 4)).values == (0, 1, 4)


def test_fewer_episodes_are_the_first_of_the_more() -> None:
    rollout = tiny.random_rollout(0, tasks=2, episodes=3)
    part = first_episodes(rollout, 2)
    assert part.rewards.tolist() == rollout.rewards[:, :2].tolist()
    assert part.final_observations.shape == (2, 2, 3)


@pytest.mark.parametrize("slots", [4, 7, 12])
def test_steps_of_the_curve_are_the_true_number(slots: int) -> None:
    config = MeasurementConfig(episodes=2)
    assert slots_for(config, (1, 4)) == 4
    assert curve(slots)[1].steps_taken == curve_steps(config, (1, 4), len(CLIMBS), slots, HORIZON)


@pytest.mark.parametrize("counts", [(), (0, 1), (2, 2), (5, 1)])
def test_numbers_of_episodes_must_rise(counts: tuple[int, ...]) -> None:
    with pytest.raises(MetarlError, match="must rise, from 1 or more"):
        episode_curve(
            tiny.StrideAgent(),
            tiny.ClimbEnv(4, HORIZON),
            CLIMBS,
            MeasurementConfig(),
            counts,
            horizon=HORIZON,
            rng=np.random.default_rng(0),
        )


def test_episode_curve_is_printed_and_written(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--tasks", "3", "--episodes", "2", "--adaptation-episodes", "2", "--episode-curve", "1", "3")
    assert main(["evaluate", str(trained), *options, "--output", str(tmp_path)]) == 0
    assert "episodes" in capsys.readouterr().out
    with (tmp_path / "iteration1-seed0-episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["adaptation_episodes"] for row in rows] == ["0", "1", "3"] * 3
    assert (tmp_path / "iteration1-seed0-episodes.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def leaking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the point suite train on one of its test goals."""
    build = PointConfig.build

    def with_leak(self: PointConfig) -> PointTasks:
        suite = build(self)
        tasks = suite.tasks
        stolen = replace(tasks("test")[3], id="mine")

        def leaking_tasks(_: PointTasks, split: Split) -> tuple[Task, ...]:
            return (*tasks("train"), stolen) if split == "train" else tasks("test")

        monkeypatch.setattr(PointTasks, "tasks", leaking_tasks)
        return suite

    monkeypatch.setattr(PointConfig, "build", with_leak)


@pytest.mark.usefixtures("leaking")
@pytest.mark.parametrize("command", ["train", "evaluate", "sweep"])
def test_test_goal_in_training_is_refused(
    command: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"train": POINT, "evaluate": ("evaluate", str(trained)), "sweep": ("sweep", *POINT[1:])}
    assert main(arguments[command]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"metarl: Test task 'point/test/\S+' of point is also a training task\.\n", said)
    assert not (tmp_path / "runs").exists()


def test_test_goal_in_training_of_metaworld_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    goals = published_goals("ml1", 42, "reach-v3")
    stolen = Goals((*goals.train[:-1], goals.test[7]), goals.test)
    monkeypatch.setattr("metarl.envs.metaworld.goals.published_goals", lambda *_, width: stolen)
    with pytest.raises(MetarlError, match="Test task 'reach-v3/test/07' of ml1-reach-v3 is also a training"):
        ML1Config().build()
