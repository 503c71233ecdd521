"""A run on the GPU's physics: it names that physics, and its policy goes on under any engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest

from metarl.cli.main import main

pytestmark = pytest.mark.warp
SUITES = ("ml1", "half-cheetah-dir")
SMALL = (
    "--name run --iterations 1 --horizon 2 "
    "--sampling.engine warp:cpu --sampling.meta-batch-size 1 --sampling.episodes 2 "
    "--evaluation.every 0 --evaluation.tasks 1 --evaluation.episodes 1 "
    "--evaluation.adaptation-steps 0 --evaluation.adaptation-episodes 1"
)


@pytest.fixture(scope="module", params=SUITES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for one iteration under Warp on the CPU."""
    folder = tmp_path_factory.mktemp("warp")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", request.param, *SMALL.split()]) == 0
    return folder / "runs" / "run"


def test_evaluation_names_the_engine_and_mujoco(run: Path) -> None:
    told = json.loads((run / "evaluation.json").read_text())["physics"]
    assert told["trained"] == told["evaluated"]
    assert told["trained"]["engine"] == "warp:cpu"
    assert told["trained"]["mujoco"] == told["trained"]["mujoco_warp"] == mujoco.__version__
    assert all(len(digest) == 64 for digest in told["trained"]["models"].values())


def test_policy_is_evaluated_on_threads_and_the_report_names_both(run: Path, tmp_path: Path) -> None:
    options = ["--engine", "threads", "--tasks", "1", "--protocol", "per-goal", "--episodes", "1"]
    options += ["--adaptation-steps", "0"]
    assert main(["evaluate", str(run), *options, "--output", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").glob("*.json")
    told = json.loads(file.read_text())["physics"]
    assert (told["trained"]["engine"], told["evaluated"]["engine"]) == ("warp:cpu", "threads")


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["ml1", "half-cheetah-vel"])
def test_benchmark_runs_in_small_on_the_cpu(root: Path, tmp_path: Path, suite: str) -> None:
    output = tmp_path / "rows.json"
    program = [
        sys.executable,
        "-m",
        "benchmarks.speed.gpu",
        "--device",
        "cpu",
        "--output",
        str(output),
    ]
    sizes = ["--suites", suite, "--worlds", "2", "--episodes", "1", "--horizon", "2"]
    subprocess.run([*program, *sizes], check=True, timeout=600, cwd=root)
    warp, threads = json.loads(output.read_text())
    assert (warp["engine"], threads["engine"]) == ("warp:cpu", "threads")
    assert warp["mujoco"] == mujoco.__version__
    assert min(warp["collect_steps_per_s"], warp["physics_steps_per_s"], threads["iteration_steps_per_s"]) > 0
