"""``metarl reproduce``: results evaluated, trained or made again, and compared number by number."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from metarl.cli.main import main
from metarl.errors import Stopped
from metarl.reporting.aggregate import combine
from metarl.reporting.number_comparison import Number
from metarl.reporting.reproduction_tables import describe
from metarl.reporting.result_folder import read_origins
from metarl.training.sweep import SeedRun, Sweep
from support.programs import HORIZON, POINT

OPTIONS = (*POINT[2:], "--iterations", "2", "--evaluation.every", "1", "--checkpoint.every", "1")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train two seeds and put them together; return the folder."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in (0, 1):
            assert main([*POINT[:2], *OPTIONS, "--seed", str(seed), "--name", f"it-seed{seed}"]) == 0
    runs = folder / "runs"
    combine([runs / "it-seed0", runs / "it-seed1"], runs / "it-sweep", "two seeds")
    index = {"runs": ["it-seed0", "it-seed1"], "finished": ["it-seed0", "it-seed1"]}
    (runs / "it-sweep" / "sweep.json").write_text(json.dumps(index))
    return runs / "it-sweep"


@pytest.fixture
def result(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the sweep's folder to ``results/tiny``, as one commits it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "results" / "tiny"
    unkept = shutil.ignore_patterns("sweep.json", "*.log", "*.png", "profile.csv", "*.lock")
    shutil.copytree(sweep, folder, ignore=unkept)
    return folder


def reproduce(*arguments: str) -> int:
    """Return the exit code of ``metarl reproduce``."""
    with contextlib.suppress(SystemExit):
        return main(["reproduce", *arguments])
    return 1


def change(path: Path, row: int, column: str, value: float) -> None:
    """Write another number into a table."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row][column] = str(value)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def numbers(output: Path) -> list[dict[str, str]]:
    with (output / "reproduction.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_result_says_how_its_seeds_were_measured_and_keeps_their_weights(result: Path) -> None:
    origins = read_origins(result)
    assert [origin.seed for origin in origins] == [0, 1]
    for origin in origins:
        assert origin.weights == result / "weights" / f"seed{origin.seed}"
        assert {path.name for path in origin.weights.iterdir()} == {"weights.safetensors", "state.json"}
        assert (origin.about["iteration"], origin.about["training_steps"]) == (2, 2 * 4 * 2 * HORIZON * 2)
        versions, settings = origin.about["versions"], origin.about["evaluation"]
        assert isinstance(versions, dict)
        assert isinstance(settings, dict)
        assert {"metarl", "torch", "mujoco"} <= versions.keys()
        assert settings["episodes"] == 2


def test_weights_give_the_published_numbers_without_training(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce("--output", "out") == 0
    out = capsys.readouterr().out
    assert "tiny: evaluating seed 1 on 40 held-out tasks." in " ".join(out.split())
    found = numbers(Path("out"))
    assert {one["file"] for one in found} == {"adaptation.csv"}
    assert {one["row"] for one in found} >= {"seed 0", "seed 1", "all"}
    assert {one["verdict"] for one in found} == {"equal"}
    content = json.loads(Path("out/reproduction.json").read_text())["results"][0]
    assert (content["how"], content["verdict"], len(content["numbers"])) == ("evaluate", "equal", len(found))
    assert not Path("runs").exists()


def test_number_outside_of_its_interval_is_named_and_ends_with_exit_code_1(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = result / "adaptation.csv"
    change(table, 0, "return", 99.0)
    change(table, 0, "return_low", 98.0)
    change(table, 0, "return_high", 100.0)
    assert reproduce("results/tiny", "--output", "out") == 1
    assert "tiny: adaptation.csv, seed 0, return: expected 99 [98, 100], got" in capsys.readouterr().out
    assert [one["column"] for one in numbers(Path("out")) if one["verdict"] == "different"] == ["return"]


def test_numbers_that_differ_late_are_shown_to_where_they_differ() -> None:
    number = Number("rewards.csv", "push-v3", "reward", 9.17392731, None, None, 9.17392808, "different")
    assert describe(number) == "rewards.csv, push-v3, reward: expected 9.17392731, got 9.17392808."


def test_number_within_its_interval_is_no_failure(result: Path) -> None:
    with (result / "adaptation.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    change(result / "adaptation.csv", 0, "return", (float(row["return"]) + float(row["return_high"])) / 2)
    assert reproduce("results/tiny", "--output", "out") == 0
    assert [one["column"] for one in numbers(Path("out")) if one["verdict"] == "within"] == ["return"]


def train_here(sweep: Sweep, parallel: int, _: Callable[[], None]) -> dict[SeedRun, int]:
    """Train a sweep's seeds in this process, which is faster than one for each."""
    assert parallel >= 1
    for run in sweep.runs:
        if not run.finished:
            assert main(["train", "--resume", str(run.folder)]) == 0
    return {}


def test_training_again_gives_the_published_tables_and_curve(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "run", train_here)
    shutil.rmtree(result / "weights")
    assert reproduce("--output", "out") == 0
    found = numbers(Path("out"))
    assert {one["file"] for one in found} == {"adaptation.csv", "curve.csv"}
    assert {one["verdict"] for one in found} == {"equal"}
    names = {one["column"] for one in found if one["file"] == "curve.csv"}
    assert {"train/return/step_0", "train/success/step_1", "test/return/step_1"} <= names
    # a training that is equal can give a result the weights that it lacks
    assert reproduce("--resume", "--keep-weights", "--parallel", "1") == 0
    assert (result / "weights" / "seed1" / "weights.safetensors").is_file()
    shutil.rmtree(result / "weights")
    # the runs are there now: going on finds them finished, starting anew is refused
    assert reproduce("--resume", "--seeds", "1", "--parallel", "1") == 0
    assert reproduce() == 1


def test_options_of_trainings_are_refused_where_nothing_is_trained(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(result.rglob("*"))
    assert reproduce("--keep-weights") != 0
    assert "--keep-weights is for results that are trained again" in " ".join(capsys.readouterr().err.split())
    assert reproduce("--parallel=1", "--resume") != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "--parallel, --resume are for results that are trained again, and none of these is" in said
    assert sorted(result.rglob("*")) == before


def test_stopped_training_says_that_resume_goes_on(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> dict[SeedRun, int]:
        raise Stopped

    monkeypatch.setattr(Sweep, "run", stop)
    assert reproduce("--train") == 130
    out = " ".join(capsys.readouterr().out.split())
    assert "0 finished and 0 begun before" in out
    assert "start the same command again with --resume" in out


def test_first_seed_alone_is_compared_with_its_own_rows(result: Path) -> None:
    assert reproduce("--seeds", "1", "--output", "out") == 0
    assert {one["row"].split(",")[0] for one in numbers(Path("out"))} == {"seed 0"}


def test_plan_says_what_it_would_take_and_does_nothing(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old := result.parent / "old").mkdir()
    (old / "table.csv").write_text("x\n1\n")
    assert reproduce("--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    (tiny,) = [line.split() for line in lines if line.startswith("tiny ")]
    # 40 tasks x 2 episodes x HORIZON steps, measured three times; adapting reuses the measured episodes
    assert tiny[1:4] == ["evaluate", "2", f"{2 * 3 * 40 * 2 * HORIZON:,}"]
    assert "Left out (it has neither a config.json of a training nor a reproduce.json): old." in lines
    assert reproduce("--plan", "--train") == 0
    lines = capsys.readouterr().out.splitlines()
    (tiny,) = [line.split() for line in lines if line.startswith("tiny ")]
    assert tiny[1:4] == ["train", "2", f"{2 * 2 * 4 * 2 * HORIZON * 2:,}"]
    assert not Path("runs").exists()


def test_weights_of_another_training_are_refused(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(result / "weights" / "seed0")
    shutil.copytree(result / "weights" / "seed1", result / "weights" / "seed0")
    assert reproduce() == 1
    assert "weights/seed0 are not those that were measured" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def two(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the result of two agents, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sweep.parent, "runs")
    assert main([*("train", "point", "--agent", "multi-task"), *OPTIONS, "--name", "other"]) == 0
    assert main(["compare", "runs/it-sweep", "runs/other", "--output", "results/two"]) == 0
    return Path("results/two")


def test_result_of_several_agents_is_evaluated_and_trained_again(two: Path) -> None:
    assert {path.name for path in (two / "configs").iterdir()} == {"maml-trpo.json", "multi-task.json"}
    assert {path.name for path in (two / "weights").iterdir()} == {"maml-trpo", "multi-task"}
    assert reproduce("--output", "out") == 0
    assert {one["row"].split(",")[0] for one in numbers(Path("out"))} == {"maml-trpo", "multi-task"}
    assert {one["verdict"] for one in numbers(Path("out"))} == {"equal"}


def test_seeds_of_several_agents_have_no_numbers_of_their_own(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(str(root / "results" / "point-agents"), "--seeds", "1") == 0
    said = "its tables of several agents have no numbers of fewer seeds; leave --seeds away"
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_training_several_agents_again_gives_the_published_tables_and_curves() -> None:
    assert reproduce("--train", "--parallel", "1", "--output", "out") == 0
    assert {one["file"] for one in numbers(Path("out"))} == {"agents.csv", "curves.csv"}
    assert {one["verdict"] for one in numbers(Path("out"))} == {"equal"}


def test_result_folder_is_evaluated_and_watched_without_training(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "results/tiny", "--tasks", "2", "--output", "out"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "results/tiny has the weights of 2 runs, to results/tiny/weights/seed1" in out
    assert Path("out/iteration2-seed0.json").is_file()
    assert main(["evaluate", "results/tiny/weights/seed1", "--tasks", "2", "--seed", "1"]) == 0
    assert (result / "evaluations" / "iteration2-seed1.json").is_file()
    assert main(["watch", "results/tiny", "--output", "film.mp4", "--size", "64"]) == 0
    assert Path("film.mp4").stat().st_size > 0


def program(folder: Path, body: str, **more: object) -> Path:
    """Write a program, and a result that names it; return the result's folder."""
    (benchmarks := folder / "benchmarks").mkdir()
    (benchmarks / "made.py").write_text(f"import pathlib, sys\nout = pathlib.Path(sys.argv[1])\n{body}")
    (made := folder / "results" / "made").mkdir(parents=True)
    content = {"program": "benchmarks.made", "arguments": ["{output}"], "files": ["table.csv"], **more}
    (made / "reproduce.json").write_text(json.dumps(content))
    (made / "table.csv").write_text("family,x,seconds\na,2,1\nb,4,1\n")
    return made


def test_program_makes_its_tables_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = "(out / 'table.csv').write_text('family,x,seconds\\na,2,7\\nb,4.1,8\\n')"
    made = program(tmp_path, body, ignored=["seconds"], seconds=3)
    assert reproduce("--output", "out") == 1
    assert [one["verdict"] for one in numbers(Path("out"))] == ["equal", "different"]
    content = json.loads((made / "reproduce.json").read_text())
    (made / "reproduce.json").write_text(json.dumps({**content, "tolerance": 0.05}))
    assert reproduce("--output", "out") == 0
    assert [one["verdict"] for one in numbers(Path("out"))] == ["equal", "within"]
    assert made.joinpath("table.csv").read_text().endswith("b,4,1\n")
    assert Path("out/made/table.csv").read_text().endswith("b,4.1,8\n")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(121, "it takes more than 2 minutes"), (0, "how long it takes is not recorded")],
)
def test_result_that_takes_too_long_is_left_out_with_its_cost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path, "sys.exit(3)", seconds=seconds)
    assert reproduce("--minutes", "2") == 0
    out = capsys.readouterr().out
    assert f"Left out ({said}): made." in " ".join(out.split())
    last = [line.split() for line in out.splitlines() if line.startswith("made ")][-1]
    assert last == ["made", "program", "left", "out", *(["2", "min"] if seconds else [])]


@pytest.mark.parametrize(
    ("body", "more", "said"),
    [
        ("sys.exit(3)", {}, "benchmarks.made failed with exit code 3."),
        ("", {}, "The table"),
        ("", {"environment": ".venv-gone"}, "Expected the environment .venv-gone"),
    ],
)
def test_failing_program_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: str,
    more: dict[str, object],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path, body, **more)
    assert reproduce() == 1
    assert f"made failed: {said}" in " ".join(capsys.readouterr().out.split())


def test_only_programs_of_the_repository_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path, "", program="os")
    assert reproduce() == 2
    assert "Expected a program of benchmarks.*" in capsys.readouterr().err


def test_every_committed_program_is_there(root: Path) -> None:
    files = list((root / "results").rglob("reproduce.json"))
    for path in files:
        content = json.loads(path.read_text())
        assert root.joinpath(*content["program"].split(".")).with_suffix(".py").is_file(), path
        assert all((path.parent / name).is_file() for name in content["files"]), path
        assert any("{output}" in word for word in content["arguments"]), path


def test_folder_without_results_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reproduce() == 2
    assert "There is no folder results" in capsys.readouterr().err
    Path("empty").mkdir()
    assert reproduce("empty") == 2
    assert "Expected a result, or a folder of results, got empty" in capsys.readouterr().err
    run = Path("runs") / "a"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run / "evaluation.csv").write_text("task\n")
    for place in ("runs/a", "runs"):
        assert reproduce(place) == 2
        assert (
            f"Expected a result, or a folder of results, got {'the run ' * (place == 'runs/a')}{place}"
            in (" ".join(capsys.readouterr().err.split()))
        )
