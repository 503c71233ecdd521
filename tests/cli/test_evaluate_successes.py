"""``metarl evaluate`` on Meta-World: kinds of success, both ways to act, references, numbers of goals."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from metarl.cli.main import main
from metarl.evaluation import references
from metarl.reporting import evaluation_report
from metarl.types import Json
from support.programs import ML1, POINT

BRIEF = ("--protocol", "per-goal", "--episodes", "2", "--adaptation-episodes", "2", "--adaptation-steps", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train an agent on Meta-World for an iteration; return the folder with ``runs``."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(references, "cache_folder", lambda: folder / "cache")
        assert main([*ML1, "--iterations", "1", "--evaluation.every", "0"]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(references, "cache_folder", lambda: folder / "cache")
    monkeypatch.setenv("COLUMNS", "80")


def read(path: str) -> dict[str, Json]:
    content = json.loads(Path(path).read_text())
    assert isinstance(content, dict)
    return content


def test_both_ways_to_act_are_those_of_two_calls_and_stand_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", "runs/it", "--test-goals", "4", *BRIEF]
    assert main([*command, "--actions", "both", "--output", "both"]) == 0
    out = capsys.readouterr().out
    rows = {line.split("  ")[0]: line for line in out.splitlines()}
    shown = ("0, drawn", "1, drawn", "0, most likely", "1, most likely", "idle", "random")
    assert all(len(rows[name]) <= 80 for name in shown)
    titles = [line.strip() for line in out.splitlines() if "held-out tasks, " in line]
    assert [title.partition(", ")[2] for title in titles] == [
        "held-out tasks, most likely actions",
        "held-out tasks, drawn actions",
    ]
    assert main([*command, "--output", "drawn"]) == 0
    assert main([*command, "--deterministic", "--output", "likely"]) == 0
    stem = "iteration1-seed0-ml1-reach-v3+testgoals4-horizon10"
    both, drawn = read(f"both/{stem}.json"), read(f"drawn/{stem}.json")
    likely, alone = read(f"both/{stem}-most-likely.json"), read(f"likely/{stem}.json")
    for name in ("returns", "successes", "successes_last", "successes_held", "tasks"):
        assert both[name] == drawn[name]
        assert likely[name] == alone[name]
    assert both["returns"] != likely["returns"]
    assert isinstance(tasks := both["tasks"], list)
    assert len(tasks) == 4
    assert both["stream"] == {"purpose": "evaluation", "seed": 0}
    found = both["references"]
    assert isinstance(found, dict)
    assert set(found) == {"idle", "random"}
    with Path(f"both/{stem}-success.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["actions"] for line in lines] == ["drawn"] * 2 + ["most likely"] * 2 + ["idle", "random"]
    assert float(lines[4]["success"]) == 0


def test_evaluation_at_a_runs_end_has_the_references_and_its_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = read("runs/it/evaluation.json")
    assert {"references", "successes_last", "successes_held"} <= content.keys()
    assert "stream" not in content
    assert Path("runs/it/evaluation-success.csv").is_file()
    assert (
        main(["evaluate", "runs/it", "--tasks", "2", "--no-references", *BRIEF, "--output", "without"]) == 0
    )
    assert "references" not in read("without/iteration1-seed0.json")


def test_comparison_and_report_show_every_kind_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("runs/it", "runs/again")
    assert main(["compare", "runs/it", "runs/again", "--output", "compared"]) == 0
    out = capsys.readouterr().out
    assert "success at the last step %" in out
    assert "success held for the last ten steps %" in out
    assert any(line.startswith("random ") for line in out.splitlines())
    compared = read("compared/comparison.json")
    assert {"success", "success_last", "success_held", "references"} <= compared.keys()
    with Path("compared/agents.csv").open(newline="") as file:
        assert {"success_last_after", "success_held_after_low"} <= set(next(csv.reader(file)))
    assert main(["report", "runs/it", "--no-videos", "--output", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert "Success at any step, at the last, and held" in page
    assert "one that acts at random" in page


def test_suite_without_numbers_of_goals_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*POINT, "--iterations", "1", "--evaluation.every", "0"]) == 0
    assert "references" not in read("runs/it/evaluation.json")
    capsys.readouterr()
    assert main(["evaluate", "runs/it", "--test-goals", "4"]) == 2
    assert capsys.readouterr().err == (
        "metarl: Expected a suite with a setting test_goals, got point, which has none.\n"
    )


def test_a_run_that_adapts_from_more_episodes_is_measured_so_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--iterations", "1", "--evaluation.every", "0", "--evaluation.adaptation-episodes", "13"
    assert main([*POINT, *options]) == 0
    brief = "--tasks", "1", "--episodes", "1", "--adaptation-steps", "1"
    for given, told in (((), False), (("--adaptation-episodes", "5"), True)):
        capsys.readouterr()
        code = main(["evaluate", "runs/it", "--output", f"told-{told}", *brief, *given])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        assert ("--adaptation-episodes 5 (there 13)" in " ".join(shown.out.split())) == told


def test_rank_correlation_of_zero_is_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_report, "rank_correlation", lambda _: 0.0)
    assert main(["evaluate", "runs/it", "--test-goals", "2", *BRIEF, "--output", "zero"]) == 0
    stem = "iteration1-seed0-ml1-reach-v3+testgoals2-horizon10"
    assert read(f"zero/{stem}.json")["rank_correlation"] == 0.0
