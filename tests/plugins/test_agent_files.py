"""Agents in a file: trained, swept, evaluated, resumed, changed, and missed when they are gone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from metarl.agents.maml_vpg import MAMLVPGConfig
from metarl.cli.commands.options import configured
from metarl.cli.main import main
from metarl.config import construct, to_json
from metarl.errors import MetarlError
from metarl.plugins import registry
from metarl.plugins.agent_files import config_class, file_agent
from metarl.plugins.reopening import check_reopens
from metarl.storage.checkpoints import load_newest
from metarl.training import runs
from support.agent_contract import same_state

FILE = """
from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.config import AgentConfig
from steps import STEP

@dataclass(frozen=True, kw_only=True)
class BoldConfig(MAMLVPGConfig):
    '''MAML with large steps.'''

    kind: ClassVar[str] = "bold-maml"
    source: ClassVar[str] = "nobody"

    outer_lr: float = STEP
    boldness: float = 1.0
    '''How bold.'''
    twice: float = field(init=False)
    '''Twice as bold.'''

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "twice", 2 * self.boldness)
        if self.boldness == 13:
            raise KeyError("unlucky")

class Bold(MAMLVPG, built_from=BoldConfig):
    config: BoldConfig

class Nameless(MAMLVPGConfig):
    pass

class Plain(MAMLVPGConfig):
    more: int = 3

class Seventh(MAMLVPGConfig):
    kind = 7

class Abstract(AgentConfig):
    pass

class Falling(MAMLVPGConfig):
    def build(self, suite, *, seed, device, sampling):
        return {}["nothing"]

class Leaving(MAMLVPGConfig):
    def build(self, suite, *, seed, device, sampling):
        raise SystemExit("licence expired")

class Number(MAMLVPGConfig):
    def build(self, suite, *, seed, device, sampling):
        return 3

