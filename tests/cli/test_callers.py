"""``metarl``'s ``main`` called from elsewhere than a shell: threads, event loops, odd outputs and folders."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metarl.cli.console import say_error
from metarl.cli.main import main
from metarl.plugins import entry_points
from metarl.system.signals import handled
from support.programs import POINT

TRAIN = [*POINT, "--iterations", "1", "--sampling.meta-batch-size", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_a_thread(work: Callable[[], int]) -> int:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def test_run_is_trained_and_resumed_in_a_thread(folder: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert in_a_thread(lambda: main(TRAIN)) == 0
    assert in_a_thread(lambda: main(["train", "--resume", "runs/it", "--iterations", "2"])) == 0
    assert (folder / "runs" / "it" / "evaluation.json").is_file()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_run_is_trained_under_an_event_loop() -> None:
    async def run() -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        return main(TRAIN)

    assert asyncio.run(run()) == 0


def test_refused_start_in_a_thread_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("metarl.training.experiment.MetricsLog", fail)
    assert in_a_thread(lambda: main(TRAIN)) == 2
    assert not list((folder / "runs").iterdir())


def test_signal_handlers_are_put_back_and_one_of_c_code_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with handled((signal.SIGUSR1,), lambda *_: None):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with handled((signal.SIGUSR1,), lambda *_: None):
        pass
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


class WriteOnly:
    """An output with nothing but a method to write."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [closed, WriteOnly, lambda: None])
def test_outputs_may_be_closed_or_replaced(
    make: Callable[[], object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, make())
    assert main(["evaluate", "nowhere"]) == 2
    assert main(["list"]) == 0


def test_what_is_printed_to_a_callers_object_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = WriteOnly(), WriteOnly()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["--version"]) == 0
    assert main(["evaluate", "nowhere"]) == 2
    assert out.text.startswith("metarl ")
    assert err.text == "metarl: There is no folder nowhere.\n"


def test_folder_and_run_may_have_names_that_are_no_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = folder / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    monkeypatch.chdir(odd)
    strict = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", strict)
    (odd / "mine.py").write_text(
        "from metarl.envs.toy.point import PointTasks\nmine = PointTasks(horizon=5)\n"
    )
    settings = TRAIN[2:]
    place = settings.index("--horizon")
    del settings[place : place + 2]
    train = ["train", "--suite", "mine.py:mine", *settings, "--name", os.fsdecode(b"r\xfcn")]
    assert main(train) == 0
    [run] = (odd / "runs").iterdir()
    assert json.loads((run / "config.json").read_text())["suite"]["place"] == f"{odd}/mine.py:mine"
    assert main(["evaluate", str(run), "--tasks", "2", "--adaptation-steps", "0"]) == 0


def test_folder_that_was_removed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for arguments in (TRAIN, ["check", "mine.py:mine"]):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.endswith(" The current folder was removed: change to another one.\n")
        assert said.count("\n") == 1


WITHOUT_ASSERTIONS = """
import sys
from importlib.machinery import SourceFileLoader

def without_assertions(loader, name):
    return compile(loader.get_data(loader.path), loader.path, "exec", dont_inherit=True, optimize=1)

of_any = SourceFileLoader.get_code
SourceFileLoader.get_code = lambda loader, name: (
    without_assertions if name.partition(".")[0] == "metarl" else of_any
)(loader, name)
from metarl.cli.main import main
from metarl.plugins import entry_points
sys.exit(main(sys.argv[1:]))
"""
"""Does with our modules what ``python -O`` does with all; compiling PyTorch's takes half a minute."""


def test_python_may_leave_out_assertions_and_raise_warnings(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_ASSERTIONS, *TRAIN]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Wrote ") == 1


def test_error_is_told_where_standard_error_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    say_error("nobody reads this")


INTERRUPTED = """
import os, signal, sys
class Interrupting:
    def find_spec(name, *_):
        if name == "metarl.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting)
"""


@pytest.mark.parametrize(
    "start",
    [
        "from metarl.__main__ import main; sys.exit(main())",
        "import runpy; runpy.run_module('metarl', run_name='__main__')",
    ],
)
def test_interrupt_during_imports_leaves_no_traceback(start: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", INTERRUPTED + start], capture_output=True, text=True, check=False, timeout=60
    )
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


def fails(arguments: list[str]) -> None:
    """Run another package's command, with a fault."""
    arguments[1].lower()


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("knock", "strangers:knock", entry_points.COMMANDS)
    monkeypatch.setattr(entry_points, "find", lambda group, name: entry)
    monkeypatch.setattr(entry_points, "load", lambda group, name: fails)


@pytest.mark.usefixtures("stranger")
def test_exception_of_another_packages_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knock", "2"]) == 2
    line = fails.__code__.co_firstlineno + 2
    assert " ".join(capsys.readouterr().err.split()) == (
        "metarl: The command 'knock' (strangers:knock) fails: IndexError: list index out of range "
        f"(test_callers.py, line {line}). METARL_DEBUG=1 shows the traceback."
    )
    assert main(["knock", "2", "3"]) == 0


@pytest.mark.usefixtures("stranger")
def test_exception_of_another_packages_command_is_raised_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METARL_DEBUG", "1")
    with pytest.raises(IndexError):
        main(["knock"])
