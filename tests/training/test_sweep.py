"""Several seeds at once: the same numbers as one by one, stopping, going on, and seeds that fail."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from metarl.cli.commands.options import configured
from metarl.cli.commands.sweep import describe_failures
from metarl.cli.main import main
from metarl.config import EvaluationConfig, to_json
from metarl.errors import MetarlError
from metarl.storage.locks import locked
from metarl.training import sweep
from metarl.training.sweep import SeedRun, Sweep, core_shares, last_line
from support.programs import POINT, point_config

METARL = str(Path(sys.executable).with_name("metarl"))
OPTIONS = [*POINT[2:], "--evaluation.every", "0"]
SWEEP = ["sweep", "point", *OPTIONS, "--seeds", "2"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def stub(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let a seed run this program instead of ``metarl train``; ``arguments`` is what that would be given."""
    program = f"import json, os, shutil, sys, time\nparent, cores, *arguments = sys.argv[1:]\n{body}"
    monkeypatch.setattr(sweep, "_PROGRAM", program)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train both seeds one by one; return the folder of the runs."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in ("0", "1"):
            assert main(["train", "point", *OPTIONS, "--seed", seed, "--name", f"it-seed{seed}"]) == 0
    return folder / "runs"


def numbers(runs: Path, seed: int) -> tuple[object, object]:
    """Return what must not depend on how a seed was run."""
    folder = runs / f"it-seed{seed}"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timeless = [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]
    return timeless, json.loads((folder / "evaluation.json").read_text())["returns"]


