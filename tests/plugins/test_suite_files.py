"""Suites in a file and suites of packages: trained on, evaluated, resumed, and missed when they are gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metarl.cli.main import main
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.plugins.suite_files import FileSuiteConfig, distribution_of, file_suite
from metarl.plugins.user_files import is_place

FILE = """
from metarl.envs.toy.point import PointConfig, PointTasks

variable = PointTasks(horizon=5)
config = PointConfig(horizon=6)

def function():
    return PointTasks(horizon=7)

def wrong():
    return 3

def falling():
    raise KeyError("nothing there")
"""
SMALL = [
    *("--iterations", "1", "--sampling.meta-batch-size", "2", "--sampling.episodes", "2"),
    *("--evaluation.episodes", "1", "--evaluation.adaptation-episodes", "2", "--agent.hidden-sizes", "4"),
]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the file, and work in its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
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


@pytest.mark.parametrize(("name", "horizon"), [("variable", 5), ("config", 6), ("function", 7)])
def test_name_in_a_file_may_stand_for_several_things(place: Path, name: str, horizon: int) -> None:
    assert file_suite(f"mine.py:{name}").build().horizon == horizon


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("mine.py:variabel", "did you mean 'variable'?"),
        ("mine.py:wrong", "Expected 'wrong' of .*mine.py to be a task distribution, but it is of type int"),
        ("mine.py:falling", "fails when it is called: KeyError: 'nothing there'."),
        ("mine.py", "Expected a suite in a file as my_file.py:my_distribution, got 'mine.py'"),
        ("yours.py:variable", "yours.py is not there; check its name, or put a run's file back where it was"),
    ],
)
def test_file_that_holds_no_such_distribution_is_refused(place: Path, named: str, sentence: str) -> None:
    assert is_place(named)
    with pytest.raises(MetarlError, match=sentence):
        file_suite(named).build()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        ("def f(:", r"SyntaxError: invalid syntax \(mine.py, line 1\)\.$"),
        ("import sys; sys.exit(3)", r"SystemExit: 3 \(mine.py, line 1\)\.$"),
        (
            "raise RuntimeError('invalid value for environment variable MUJOCO_GL: foo')",
            r".* MUJOCO_GL: foo \(mine.py, line 1\)\. Set MUJOCO_GL to egl, osmesa or glfw, or unset it\.$",
        ),
        (
            "raise RuntimeError('an OpenGL platform library has not been loaded')",
            r".* not been loaded \(mine.py, line 1\)\. On a machine without a screen set MUJOCO_GL=egl\.$",
        ),
    ],
)
def test_file_that_does_not_run_is_refused(
    place: Path, text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    place.write_text(text)
    with pytest.raises(MetarlError, match=f"mine\\.py does not run: {reason}"):
        file_suite("mine.py:variable").build()


def test_library_that_mujoco_is_told_to_draw_with_is_named_where_it_is_missing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    place.write_text("raise ImportError('No OpenGL here')")
    with pytest.raises(MetarlError, match=r"may be missing \(apt install libosmesa6\)\.$"):
        file_suite("mine.py:variable").build()
    place.write_text("raise ImportError('No wheels here')")
    with pytest.raises(MetarlError, match=r"No wheels here \(mine.py, line 1\)\.$"):
        file_suite("mine.py:variable").build()


def test_changed_file_is_loaded_anew_and_the_change_is_told(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = file_suite("mine.py:variable")
    place.write_text(FILE.replace("horizon=5", "horizon=9"))
    assert config.build().horizon == 9
    assert "has changed since this run was started" in caplog.text


def test_run_on_a_file_is_trained_evaluated_and_resumed(metarl: Command, place: Path) -> None:
    code, out, err = metarl("train", "--suite", "mine.py:variable", *SMALL)
    assert (code, err) == (0, "")
    assert "Training maml-trpo on point: 1 iteration of 2 tasks" in out
    run = place.parent / "runs" / "variable-maml-trpo-seed0"
    stored = json.loads((run / "config.json").read_text())["suite"]
    assert stored["place"] == f"{place}:variable"
    assert metarl("evaluate", run, "--tasks", 2)[0] == 0
    assert metarl("train", "--resume", run, "--iterations", 2)[0] == 0
    shutil.move(place, place.with_name("elsewhere.py"))
    for command in (("evaluate", run), ("train", "--resume", run, "--iterations", 3), ("watch", run)):
        code, _, err = metarl(*command)
        assert code == 2
        assert err == (
            f"metarl: The suite's file {place} is not there; check its name, or put a run's file back "
            "where it was.\n"
        )


def test_check_tells_faults_with_exit_code_2(metarl: Command, place: Path) -> None:
    assert metarl("check", "mine.py:variable")[1].endswith("point keeps every promise.\n")
    place.write_text(
        FILE + "\nclass Leaky(PointTasks):\n    def tasks(self, split): return super().tasks('train')\n"
        "leaky = Leaky(horizon=5)\n"
    )
    code, out, err = metarl("check", "mine.py:leaky")
    assert code == 2
    assert "is also a training task. Take it out of one of the two lists." in out
    assert err.startswith("metarl: point has ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("check",), "metarl check needs a suite, one of "),
        (("check", "pont"), "There is no suite called 'pont'; did you mean 'point'?"),
        (("train", "--suite"), "--suite needs a suite's name or a place"),
        (("train", "--suite", "pont"), "There is no preset called 'pont'; did you mean 'point'?"),
    ],
)
def test_slips_get_one_sentence(metarl: Command, arguments: tuple[str, ...], sentence: str) -> None:
    code, _, err = metarl(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert sentence in err


def test_registered_suite_without_a_preset_is_trained_with_defaults() -> None:
    config = registry.configure("cart-pole")
    assert (config.suite.kind, config.agent.kind) == ("cart-pole", "maml-trpo")
    assert registry.configure("mine.py:variable" if Path("mine.py").exists() else "cart-pole") == config


def test_package_may_publish_a_distribution_as_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(place.parent))
    entry = EntryPoint("theirs", "mine:function", registry.SUITES)
    monkeypatch.setattr(entry_points, "_entries", lambda group: {"theirs": entry})
    config = registry.suite_named("theirs")
    assert (config.kind, config.label, config.build().horizon) == ("theirs", "theirs", 7)
    assert registry.suite("theirs").__doc__ == "A task distribution."


def test_whatever_is_no_distribution_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"which has no name; metarl\.envs\.from_gymnasium makes one"):
        distribution_of(object(), "it")
    assert FileSuiteConfig(place="a.py:b").label == "b"


def test_a_link_that_leads_to_itself_is_refused(place: Path) -> None:
    Path("loop.py").symlink_to("loop.py")
    with pytest.raises(MetarlError, match=r"The suite's file .*loop.py cannot be "):
        file_suite("loop.py:x")
