"""Mistakes of a user: each gets one clear sentence and exit code 2, and nothing is lost or left behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from metarl.cli.main import main
from metarl.config import MeasurementConfig
from metarl.envs.toy.point import PointVectorEnv
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.storage.checkpoints import load
from metarl.training.experiment import Experiment
from support.programs import HORIZON, POINT, RESUME, reseal

PRESETS = ", ".join(registry.names(registry.PRESETS))
NO_PRESET = f"metarl train needs a preset first, one of {PRESETS}: metarl train point"
Files = dict[str, bytes]


class Refusal:
    """Runs ``metarl`` and makes sure that it is refused as it should be."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys

    def __call__(self, *arguments: object) -> str:
        """Return the one sentence."""
        said = self.anything(*arguments)
        assert said.startswith("metarl: ")
        assert said.count("\n") == 1
        return said.removeprefix("metarl: ").rstrip("\n")

    def boxed(self, *arguments: object) -> str:
        """Return the words in the box that the parser of options draws around them."""
        said = self.anything(*arguments)
        assert said.count("\n") < 16
        return " ".join(said.translate(str.maketrans("│╭╮╰╯─", "      ")).split())

    def anything(self, *arguments: object) -> str:
        """Return what was printed to standard error; see that no file was touched."""
        before = contents(self.folder)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(str(end.code))
        said = self.capsys.readouterr().err
        assert code == 2, said
        assert "Traceback" not in said
        assert contents(self.folder) == before
        return said


def contents(folder: Path) -> Files:
    """Return every file below a folder, except for locks, which hold nothing."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Refusal(tmp_path, capsys)


@pytest.mark.parametrize("actions", ["drawn", "both"])
def test_actions_that_contradict_each_other_are_refused(refused: Refusal, actions: str) -> None:
    said = refused("evaluate", "runs/it", "--deterministic", "--actions", actions)
    assert said == "Either --actions or --deterministic may be given, but it is both."


def test_both_kinds_of_actions_are_not_of_the_official_evaluator(refused: Refusal) -> None:
    said = refused("evaluate", "runs/it", "--protocol", "official", "--actions", "both")
    assert said == "--actions both is for --protocol both or per-goal, but it is official."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*POINT, "--iterations", "2", "--checkpoint.every", "1"]) == 0
    return folder / "runs" / "it"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a run's folder that a test may spoil, ``runs/it`` of the folder in which it works."""
    return shutil.copytree(trained, tmp_path / "runs" / "it")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("trian point", "There is no command called 'trian'; did you mean 'train'?"),
        ("train pont", "There is no preset called 'pont'; did you mean 'point'?"),
        (
            "train ml1 --task reach-v4",
            "There is no Meta-World task called 'reach-v4'; did you mean 'reach-v3'?",
        ),
        (
            "train point --sampling.engine tenser",
            "There is no engine of the point suite called 'tenser'; did you mean 'tensor'?",
        ),
        ("train", NO_PRESET),
        ("train --iterations 5", NO_PRESET),
        ("train --resume nowhere", "There is no run nowhere."),
        ("evaluate nowhere", "There is no folder nowhere."),
    ],
)
def test_unknown_name_suggests_the_nearest(refused: Refusal, arguments: str, sentence: str) -> None:
    assert refused(*arguments.split()) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train point --iteratons 5", "Unrecognized options: --iteratons"),
        ("train point --iterations", "Missing value for argument '--iterations'"),
        ("train point --iterations five", "invalid literal for int() with base 10: 'five'"),
        ("train point --agent.advantage-norm sdt", "sdt"),
        (
            "train point --agent.activation tahn",
            "activation must be one of ['relu', 'tanh'], but it is 'tahn'.",
        ),
        ("train point --name a/b", "name must be a single folder name, but it is 'a/b'."),
        ("train point --name ..", "name must be a single folder name, but it is '..'."),
        ("train point --device banana", "Device 'banana' is not available here"),
        ("train point --device meta", "Device 'meta' is not available here"),
        ("train point --device cuda:99", "Device 'cuda:99' is not available here"),
        ("train point point", "Unrecognized options: point"),
        ("train --resume", "Missing value for argument '--resume'"),
        ("train --resume a --seed 3", "Unrecognized options: --seed"),
        ("train --resume a --iterations 0", "Expected iterations >= 1, got 0."),
        ("evaluate", "Missing from metarl evaluate: PATH"),
        ("evaluate a b", "Unrecognized options: b"),
        ("list agents all", "Unrecognized options: all"),
    ],
)
def test_malformed_option_is_explained(refused: Refusal, arguments: str, sentence: str) -> None:
    assert sentence in refused.boxed(*arguments.split())