number = 3
instance = BoldConfig()
"""
TINY = [
    *("--iterations", "1", "--sampling.meta-batch-size", "2", "--sampling.episodes", "2", "--horizon", "5"),
    *("--evaluation.episodes", "1", "--evaluation.adaptation-episodes", "2", "--agent.hidden-sizes", "4"),
    *("--evaluation.every", "0"),
]
CPU = torch.device("cpu")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the files, and work in their folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "steps.py").write_text("STEP = 0.01\n")
    (tmp_path / "empty.py").touch()
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def metarl(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_run_of_an_agent_in_a_file_is_trained_evaluated_and_resumed(metarl: Command, place: Path) -> None:
    code, out, err = metarl("train", "point", "--agent", "mine.py:BoldConfig", "--agent.boldness", 2, *TINY)
    assert (code, err) == (0, "")
    assert "Training bold-maml on point: 1 iteration of 2 tasks" in out
    run = place.parent / "runs" / "point-bold-maml-seed0"
    stored = json.loads((run / "config.json").read_text())["agent"]
    assert (stored["kind"], stored["boldness"], stored["outer_lr"]) == ("bold-maml", 2.0, 0.01)
    assert stored["agent_file"] == f"{place}:BoldConfig"
    assert metarl("evaluate", run, "--tasks", 2)[0] == 0
    assert metarl("train", "--resume", run, "--iterations", 2)[0] == 0
    shutil.move(place, place.with_name("elsewhere.py"))
    for command in (("evaluate", run), ("train", "--resume", run, "--iterations", 3), ("watch", run)):
        code, _, err = metarl(*command)
        assert code == 2
        said = (
            f"The agent's file {place} is not there; check its name, or put a run's file back where it was."
        )
        assert err.startswith("metarl: ")
        assert err.endswith(f"{said}\n")


def test_option_changes_what_a_config_computes_from_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def bold(*options: str) -> object:
        agent = configured("point", ["--agent", "mine.py:BoldConfig", *options], "metarl").agent
        return vars(agent)["twice"]

    assert (bold(), bold("--agent.boldness", "3")) == (2.0, 6.0)
    with pytest.raises(SystemExit):
        bold("--agent.twice", "3")
    assert "Unrecognized options: --agent.twice" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bold("--help")
    shown = capsys.readouterr().out
    assert "--agent.boldness" in shown
    assert "--agent.twice" not in shown


def test_resumed_run_of_an_agent_in_a_file_equals_the_unbroken_one(metarl: Command, place: Path) -> None:
    start = ["train", "point", "--agent=mine.py:BoldConfig", *TINY]
    assert metarl(*start, "--name", "whole", "--iterations", 3)[0] == 0
    assert metarl(*start, "--name", "broken", "--iterations", 2)[0] == 0
    assert metarl("train", "--resume", "runs/broken", "--iterations", 3)[0] == 0
    whole, broken = (runs.open_trained(Path("runs") / name, print) for name in ("whole", "broken"))
    assert same_state(whole.agent.state(), broken.agent.state())


def test_sweep_trains_an_agent_in_a_file(metarl: Command, place: Path) -> None:
    code, out, err = metarl("sweep", "point", "--seeds", 1, "--agent", "mine.py:BoldConfig", *TINY)
    assert (code, err) == (0, "")
    assert "Sweeping 1 seed of bold-maml on point" in out
    assert (place.parent / "runs" / "point-bold-maml-seed0" / "evaluation.json").is_file()


def test_change_of_the_file_or_of_a_module_beside_it_is_told(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = registry.configure("point", "mine.py:BoldConfig")
    data = to_json(config)
    (place.parent / "steps.py").write_text("STEP = 0.02\n")
    again = registry.config_from_json(data)
    assert not caplog.text
    again.agent.build(again.build_suite(), seed=0, device=CPU, sampling=again.sampling)
    assert "steps.py has changed since this run was started" in caplog.text
    assert "mine.py has changed" not in caplog.text
    place.write_text(FILE + "\n")
    again.agent.build(again.build_suite(), seed=0, device=CPU, sampling=again.sampling)
    assert "mine.py has changed since this run was started" in caplog.text


def test_config_in_a_file_is_written_read_and_equal(place: Path) -> None:
    config = registry.configure("point", "mine.py:BoldConfig")
    check_reopens(config)
    assert registry.config_from_json(json.loads(json.dumps(to_json(config)))) == config
    assert isinstance(config.agent, MAMLVPGConfig)
    assert file_agent("mine.py:BoldConfig") is type(config.agent)


def test_config_without_a_name_of_its_own_is_called_by_its_class(place: Path) -> None:
    assert file_agent("mine.py:Nameless").kind == "Nameless"


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (
            "mine.py:BoldConfg",
            "There is no config in .*mine.py called 'BoldConfg'; did you mean 'BoldConfig",
        ),
        (
            "mine.py:Elsewhere",
            r"There is no config in .*mine.py called 'Elsewhere'; known are: Abstract, Bold, BoldConfig, "
            r"Falling, Leaving, Nameless, Number, Plain, Seventh, instance, number\.$",
        ),
        ("mine.py:number", "'number' of .*mine.py to be a config class of an agent, but it is of type int"),
        (
            "mine.py:instance",
            "'instance' of .* to be a config class .*, but it is of type BoldConfig;",
        ),
        ("mine.py:Bold", "'Bold' of .* to be a config class of an agent, but it is the class Bold; inherit"),
        ("mine.py:Abstract", "'Abstract' of .* to be a config that builds an agent, but it has no build"),
        ("mine.py:Plain", "'Plain' of .* to be a dataclass, as it has the setting more, but it is a plain"),
        ("mine.py:Seventh", "the kind of 'Seventh' of .* to be a text that a folder can be called by, got 7"),
        ("mine.py", "Expected an agent in a file as my_file.py:MyConfig, got 'mine.py'"),
        ("empty.py:X", r"There is no config in .*empty.py called 'X', nor any other\.$"),
        ("yours.py:X", "The agent's file .*yours.py is not there; check its name"),
    ],
)
def test_what_is_no_config_in_a_file_is_refused(
    metarl: Command, place: Path, named: str, sentence: str
) -> None:
    with pytest.raises(MetarlError, match=sentence):
        registry.agent(named)
    code, _, err = metarl("train", "point", "--agent", named, *TINY)
    assert (code, err.count("\n")) == (2, 1)
    assert not (place.parent / "runs").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Falling", r"The agent of .*Falling fails when it is built: KeyError: 'nothing' "),
        ("Leaving", r"The agent of .*Leaving fails when it is built: SystemExit: licence expired "),
        (
            "Number",
            "Expected the result of .*Number.build to be an agent, but it is of type int, which has",
        ),
    ],
)
def test_exception_inside_build_is_told_with_its_line(metarl: Command, name: str, sentence: str) -> None:
    code, _, err = metarl("train", "point", "--agent", f"mine.py:{name}", *TINY)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(sentence, err), err


def test_exception_inside_a_check_of_settings_is_told_with_its_line(place: Path) -> None:
    config = file_agent("mine.py:BoldConfig")
    with pytest.raises(MetarlError, match=r"cannot be checked: KeyError: 'unlucky' \(mine\.py, line 28\)\.$"):
        construct(config, {"boldness": 13.0})
    with pytest.raises(MetarlError, match="Expected inner_lr in"):
        construct(config, {"inner_lr": -1.0})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        ("def f(:", r"SyntaxError: invalid syntax \(mine.py, line 1\)\.$"),
        ("import sys; sys.exit(3)", r"SystemExit: 3 \(mine.py, line 1\)\.$"),
    ],
)
def test_file_that_does_not_run_is_refused(place: Path, text: str, reason: str) -> None:
    place.write_text(text)
    with pytest.raises(MetarlError, match=f"The agent's file .*mine\\.py does not run: {reason}"):
        file_agent("mine.py:BoldConfig")


def test_agent_and_suite_of_one_file_train_together(metarl: Command, place: Path) -> None:
    place.write_text(FILE + "\nfrom metarl.envs.toy.point import PointTasks\nworld = PointTasks(horizon=5)\n")
    options = [word for word in TINY if word not in ("--horizon", "5")]
    code, _, err = metarl("train", "--suite", "mine.py:world", "--agent", "mine.py:BoldConfig", *options)
    assert (code, err) == (0, "")
    assert (place.parent / "runs" / "world-bold-maml-seed0" / "evaluation.json").is_file()


def test_help_lists_the_settings_of_an_agent_in_a_file(
    metarl: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "point", "--agent", "mine.py:BoldConfig", "--help"])
    text = capsys.readouterr().out
    assert "--agent.boldness" in text
    assert "agent-sha256" not in text


METHODS = """
from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig

