"""Evaluations that are stale, torn or of another run: noticed by every reader, and never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from metarl.cli.main import main
from metarl.errors import MetarlError, Stopped
from metarl.reporting.html.run_data import gather
from metarl.storage.checkpoints import load_newest, weights_sum
from metarl.training import runs
from metarl.training.evaluation_reader import is_finished, read_evaluation
from metarl.training.sweep import SeedRun
from metarl.types import Json
from support.programs import HORIZON, POINT

Object = dict[str, Json]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once, for 2 iterations; return the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*POINT, "--iterations", "2", "--evaluation.every", "0"]) == 0
    return folder / "runs" / "it"


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy that a test may spoil, at ``runs/it``."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained, Path("runs") / "it")


def change(path: Path, spoil: Callable[[Object], object]) -> None:
    data = json.loads(path.read_text())
    spoil(data)
    path.write_text(json.dumps(data))


def part(data: Object, name: str) -> Object:
    return cast("Object", data[name])


def first_return(data: Object, value: float) -> None:
    cast("list[list[list[float]]]", data["returns"])[0][0][0] = value


def test_evaluation_says_what_it_is_of(run: Path) -> None:
    about = read_evaluation(run).about
    checkpoint = load_newest(run / "checkpoints", print)
    assert about["iteration"] == 2
    assert about["training_steps"] == checkpoint.progress["env_steps"]
    assert about["horizon"] == HORIZON
    assert about["weights_sha256"] == weights_sum(checkpoint.agent)
    assert {"metarl", "mujoco", "metaworld"} <= part(about, "versions").keys()
    assert part(part(about, "config"), "evaluation")["adaptation_episodes"] == 2


STALE: dict[str, Callable[[Path], object]] = {
    "trained on": lambda run: change(run / "config.json", lambda data: data.update(iterations=40)),
    "of an earlier iteration": lambda run: change(
        run / "evaluation.json", lambda data: data.update(iteration=1)
    ),
    "went back": lambda run: shutil.rmtree(run / "checkpoints" / "00000002"),
    "of other weights": lambda run: change(
        run / "evaluation.json", lambda data: data.update(weights_sha256="0" * 64)
    ),
    "of another seed": lambda run: change(
        run / "evaluation.json", lambda data: part(data, "config").update(seed=9)
    ),
    "of another agent": lambda run: change(
        run / "evaluation.json", lambda data: part(part(data, "config"), "agent").update(kind="lvc")
    ),
    "measured otherwise": lambda run: change(
        run / "config.json", lambda data: part(data, "evaluation").update(adaptation_episodes=3)
    ),
    "cut short": lambda run: (run / "evaluation.json").write_bytes(
        (run / "evaluation.json").read_bytes()[:500]
    ),
    "empty": lambda run: (run / "evaluation.json").write_bytes(b""),
    "zeros after a power cut": lambda run: (run / "evaluation.json").write_bytes(bytes(4096)),
    "no object": lambda run: (run / "evaluation.json").write_text("[]"),
    "a return that is no number": lambda run: change(
        run / "evaluation.json", lambda data: first_return(data, float("nan"))
    ),
    "numbers that do not fit": lambda run: change(
        run / "evaluation.json", lambda data: data.update(returns=[[1.0]])
    ),
    "no evaluation": lambda run: (run / "evaluation.json").write_text("{}"),
}


@pytest.mark.parametrize("spoil", STALE.values(), ids=STALE)
def test_evaluation_of_something_else_is_refused_in_a_sentence(
    run: Path, spoil: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, run.with_name("other"))
    spoil(run)
    assert not is_finished(run)
    assert main(["compare", "runs/it", "runs/other"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("metarl: runs/it/evaluation.json ")
    assert "metarl train --resume runs/it" in said


@pytest.mark.parametrize("name", ["cut short", "no object", "of an earlier iteration", "of another seed"])
def test_report_refuses_an_evaluation_of_something_else(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    STALE[name](run)
    assert main(["report", "runs/it", "--no-videos"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_report_takes_the_evaluation_of_the_newest_iteration(run: Path) -> None:
    (run / "evaluations").mkdir()
    shutil.copy(run / "evaluation.json", run / "evaluations" / "iteration2-seed0.json")
    STALE["of an earlier iteration"](run)
    assert gather([run], print)[0].runs[0].measured.path.parent.name == "evaluations"


def test_report_leaves_out_what_was_measured_before_the_run_went_back(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STALE["of other weights"](run)
    assert main(["report", "runs/it", "--no-videos"]) == 2
    assert "make one with: metarl evaluate runs/it" in capsys.readouterr().err


def test_sweep_does_the_evaluation_of_a_torn_file_again(run: Path) -> None:
    seed = SeedRun(0, run, Path("log"))
    assert seed.finished
    before = json.loads((run / "evaluation.json").read_text())["returns"]
    STALE["cut short"](run)
    assert not seed.finished
    assert main(["train", "--resume", "runs/it"]) == 0
    assert seed.finished
    assert json.loads((run / "evaluation.json").read_text())["returns"] == before


def test_training_on_deletes_what_was_measured_before(run: Path) -> None:
    experiment = runs.resume(run, print, iterations=40)
    assert (run / "evaluation.json").exists()  # nothing was trained yet

    class Stopper:
        def on_step(self, episodes: int) -> None:
            pass

        def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
            experiment.request_stop()

    experiment.observers = [Stopper()]
    with pytest.raises(Stopped):
        experiment.run()
    assert not list(run.glob("evaluation.*"))


def test_earlier_evaluation_without_an_iteration_is_read(run: Path) -> None:
    def forget(data: Object) -> None:
        for name in ("iteration", "training_steps", "horizon", "weights_sha256", "versions", "config"):
            del data[name]

    change(run / "evaluation.json", forget)
    shutil.rmtree(run / "checkpoints")
    measured = read_evaluation(run)
    assert measured.iteration is None
    assert measured.training == "an unrecorded number of iterations"


def test_committed_evaluation_without_checkpoints_is_read(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    assert read_evaluation(run).training == "2 iterations (320 environment steps)"


def test_evaluation_comes_after_the_table_and_the_figure(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in run.glob("evaluation.*"):
        path.unlink()

    def dies(*_: object, **__: object) -> None:
        raise MetarlError("the machine dies")

    monkeypatch.setattr("metarl.reporting.evaluation_files.draw_adaptation_curve", dies)
    assert main(["train", "--resume", "runs/it"]) == 2
    assert "the machine dies" in capsys.readouterr().err
    assert not (run / "evaluation.json").exists()
    assert not is_finished(run)