def numeric_options(config: object, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Yield the options that take a number, with its type, as ``metarl train PRESET`` spells them."""
    for item in fields(config):  # type: ignore[arg-type]  # a dataclass
        value = getattr(config, item.name)
        name = item.name.replace("_", "-")
        if is_dataclass(value):
            yield from numeric_options(value, "" if item.name == "suite" else f"{prefix}{name}.")
        elif type(value) in (int, float):
            yield f"--{prefix}{name}", type(value)


BOUNDLESS = {"--checkpoint.every", "--checkpoint.keep", "--evaluation.every"}
"""Options of which there is no too much: it means never, or all."""


def absurd_numbers(preset: str) -> list[tuple[str, str, str]]:
    options = numeric_options(registry.preset(preset)())
    values = {int: ("-1", "1" + "0" * 30), float: ("-1.0", "nan", "inf", "-inf")}
    return [
        (preset, option, value)
        for option, kind in options
        for value in values[kind]
        if option not in BOUNDLESS or value == "-1"
    ]


@pytest.mark.parametrize(
    ("preset", "option", "value"),
    [
        *absurd_numbers("point"),
        ("point", "--agent.hidden-sizes", "-1"),
        ("point", "--agent.hidden-sizes", "1000000"),
        ("point", "--agent.inner-lr", "1e30"),
        ("point", "--agent.initial-std", "1e30"),
        ("point", "--iterations", "0"),
        ("point", "--sampling.episodes", "0"),
        ("point", "--sampling.episodes", "1e3"),
        ("ml1", "--horizon", "501"),
        ("ml1", "--goal-seed", "-1"),
    ],
)
def test_negative_or_absurd_number_is_refused(refused: Refusal, preset: str, option: str, value: str) -> None:
    said = refused.boxed("train", preset, f"{option}={value}")
    assert "Expected" in said or "but it is" in said or "invalid literal" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--tasks", "-1"), ("--seed", "-1"), ("--seed", "1" + "0" * 30), ("--workers", "-1")),
        *(("--episodes", "0"), ("--adaptation-episodes", "0"), ("--adaptation-steps", "-1")),
        *(("--adaptation-steps", "1000"), ("--episodes", "nan"), ("--workers", "1000000")),
    ],
)
def test_negative_or_absurd_number_of_an_evaluation_is_refused(
    refused: Refusal, option: str, value: str
) -> None:
    said = refused.boxed("evaluate", "runs/it", f"{option}={value}")
    assert "Expected" in said or "but it is" in said or "invalid literal" in said


def test_every_number_of_an_evaluation_is_tried() -> None:
    assert {option for option, _ in numeric_options(MeasurementConfig())} == {
        *("--adaptation-steps", "--episodes", "--adaptation-episodes"),
    }


def test_rollout_that_no_memory_could_hold_is_refused(refused: Refusal) -> None:
    absurd = ("--horizon", 1_000_000, "--sampling.episodes", 10_000)
    assert refused("train", "point", *absurd) == (
        "tasks x episodes x horizon must be at most 100000000, but it is 200000000000."
    )


def test_want_of_memory_is_one_sentence(refused: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(self: Experiment) -> object:
        return np.ones((1 << 28, 1 << 28))

    monkeypatch.setattr(Experiment, "make_env", greedy)
    said = refused("train", "point")
    assert said.startswith("There is not enough memory for this: Unable to allocate 512. PiB")


def test_run_folder_that_exists_is_refused_and_kept(refused: Refusal, run: Path) -> None:
    assert refused(*POINT) == (
        "The run folder runs/it exists already; choose another --name, "
        "or resume that run with: metarl train --resume runs/it"
    )


def test_other_folder_of_that_name_is_refused_and_kept(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "runs" / "it").mkdir(parents=True)
    (tmp_path / "runs" / "it" / "thesis.tex").write_text("mine")
    assert refused(*POINT) == "runs/it exists already, and it is no run; choose another --name."


def test_runs_folder_that_cannot_be_made_is_one_sentence(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    assert refused(*POINT) == "The run folder runs/it cannot be made: Not a directory."


def test_runs_folder_that_cannot_be_written_is_one_sentence(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("/sys")
    assert refused(*POINT).startswith("The run folder runs/it cannot be made: ")


def test_name_that_is_too_long_is_one_sentence(refused: Refusal) -> None:
    assert refused(*POINT, "--name", "x" * 300).endswith(": File name too long.")


def test_folder_that_is_no_run_is_refused(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert refused("train", "--resume", "plain") == "plain is no run: it has no config.json."
    assert refused("evaluate", "plain") == (
        "plain is neither a run nor a checkpoint: it has no folder 'checkpoints'."
    )


def test_run_without_checkpoints_cannot_be_evaluated(refused: Refusal, run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    assert refused("evaluate", "runs/it") == "There is no checkpoint in runs/it/checkpoints."


def test_run_that_was_copied_without_its_checkpoints_is_not_begun_anew(refused: Refusal, run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    assert refused(*RESUME) == (
        "Expected checkpoints in runs/it, as its metrics reach iteration 2, got none; was it copied without "
        "them? Copy them too, or train another run."
    )


def test_run_whose_checkpoints_are_all_damaged_is_refused(refused: Refusal, run: Path) -> None:
    for path in run.glob("checkpoints/*/weights.safetensors"):
        path.write_bytes(b"")
    assert refused(*RESUME) == "None of the 3 checkpoints in runs/it/checkpoints is whole."


@pytest.mark.parametrize("command", [RESUME, ("evaluate", "runs/it")])
def test_checkpoint_of_another_version_is_refused(
    refused: Refusal, run: Path, command: tuple[str, ...]
) -> None:
    reseal(run / "checkpoints" / "00000002" / "state.json", "", {"format": 3})
    assert "has format 3, and this version of metarl" in refused(*command)


def test_run_of_another_architecture_is_not_resumed(refused: Refusal, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["agent"]["hidden_sizes"] = [8, 9]
    (run / "config.json").write_text(json.dumps(config))
    said = refused(*RESUME)
    assert said.startswith("The saved parameters are of an agent with other settings: ")
    assert ", (8, 9) here and " in said
    assert len(said) < 300


def test_checkpoint_of_another_architecture_is_not_evaluated(refused: Refusal, run: Path) -> None:
    path = run / "checkpoints" / "00000002"
    agent = load(path).config["agent"]
    assert isinstance(agent, dict)
    reseal(path / "state.json", "config", {"agent": {**agent, "hidden_sizes": [8, 9]}})
    assert "of an agent with other settings" in refused("evaluate", "runs/it")


def test_checkpoint_without_counters_is_refused(refused: Refusal, run: Path) -> None:
    reseal(run / "checkpoints" / "00000002" / "state.json", "progress", {"env_steps": "many"})
    assert refused("evaluate", "runs/it").startswith("The checkpoint has no usable counters: {'env_steps'")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[: len(text) // 2], "runs/it/config.json is not JSON: "),
        (lambda text: "", "runs/it/config.json is not JSON: "),
        (lambda text: "[1]", "runs/it/config.json must hold one JSON object."),
        (lambda text: text.replace('"iterations"', '"iteratons"'), "did you mean 'iterations'?"),
        (lambda text: text.replace('"iterations": 2', '"iterations": "two"'), "iterations"),
        (lambda text: text.replace('"iterations": 2', '"iterations": 2.5'), "iterations"),
        (lambda text: text.replace('"seed": 0', '"seed": null'), "seed"),
        (lambda text: text.replace('"kind": "point"', '"kind": "pont"'), "There is no suite called 'pont'"),
        (
            lambda text: text.replace('"kind": "maml-trpo"', '"kin": 3'),
            "A config names the kind of its agent",
        ),
        (lambda text: text.replace('"device": "cpu"', '"device": "cuda:9"'), "Device 'cuda:9'"),
        (
            lambda text: re.sub(r'("meta_batch_size": \d+,\s+"episodes": )\d+', r"\g<1>0", text),
            "sampling: Expected episodes in [1, 10000], got 0",
        ),
    ],
)
def test_damaged_config_of_a_run_is_refused(
    refused: Refusal, run: Path, change: Callable[[str], str], sentence: str
) -> None:
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(change(text))
    assert change(text) != text
    said = refused(*RESUME)
    assert said.startswith("runs/it/config.json")
    assert sentence in said


def test_setting_given_to_a_resumed_run_is_told_beside_its_config(refused: Refusal, run: Path) -> None:
    said = refused(*RESUME, "--device", "tpu")
    assert said.startswith("runs/it/config.json, device changed to 'tpu': Device 'tpu' is not available")


def test_run_cannot_be_resumed_to_an_earlier_iteration(refused: Refusal, run: Path) -> None:
    assert refused(*RESUME, "--iterations", 1) == (
        "The run runs/it cannot be trained to iteration 1: it is already at iteration 2."
    )


def test_results_of_an_evaluation_are_not_overwritten(refused: Refusal, run: Path) -> None:
    assert main(["evaluate", "runs/it", "--tasks", "1"]) == 0
    assert refused("evaluate", "runs/it") == (
        f"{run}/evaluations/iteration2-seed0.json exists already; "
        "choose another folder with --output, or another --seed."
    ).replace(f"{run}", "runs/it")


@pytest.mark.parametrize("output", ["runs/it/config.json", "/sys/metarl"])
def test_output_that_cannot_be_written_is_refused_before_the_work(
    refused: Refusal, run: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr(Experiment, "test", None)
    assert output in refused("evaluate", "runs/it", "--output", output)


@pytest.mark.parametrize(
    ("words", "work"),
    [
        ("report runs/it --output runs/it/config.json/report.html", "metarl.cli.commands.report.film_all"),
        ("watch runs/it --output /sys/metarl.mp4", "metarl.cli.commands.watch.watch"),
        ("export runs/it --output /sys/metarl.zip", "metarl.cli.commands.export.export_ppo"),
        ("compare runs/it runs/other --output runs/it/config.json", "metarl.cli.commands.compare.compare"),
    ],
)
def test_output_of_any_command_is_tried_before_the_work(
    refused: Refusal, run: Path, monkeypatch: pytest.MonkeyPatch, words: str, work: str
) -> None:
    monkeypatch.setattr(work, None)
    monkeypatch.setattr("metarl.cli.commands.report.gather", lambda runs, say: [])
    assert "cannot be written: " in refused(*words.split())


def test_disk_that_cannot_hold_a_report_is_told_before_filming(
    refused: Refusal, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = "/disk/report.html cannot be written: No space left on device; choose another --output."

    def short_of_space(path: Path, *, size: int) -> None:
        if size > 300_000:  # the page alone would fit
            raise MetarlError(refusal)

    monkeypatch.setattr("metarl.cli.commands.report.check_writable", short_of_space)
    monkeypatch.setattr("metarl.cli.commands.report.film_all", None)
    monkeypatch.setattr("metarl.cli.commands.report.gather", lambda runs, say: ["group"])
    monkeypatch.setattr("metarl.cli.commands.report.choose", lambda group, tasks: ["one", "two", "three"])
    assert refused("report", "runs/it", "--output", "/disk/report.html") == refusal


def spoil(monkeypatch: pytest.MonkeyPatch, what: int, call: int, number: float) -> None:
    """Let the fourth slot's observation (0) or reward (1) not be finite at the n-th step that is taken."""
    step = PointVectorEnv.step
    calls = 0

    def spoilt(self: PointVectorEnv, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
        nonlocal calls
        calls += 1
        result = step(self, actions)
        if calls == call:
            result[what][3] = number
        return result

    monkeypatch.setattr(PointVectorEnv, "step", spoilt)


@pytest.mark.parametrize(
    ("what", "name", "step"), [(0, "observation", 5), (1, "reward", 5)], ids=["observation", "reward"]
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_number_that_is_not_finite_names_task_and_step_and_leaves_nothing(
    refused: Refusal, monkeypatch: pytest.MonkeyPatch, what: int, name: str, step: int, number: float
) -> None:
    spoil(monkeypatch, what, 5, number)
    said = refused(*POINT)
    assert said.startswith(f"The {name} of task 'point/test/")
    assert said.endswith(f"(point) at step {step} is not finite.")


def test_iterations_before_a_number_that_is_not_finite_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        # in iteration 4, after an evaluation of 3 rollouts
        spoil(patch, 1, (3 + 3 * 2) * HORIZON + 5, np.nan)
        assert main([*POINT, "--checkpoint.every", "100", "--evaluation.adaptation-steps", "1"]) == 2
    assert "is not finite." in capsys.readouterr().err
    saved = max((tmp_path / "runs" / "it" / "checkpoints").iterdir())
    assert load(saved).iteration == len((tmp_path / "runs/it/metrics.jsonl").read_text().splitlines()) - 1 > 0
    assert main([*RESUME]) == 0


def fill_disk(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let the disk be full after so many writes were made to last."""
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


def test_full_disk_at_the_start_is_one_sentence_and_leaves_nothing(
    refused: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, 0)
    assert refused(*POINT).startswith("No disk space for the ")


def test_full_disk_at_the_first_checkpoint_is_one_sentence_and_leaves_nothing(
    refused: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, 9)
    assert refused(*POINT).startswith(
        "No disk space for the checkpoint runs/it/checkpoints/00000000, which needs "
    )


@pytest.mark.parametrize("calls", [25, 26, 27, 28, 29, 50])
def test_run_on_a_full_disk_can_go_on_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        fill_disk(patch, calls)
        assert main(POINT) == 2
    out, said = capsys.readouterr()
    assert said.startswith("metarl: No disk space for the ")
    assert said.count("\n") == 1
    assert "; resume it with: metarl train --resume runs/it\n" in out
    assert main(RESUME) == 0
    assert load(tmp_path / "runs/it/checkpoints/00000008").iteration == 8


def test_suite_that_does_not_load_is_one_sentence(refused: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = entry_points._entries

    def broken(group: str) -> dict[str, EntryPoint]:
        mine = {"mine": EntryPoint("mine", "no_such_package:preset", group)}
        return mine if group == registry.PRESETS else entries(group)

    monkeypatch.setattr(entry_points, "_entries", broken)
    assert refused("train", "mine") == (
        "The preset 'mine' (no_such_package:preset) does not load: No module named 'no_such_package'."
    )
    assert main(["list"]) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:", "SyntaxError: invalid syntax (broken_package.py, line 1)."),
        ("raise KeyError('robot.xml')", "KeyError: 'robot.xml'."),
        ("from metarl.errors import MetarlError\nraise MetarlError('No tasks.')", "No tasks."),
    ],
)
def test_package_that_fails_when_it_is_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    (tmp_path / "broken_package.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_package", raising=False)
    mine = {"mine": EntryPoint("mine", "broken_package:suite", registry.SUITES)}
    monkeypatch.setattr(entry_points, "_entries", lambda _: mine)
    with pytest.raises(MetarlError) as told:
        registry.suite("mine")
    assert str(told.value) == f"The suite 'mine' (broken_package:suite) does not load: {reason}"


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        (
            registry.PRESETS,
            "number",
            "the preset 'mine' (odd_package:number) to be a function, got int.",
        ),
        (registry.PRESETS, "wrong", "Expected an ExperimentConfig of the preset 'mine', got int."),
        (registry.PRESETS, "falling", "The preset 'mine' fails: KeyError: 'x' (odd_package.py, line 3)."),
        (
            registry.AGENTS,
            "Learner",
            "the agent 'mine' to be a config class of an agent, but it is the class",
        ),
        (
            registry.AGENTS,
            "Config",
            "Expected the kind of Config to be its name as agent, 'mine', got 'maml-vpg'.",
        ),
    ],
)
def test_package_that_offers_something_else_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, said: str
) -> None:
    text = "number = 3\ndef wrong(): return 3\ndef falling(): raise KeyError('x')\nclass Learner: pass\n"
    text += "from metarl.agents.maml_vpg import MAMLVPGConfig\nclass Config(MAMLVPGConfig): pass\n"
    (tmp_path / "odd_package.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_package", raising=False)
    mine = {"mine": EntryPoint("mine", f"odd_package:{name}", group)}
    monkeypatch.setattr(entry_points, "_entries", lambda asked: mine if asked == group else {})
    with pytest.raises(MetarlError, match=re.escape(said)):
        registry.configure("mine") if group == registry.PRESETS else registry.agent("mine")


def test_name_that_two_packages_offer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = tuple(EntryPoint("mine", place, registry.SUITES) for place in ("one:suite", "other:suite"))
    monkeypatch.setattr(entry_points, "_read_all", lambda _: both)
    monkeypatch.setattr(entry_points, "_entries", lambda _: {"mine": both[1]})
    with pytest.raises(MetarlError, match="one package with the suite 'mine', got one:suite and other:suite"):
        registry.suite("mine")
    assert entry_points.describe(registry.SUITES, "mine").startswith("Expected one package")