def wait_for_iteration(run: Path, number: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run tells of an iteration, or a later one: its early checkpoints may be gone by then."""
    deadline = time.monotonic() + 600
    while SeedRun(0, run, run).iteration < number:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


LONG = ["--iterations", "300"]


def stop_midway(runs: Path, number: int) -> None:
    """Start a sweep, and send it a signal when both seeds are under way; see that all processes end."""
    process = subprocess.Popen([METARL, *SWEEP, *LONG, "--parallel", "2"], stdout=subprocess.DEVNULL)
    try:
        for seed in (0, 1):
            wait_for_iteration(runs / f"it-seed{seed}", 2, process)
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(300) == (130 if number == signal.SIGTERM else -number)
        assert not psutil.wait_procs(children, timeout=300)[1]
    finally:
        process.kill()  # of a failed test; its seeds end with it
    assert not list(runs.glob("*/evaluation.json"))


def test_stopped_sweep_leaves_no_orphans(tmp_path: Path) -> None:
    stop_midway(tmp_path / "runs", signal.SIGTERM)
    logs = [(tmp_path / "runs" / "it-sweep" / f"seed{seed}.log").read_text() for seed in (0, 1)]
    assert all("Stopped after iteration" in log for log in logs)


@pytest.mark.slow
def test_killed_sweep_leaves_no_orphans_and_goes_on_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_midway(tmp_path / "runs", signal.SIGKILL)
    assert main([*SWEEP, *LONG, "--parallel", "1"]) == 0
    (tmp_path / "alone").mkdir()
    monkeypatch.chdir(tmp_path / "alone")
    assert main(["train", "point", *OPTIONS, *LONG, "--name", "it-seed0"]) == 0
    assert numbers(tmp_path / "runs", 0) == numbers(tmp_path / "alone" / "runs", 0)


def test_sweeps_on_one_folder_never_take_one_seed(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(
        monkeypatch,
        f"""
seed = arguments[arguments.index("--seed") + 1]
with open("trained" + seed, "x") as file:  # fails if the seed is trained twice
    file.write(parent)
time.sleep(0.2)
shutil.copytree("{plain}/it-seed1", "runs/it-seed" + seed)""",
    )
    config = configured("point", OPTIONS, "metarl sweep point")
    sweeps = [Sweep(config, "point", (), range(5), tmp_path / "runs") for _ in range(3)]
    sweeps[0].folder.mkdir(parents=True)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda one: one.run(1, lambda: None), sweeps)) == [{}] * 3
    assert len(list(tmp_path.glob("trained*"))) == 5


@pytest.mark.parametrize("lock", ["it-sweep/.seed1.lock", "it-seed1/.lock"])
def test_seed_of_another_process_is_left_to_it_until_its_lock_is_free(
    lock: str,
    tmp_path: Path,
    plain: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(plain, tmp_path / "runs")
    begun = tmp_path / "runs" / "it-seed1"
    (begun / "evaluation.json").rename(tmp_path / "evaluation.json")
    (tmp_path / "runs" / "it-sweep").mkdir()
    stub(monkeypatch, "shutil.move('evaluation.json', 'runs/it-seed1')")
    held = tmp_path / "runs" / lock
    with locked(held.parent, held.name):
        assert main(SWEEP) == 0
    assert "Other processes train seed 1; the last to end combines all.\n" in capsys.readouterr().out
    assert not (tmp_path / "runs" / "it-sweep" / "adaptation.csv").exists()
    assert main(SWEEP) == 0
    assert (tmp_path / "runs" / "it-sweep" / "adaptation.csv").exists()


@pytest.mark.slow
def test_jobs_share_a_sweep_and_a_killed_one_leaves_its_seed_to_the_others(
    tmp_path: Path, plain: Path
) -> None:
    """Jobs as a Slurm array starts them: the same command, one seed at a time."""
    command = [METARL, *SWEEP[:-1], "4", "--parallel", "1", "--checkpoint.every", "1"]
    logs = [(tmp_path / f"job{job}").open("w+") for job in range(3)]
    jobs = [subprocess.Popen(command, stdout=log, stderr=log) for log in logs]
    runs = tmp_path / "runs"
    victim, seed = None, 0
    while victim is None:
        time.sleep(0.02)
        assert jobs[0].poll() is None
        for child in psutil.Process(jobs[0].pid).children():
            words = child.cmdline()
            seed = int(words[words.index("--seed") + 1])
            if SeedRun(seed, runs / f"it-seed{seed}", runs).iteration > 0:
                victim = child
    jobs[0].kill()
    jobs[0].wait()
    assert not psutil.wait_procs([victim], timeout=60)[1]
    assert [job.wait(300) for job in jobs[1:]] == [0, 0]
    # every seed was begun once, and the killed job's was resumed
    for each in range(4):
        log = (runs / "it-sweep" / f"seed{each}.log").read_text()
        assert log.count("Training maml-trpo") == 1 + (each == seed)
    assert [numbers(runs, each) for each in (0, 1)] == [numbers(plain, each) for each in (0, 1)]
    index = json.loads((runs / "it-sweep" / "sweep.json").read_text())
    assert index["finished"] == [f"it-seed{each}" for each in range(4)]
    assert (runs / "it-sweep" / "adaptation.csv").exists()
    for log in logs:
        log.close()


@pytest.mark.usefixtures("drawn_figures")
def test_sweep_gives_the_numbers_of_single_runs_and_puts_them_together(
    tmp_path: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One seed was begun before, and goes on; the other starts anew; one after the other.
    assert main(["train", "point", *OPTIONS, "--seed", "1", "--name", "it-seed1", "--iterations", "8"]) == 0
    begun = tmp_path / "runs" / "it-seed1"
    (begun / "evaluation.json").unlink()
    shutil.rmtree(begun / "checkpoints" / "00000008")
    capsys.readouterr()
    assert main([*SWEEP, "--parallel", "1"]) == 0
    out = capsys.readouterr().out
    assert "2 seeds of maml-trpo on point, at most 1 at a time; 0 finished and 1 begun before" in out
    assert "mean over 2 seeds x 40 tasks x 2 episodes [95 % interval over seeds and tasks]" in out
    assert "by seed" in out
    assert all(any(line.startswith(f"seed {seed} ") for line in out.splitlines()) for seed in (0, 1))
    assert [numbers(tmp_path / "runs", seed) for seed in (0, 1)] == [numbers(plain, seed) for seed in (0, 1)]
    folder = tmp_path / "runs" / "it-sweep"
    with (folder / "adaptation.csv").open() as file:
        assert [row["seeds"] for row in csv.DictReader(file)][::3] == ["seed 0", "seed 1", "all"]
    assert (folder / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert "going on after 6" in (folder / "seed1.log").read_text()


def test_finished_sweep_trains_nothing_again_and_gives_the_notices_of_its_runs(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(plain, tmp_path / "runs")
    evaluation = tmp_path / "runs" / "it-seed1" / "evaluation.json"
    evaluation.write_text(json.dumps({**json.loads(evaluation.read_text()), "notices": ["Nothing learned."]}))
    stub(monkeypatch, "sys.exit(9)")
    assert main(SWEEP) == 0
    assert "Notice of seed 1: Nothing learned.\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "runs" / "it-sweep" / "sweep.json").read_text())["finished"] == [
        *("it-seed0", "it-seed1"),
    ]


def test_sweep_goes_on_with_runs_of_other_threads_and_workers(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(plain, tmp_path / "runs")
    stub(monkeypatch, "sys.exit(9)")
    assert main([*SWEEP, "--threads", "2", "--sampling.workers", "3"]) == 0


@pytest.mark.parametrize("command", ["evaluate", "train --resume", "explain", "watch", "baseline"])
def test_sweep_in_place_of_a_run_is_refused_by_name(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "it-sweep").mkdir()
    for name in ("config.json", "sweep.json"):
        (tmp_path / "it-sweep" / name).write_text("{}")
    assert main([*command.split(), "it-sweep"]) == 2
    assert capsys.readouterr().err == (
        "metarl: Expected a run or a checkpoint, got the folder of a sweep, it-sweep; "
        "name one of its runs, it-seedN.\n"
    )


def test_failing_seed_is_named_with_its_log_and_the_others_go_on(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(
        monkeypatch,
        f"""
seed = arguments[arguments.index("--seed") + 1]
if seed == "0":
    sys.exit("metarl: the point is lost.")
shutil.copytree("{plain}/it-seed" + "1", "runs/it-seed" + seed)""",
    )
    assert main([*SWEEP, "--parallel", "1"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "metarl: 1 of 2 seeds failed: seed 0 (exit code 1, 'metarl: the point is lost.', see "
        "runs/it-sweep/seed0.log). Start the same command again to resume them."
    ]
    assert "seed 0: waiting; seed 1: finished" in said.out
    assert (tmp_path / "runs" / "it-sweep" / "adaptation.csv").exists()


def test_no_more_run_at_once_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(
        monkeypatch,
        """
os.makedirs("now", exist_ok=True)
mine = f"now/{os.getpid()}"
open(mine, "w").close()
print("at once:", len(os.listdir("now")), flush=True)
time.sleep(0.5)
os.remove(mine)
sys.exit(3)""",
    )
    assert main([*SWEEP[:-1], "5", "--parallel", "2"]) == 2
    said = [log.read_text().split()[-1] for log in (tmp_path / "runs" / "it-sweep").glob("*.log")]
    assert len(said) == 5
    assert max(said) == "2"


def test_runs_of_other_settings_are_refused(
    tmp_path: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(plain, tmp_path / "runs")
    assert main([*SWEEP, "--iterations", "9"]) == 2
    assert capsys.readouterr().err == (
        "metarl: The run runs/it-seed0 has other settings than this sweep (iterations); "
        "choose another --name.\n"
    )
    assert not (tmp_path / "runs" / "it-sweep").exists()


def test_seed_that_patience_ended_is_of_the_same_sweep(tmp_path: Path) -> None:
    config = replace(point_config(), iterations=30, evaluation=EvaluationConfig(every=1, patience=2))
    folder = tmp_path / "runs" / "it-seed0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_json(replace(config, iterations=3))))
    rows = [{"iteration": number, "test/return/step_0": -abs(number - 1.0)} for number in range(4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Sweep(replace(config, name="it"), "point", (), [0], tmp_path / "runs")
    # two evaluations were not better, but three were to be waited for: it was to train for less
    patient = replace(config, iterations=3, evaluation=EvaluationConfig(every=1, patience=3))
    (folder / "config.json").write_text(json.dumps(to_json(patient)))
    with pytest.raises(MetarlError, match="has other settings than this sweep"):
        Sweep(replace(patient, name="it", iterations=30), "point", (), [0], tmp_path / "runs")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweep"], "metarl sweep needs a preset first"),
        (["sweep", "poin"], "There is no preset called 'poin'; did you mean 'point'?"),
        (["sweep", "point", "--seeds", "0"], "Expected seeds in [1, 1000], got 0."),
        (["sweep", "point", "--seed", str(2**32 - 1), "--seeds", "2"], "All seeds must lie in 0..2**32-1"),
    ],
)
def test_impossible_sweeps_are_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:  # tyro's, on what a single option cannot be
        code = int(str(end.code))
    assert code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("cores", "parallel", "expected"),
    [
        ([0, 1], 2, [[0], [1]]),
        ([0, 1], 1, [[0, 1]]),
        ([4, 5, 6, 7, 8], 2, [[4, 6, 8], [5, 7]]),
        ([3, 9], 3, [[3], [9], [3]]),
    ],
)
def test_cores_are_shared_out(cores: list[int], parallel: int, expected: list[list[int]]) -> None:
    assert core_shares(cores, parallel) == expected


def test_sweep_of_no_runs_at_a_time_is_refused(tmp_path: Path) -> None:
    sweep = Sweep(point_config(), "point", (), [0], tmp_path)
    with pytest.raises(MetarlError, match="At least one run must train at a time, but it is 0"):
        sweep.run(0, lambda: None)


def test_last_line_of_a_silent_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n\n")
    assert last_line(tmp_path / "log") == "it said nothing"
    run = SeedRun(3, tmp_path / "it-seed3", tmp_path / "log")
    assert "seed 3 (exit code -9, 'it said nothing'" in describe_failures({run: -9}, 4)


def test_iteration_is_read_from_a_file_that_is_being_written(tmp_path: Path) -> None:
    run = SeedRun(0, tmp_path, tmp_path / "log")
    assert run.iteration == 0
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 3}\n')
    assert run.iteration == 3
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"itera')
    assert run.iteration == 3  # half a line says nothing
