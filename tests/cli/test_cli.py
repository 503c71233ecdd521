"""The commands as a user types them, what they print and what they leave."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from metarl import __version__
from metarl.cli.commands.evaluate import other_measurement
from metarl.cli.commands.evaluate_options import EvaluateArguments
from metarl.cli.commands.training import describe_run
from metarl.cli.main import main
from metarl.config import EvaluationConfig, MeasurementConfig, SamplingConfig
from metarl.plugins import entry_points, registry
from metarl.storage.checkpoints import load
from metarl.training.experiment import Experiment
from support.programs import POINT, reseal

Command = Callable[..., tuple[int, str, str]]
METARL = str(Path(sys.executable).with_name("metarl"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once; return the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(POINT) == 0
    return folder / "runs" / "it"


@pytest.fixture
def metarl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``metarl`` in an empty folder: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def command(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(str(end.code or 0))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_training_leaves_everything_in_the_runs_folder(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        *("config.json", "metrics.jsonl", "tensorboard", "checkpoints", ".lock"),
        *("learning_curve.png", "evaluation.json", "evaluation.csv", "evaluation.png"),
        "evaluation-success.csv",
    }
    assert [path.name for path in sorted((trained / "checkpoints").iterdir())] == [
        *("00000004", "00000006", "00000008"),
    ]
    for figure in ("learning_curve.png", "evaluation.png"):
        assert (trained / figure).read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("drawn_figures")
def test_training_prints_what_it_will_do_then_a_table_then_the_files(metarl: Command) -> None:
    code, out, err = metarl(*POINT, "--iterations", 1)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == (
        "Training maml-trpo on point: 1 iteration of 4 tasks x 2 episodes x 2 rollouts x 10 steps, "
        "at most 160 environment steps in all; seed 0, cpu. Everything goes to runs/it."
    )
    assert re.match(r"iteration 0 of 1: held-out return -\d+\.\d -> ", lines[1])
    assert "success %" in out
    assert lines[-1] == (
        "Wrote learning_curve.png, evaluation.json, evaluation.csv, evaluation.png, evaluation-success.csv "
        "in runs/it."
    )


def test_config_of_the_run_is_what_was_asked_for(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert (config["iterations"], config["suite"]["horizon"], config["agent"]["kind"]) == (8, 10, "maml-trpo")
    assert load(trained / "checkpoints" / "00000008").config == config


def test_run_is_named_after_suite_agent_and_seed_by_default(metarl: Command, tmp_path: Path) -> None:
    assert metarl(*POINT, "--name", "", "--iterations", 1, "--seed", 7)[0] == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["point-maml-trpo-seed7"]


def test_seed_changes_the_numbers(metarl: Command, trained: Path, tmp_path: Path) -> None:
    metarl(*POINT, "--iterations", 1, "--seed", 1)
    other = (tmp_path / "runs" / "it" / "metrics.jsonl").read_text().splitlines()[1]
    ours = (trained / "metrics.jsonl").read_text().splitlines()[1]
    name = "train/return/step_0"
    assert json.loads(other)[name] != json.loads(ours)[name]


def test_evaluating_a_run_takes_its_newest_checkpoint(metarl: Command, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    code, out, err = metarl("evaluate", "run", "--tasks", 5, "--episodes", 2, "--adaptation-episodes", 2)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        "Evaluating maml-trpo after 8 iterations on 5 held-out tasks of point, seed 0."
    )
    assert out.splitlines()[1] == (
        "Notice: This is not measured as in the run: --adaptation-steps 3 (there 2)."
    )
    names = {f"iteration8-seed0{ending}" for ending in (".json", ".csv", ".png", "-success.csv")}
    assert {path.name for path in (run / "evaluations").iterdir()} == names


def test_evaluating_a_checkpoint_alone_equals_evaluating_its_run(
    metarl: Command, trained: Path, tmp_path: Path
) -> None:
    options = ("--tasks", 3, "--episodes", 2, "--adaptation-episodes", 2)
    shutil.copytree(trained / "checkpoints" / "00000008", tmp_path / "alone")
    assert metarl("evaluate", "alone", *options)[0] == 0
    assert metarl("evaluate", trained, *options, "--output", "other")[0] == 0
    results = [tmp_path / folder / "iteration8-seed0.json" for folder in ("alone/evaluations", "other")]
    alone, whole = (json.loads(path.read_text()) for path in results)
    assert alone == whole


def test_evaluating_a_checkpoint_in_its_run_leaves_the_checkpoint_as_it_is(
    metarl: Command, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    checkpoint = run / "checkpoints" / "00000006"
    assert metarl("evaluate", checkpoint, "--tasks", 1)[0] == 0
    assert {path.name for path in checkpoint.iterdir()} == {"state.json", "weights.safetensors"}
    assert (run / "evaluations" / "iteration6-seed0.json").exists()


def test_evaluation_seed_changes_the_numbers(metarl: Command, trained: Path, tmp_path: Path) -> None:
    few = ("--episodes", 2, "--adaptation-episodes", 2, "--output", tmp_path)
    for seed in (1, 2):
        metarl("evaluate", trained, "--seed", seed, *few)
    one, two = (json.loads((tmp_path / f"iteration8-seed{seed}.json").read_text()) for seed in (1, 2))
    assert one["tasks"] == two["tasks"]
    assert one["returns"] != two["returns"]


def test_checkpoint_trained_on_another_device_is_evaluated_here(
    metarl: Command, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    for name in ("00000004", "00000006"):
        shutil.rmtree(run / "checkpoints" / name)
    state = run / "checkpoints" / "00000008" / "state.json"
    reseal(state, "config", {"device": "cuda:7"})
    assert metarl("evaluate", "run", "--tasks", 2)[0] == 0


@pytest.mark.parametrize(
    ("preset", "agent", "options", "official", "sentences"),
    [
        ("point", "maml-trpo", ["--adaptation-steps", "1"], False, []),
        (
            "point",
            "maml-trpo",
            ["--deterministic", "--episodes", "2", "--tasks", "41"],
            True,
            [
                "This is not measured as in the run: --adaptation-steps 3 (there 1), --episodes 2 (there "
                "10), --deterministic True (there False).",
                "--tasks 41 takes all 40 held-out tasks.",
                "The official evaluator measures after 1 adaptation step, as in the training.",
            ],
        ),
        (
            "point",
            "maml-trpo",
            ["--adaptation-steps", "1", "--references"],
            False,
            ["The suite point has no --references, which Meta-World has."],
        ),
        ("bandits", "rl2", ["--adaptation-steps", "0"], False, []),
        (
            "bandits",
            "rl2",
            ["--adaptation-steps", "0", "--adaptation-episodes=10"],
            False,
            ["An agent with a memory does not use --adaptation-episodes."],
        ),
        (
            "bandits",
            "rl2",
            ["--adaptation-episodes", "4"],
            False,
            [
                "This is not measured as in the run: --adaptation-steps 3 (there 0).",
                "The trials of the training have 1 episode each, and 4 are measured.",
                "An agent with a memory does not use --adaptation-episodes.",
            ],
        ),
        (
            "bandits",
            "rl2",
            ["--adaptation-steps", "2", "--protocol", "official"],
            True,
            [
                "This is not measured as in the run: --adaptation-steps 2 (there 0).",
                "The official evaluator measures the first episode, as in the training.",
            ],
        ),
    ],
)
def test_evaluation_says_what_it_measures_otherwise_than_the_run_or_than_asked(
    tmp_path: Path, preset: str, agent: str, options: list[str], official: bool, sentences: list[str]
) -> None:
    experiment = Experiment(registry.configure(preset, agent), tmp_path)
    asked = tyro.cli(EvaluateArguments, args=["run", *options])
    of_run = experiment.config.evaluation
    measured = {item.name: getattr(asked, item.name) for item in fields(MeasurementConfig)}
    experiment.config = replace(experiment.config, evaluation=EvaluationConfig(**measured))
    assert other_measurement(experiment, of_run, asked, options, official=official) == sentences


def test_one_of_each_is_told_in_the_singular(tmp_path: Path) -> None:
    sampling = SamplingConfig(meta_batch_size=1, episodes=1)
    config = replace(registry.configure("bandits", "rl2"), iterations=1, sampling=sampling)
    said = describe_run(Experiment(config, tmp_path))
    assert "1 iteration of 1 task x 1 episode x 1 rollout x 10 steps" in said


def test_csv_has_the_numbers_of_the_json(trained: Path) -> None:
    results = json.loads((trained / "evaluation.json").read_text())
    with (trained / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 * 3
    row = rows[3 * 7 + 2]
    assert row["task"] == results["tasks"][7]["id"]
    assert float(row["return_mean"]) == pytest.approx(np.mean(results["returns"][7][2]))
    assert float(row["success_rate"]) == np.mean(results["successes"][7][2])


def test_list_names_everything_that_can_be_trained(metarl: Command) -> None:
    code, out, err = metarl("list")
    assert (code, err) == (0, "")
    for group in (registry.PRESETS, registry.SUITES, registry.AGENTS):
        for name in registry.names(group):
            assert re.search(rf"^ {name} ", out, re.MULTILINE)
    assert "Finn et al. 2017" in out
    assert "``" not in out  # a mark of docstrings


def test_list_of_one_kind_has_no_other(metarl: Command) -> None:
    code, out, err = metarl("list", "agents")
    assert (code, err) == (0, "")
    assert all(re.search(rf"^ {name} ", out, re.MULTILINE) for name in registry.names(registry.AGENTS))
    assert not re.search(r"^ half-cheetah-vel ", out, re.MULTILINE)
    assert re.search(r"^ wandb ", metarl("list", "loggers")[1], re.MULTILINE)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command(metarl: Command, arguments: tuple[str, ...]) -> None:
    code, out, err = metarl(*arguments)
    assert (code, err) == (0, "")
    assert all(f"\n {name} " in out for name in ("train", "evaluate", "list"))


def test_help_of_train_names_every_preset_and_how_to_resume(metarl: Command) -> None:
    code, out, err = metarl("train", "--help")
    assert (code, err) == (0, "")
    assert all(f"\n {name} " in out for name in registry.names(registry.PRESETS))
    assert "metarl train --resume RUN" in out


def test_help_of_a_preset_describes_every_option(metarl: Command) -> None:
    code, out, err = metarl("train", "point", "--help")
    assert (code, err) == (0, "")
    for option in ("--name", "--iterations", "--seed", "--device", "--horizon", "--agent.inner-lr"):
        assert option in out
    assert "2-D navigation, whose best return is known" in out


@pytest.mark.parametrize("command", ["adapt", "evaluate", "list"])
def test_every_command_has_help(metarl: Command, command: str) -> None:
    code, out, err = metarl(command, "--help")
    assert (code, err) == (0, "")
    assert f"usage: metarl {command}" in out
    assert "``" not in out


def test_version_is_told(metarl: Command) -> None:
    assert metarl("--version") == (0, f"metarl {__version__}\n", "")


def test_every_preset_parses_with_the_options_of_all_runs(
    metarl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    monkeypatch.setattr("metarl.training.runs.start", lambda config, root: parsed.append(config))
    monkeypatch.setattr("metarl.cli.commands.training.train", lambda experiment, new: None)
    presets = registry.names(registry.PRESETS)
    for name in presets:
        options = ("--name", "n", "--iterations", 3, "--seed", 5, "--device", "cpu")
        assert metarl("train", name, *options)[0] == 0
    assert [config.suite.kind for config in parsed] == presets
    assert {(c.name, c.iterations, c.seed, c.device) for c in parsed} == {("n", 3, 5, "cpu")}


def test_resume_takes_iterations_and_device(metarl: Command, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    code, out, err = metarl("train", "--resume", "run", "--iterations", 9, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "9 iterations (going on after 8)" in out
    assert load(run / "checkpoints" / "00000009").iteration == 9
    assert json.loads((run / "config.json").read_text())["iterations"] == 9


def test_global_generators_are_left_alone(metarl: Command) -> None:
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    metarl(*POINT, "--iterations", 1)
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before  # noqa: NPY002


def on_terminal(folder: Path, arguments: Sequence[str], columns: int, encoding: str = "utf-8") -> str:
    """Run ``metarl`` on a terminal of that width; return all that it wrote there."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    environment = {**os.environ, **size, "PYTHONIOENCODING": encoding}
    with subprocess.Popen(
        [METARL, *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        while piece := read(ours):
            written += piece
    os.close(ours)
    assert process.returncode == 0
    return written.decode()


def read(terminal: int) -> bytes:
    """Return what comes next on a terminal, or nothing at its end."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says EIO once the other side is closed
        return b""


def plain(text: str) -> list[str]:
    """Return what a terminal shows, line by line, without colours and movements."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text))


def test_terminal_shows_a_bar_with_share_speed_and_time_left(tmp_path: Path) -> None:
    lines = plain(on_terminal(tmp_path, [*POINT, "--iterations", "20"], columns=80))
    bars = [line for line in lines if "━" in line and "left" in line]
    assert any(re.search(r"\d+% [\d,]+ steps/s \d:\d\d:\d\d elapsed, .* left", bar) for bar in bars)
    assert "100%" in bars[-1]
    assert any(line.startswith("iteration 20 of 20: return ") for line in lines)
    assert max(map(len, bars)) <= 80


@pytest.mark.slow
def test_narrow_terminal_without_unicode_is_served_too(tmp_path: Path) -> None:
    lines = plain(on_terminal(tmp_path, POINT, columns=60, encoding="ascii"))
    assert lines[-2].startswith("Wrote learning_curve.png")
    assert max(len(line) for line in lines if " left" in line) <= 60


@pytest.mark.parametrize("columns", [80, 100])
def test_tables_do_not_wrap(metarl: Command, trained: Path, tmp_path: Path, columns: int) -> None:
    _, out, _ = metarl("evaluate", trained, "--output", tmp_path, "--seed", columns, "--tasks", 5)
    assert out.splitlines()[1].startswith("Notice: This is not measured as in the run")
    table = out.splitlines()[2:-1]
    steps = 1 + 2 + 4 + 1  # a title, a header with its line, a row for each of 0..3, a caption
    quantities, kinds = 1 + 2 + 2, 1 + 2 + 4  # a title, a header with its line, and the rows
    assert len(table) == steps + quantities + kinds, "then the quantities, and the kinds of success"
    assert max(len(line) for line in table) <= 80


def read_by_nobody(folder: Path, *arguments: str) -> tuple[int, bytes]:
    """Run ``metarl`` into a pipe whose reader is gone; return its exit code and standard error."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [METARL, *arguments]
    done = subprocess.run(
        command, cwd=folder, stdout=theirs, stderr=subprocess.PIPE, timeout=300, check=False
    )
    os.close(theirs)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["train", "point", "--help"]])
def test_a_command_that_nobody_reads_ends_quietly(tmp_path: Path, arguments: list[str]) -> None:
    assert read_by_nobody(tmp_path, *arguments) == (141, b"")


def test_without_standard_output_a_command_runs_as_ever(tmp_path: Path) -> None:
    command = f"{METARL} train point --help >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_broken_pipe_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> None:
        raise BrokenPipeError(32, "Broken pipe", "ffmpeg")

    monkeypatch.setattr(entry_points, "load", lambda *_: fail)
    with Path(os.devnull).open("w") as read_by_somebody:
        monkeypatch.setattr(sys, "stdout", read_by_somebody)
        assert main(["watch"]) == 2
    assert capsys.readouterr().err == "metarl: ffmpeg: Broken pipe.\n"