class Tuned(MAMLVPGConfig):
    pass

class TunedAgent(MAMLVPG, built_from=Tuned):
    updates = 0

    def update(self, *arguments):
        self.updates += 1
        metrics = super().update(*arguments)
        return metrics if self.updates < 2 else BROKEN_UPDATE

    def adapt(self, *arguments):
        return super().adapt(*arguments) if self.updates < 1 else BROKEN_ADAPT
"""


@pytest.mark.parametrize(
    ("update", "adapt", "sentence"),
    [
        ("{}['lost']", "super().adapt(*arguments)", r"fails: KeyError: 'lost' \(mine\.py, line 13\)\.$"),
        ("exit(3)", "super().adapt(*arguments)", r"fails: SystemExit: 3 \(mine\.py, line 13\)\.$"),
        ("None", "super().adapt(*arguments)", r"TunedAgent to return .* got None \(mine\.py, line 10\)\.$"),
        ("{3: 4}", "super().adapt(*arguments)", r"got 4 for 3 \(mine\.py, line 10\)\.$"),
        ("{'loss': 'low'}", "super().adapt(*arguments)", r"got 'low' for 'loss' \(mine\.py, line 10\)\.$"),
        ("metrics", "1 / 0", r"fails: ZeroDivisionError: division by zero \(mine\.py, line 16\)\.$"),
        (
            "metrics",
            "None",
            r"got None, which has no device; .*: metarl check --agent .*/mine\.py:Tuned\.$",
        ),
    ],
)
def test_method_that_fails_is_told_with_its_line_and_the_checkpoints_stay(
    metarl: Command, place: Path, update: str, adapt: str, sentence: str
) -> None:
    place.write_text(METHODS.replace("BROKEN_UPDATE", update).replace("BROKEN_ADAPT", adapt))
    keeping = ("--checkpoint.every", 10)  # what is finished is saved all the same
    start = ("train", "point", "--agent", "mine.py:Tuned", *TINY, "--iterations", 3, *keeping)
    code, _, err = metarl(*start, "--name", "a")
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(sentence, err), err
    assert "mine.py" in err
    assert load_newest(Path("runs/a/checkpoints"), print).iteration == 1


def test_state_that_a_changed_agent_cannot_take_is_one_sentence(metarl: Command, place: Path) -> None:
    assert metarl("train", "point", "--agent", f"{place}:BoldConfig", *TINY, "--name", "it")[0] == 0
    text, head = place.read_text(), "class Bold(MAMLVPG, built_from=BoldConfig):\n"
    for body, said in (
        ("self.w = state.tensors['renamed']", "KeyError: 'renamed' (mine.py, line "),
        ("self.policy = None", "AttributeError: 'NoneType' object has no attribute"),
    ):
        place.write_text(text.replace(head, f"{head}    def load_state(self, state):\n        {body}\n\n"))
        for words in (("train", "--resume", "runs/it", "--iterations", "2"), ("evaluate", "runs/it")):
            code, _, err = metarl(*words)
            assert (code, err.count("\n")) == (2, 1)
            assert f"The agent bold-maml cannot take the state of bold-maml after 1 iterations: {said}" in err
            assert "have changed since then, take those of the training." in err


def test_agent_that_fails_while_it_is_measured_is_told_with_its_line(metarl: Command, place: Path) -> None:
    place.write_text(METHODS.replace("BROKEN_UPDATE", "metrics").replace("BROKEN_ADAPT", "None"))
    assert metarl("train", "point", "--agent", "mine.py:Tuned", *TINY, "--name", "a")[0] == 2
    place.write_text(METHODS.replace("self.updates < 1", "1 / 0"))
    for command in ("evaluate", "watch", "explain"):
        code, _, err = metarl(command, "runs/a")
        assert code == 2
        assert "Tuned fails: ZeroDivisionError: division by zero (mine.py, line 16)." in err


def test_results_are_read_without_the_agents_file(metarl: Command, place: Path) -> None:
    for seed in (0, 1):
        start = ("train", "point", "--agent", "mine.py:BoldConfig", *TINY, "--seed", seed, "--name", seed)
        assert metarl(*start)[0] == 0
    place.unlink()
    recorded = json.loads(Path("runs/0/config.json").read_text())["agent"]
    for text in (None, "def f(:", "x = 3", FILE.replace("boldness", "courage")):
        if text is not None:
            place.write_text(text)
        config = runs.read_config_of_results(Path("runs/0"))
        assert json.loads(json.dumps(to_json(config)["agent"])) == recorded
        with pytest.raises(MetarlError, match=r"mine\.py|boldness"):
            config.agent.build(config.build_suite(), seed=0, device=CPU, sampling=config.sampling)
    code, out, err = metarl("compare", "runs/0", "runs/1")
    assert (code, err) == (0, "")
    assert "A beats B on a task" in out
    code, out, err = metarl("report", "runs/0", "runs/1")
    assert (code, err) == (0, "")
    assert "There are no videos in the report: " in out
    assert "bold-maml" in Path("runs/0/report.html").read_text()


def test_results_are_read_where_a_suite_or_a_device_is_not_there(metarl: Command, place: Path) -> None:
    for name in "ab":
        assert metarl("train", "point", "--agent", "mine.py:BoldConfig", *TINY, "--name", name)[0] == 0
        for file in (Path("runs", name, "config.json"), Path("runs", name, "evaluation.json")):
            data = json.loads(file.read_text())
            config = data.get("config", data)
            config["suite"] |= {"kind": "uninstalled", "size": [3, 4]}
            config["device"] = "cuda:77"
            file.write_text(json.dumps(data))
    code, out, err = metarl("compare", "runs/a", "runs/b")
    assert (code, err) == (0, "")
    assert "held-out tasks of uninstalled" in out


@pytest.mark.parametrize("kind", ["", ".", "..", "a/b", "a\nb", "a\0b"])
def test_a_kind_that_no_folder_is_called_by_is_refused(kind: str) -> None:
    own = type("Own", (MAMLVPGConfig,), {"kind": kind, "__module__": __name__})
    with pytest.raises(MetarlError, match="to be a text that a folder can be called by, got "):
        config_class(own, "it")
