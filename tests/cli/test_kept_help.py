"""A command's help is printed again from a file, and made anew when anything that it depends on changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from metarl.cli import kept_help
from metarl.cli.kept_help import show_help

WORDS = ("train", "ml1", "--help")
METARL = str(Path(sys.executable).with_name("metarl"))


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that the help depends on, in a process that has not imported PyTorch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "torch")
    module = tmp_path / "options.py"
    module.write_text("first")
    monkeypatch.setattr(kept_help, "_imported", lambda: [str(module), str(tmp_path / "gone.py")])
    return module


@pytest.fixture
def asked(beside: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, int]]:
    """Return a function that asks for help: the text, and how often it was made so far."""
    made = 0

    def make() -> None:
        nonlocal made
        made += 1
        sys.stdout.write(f"options: {beside.read_text()}\n")
        sys.exit(0)

    def ask(*words: str) -> tuple[str, int]:
        with pytest.raises(SystemExit) as ended:
            show_help(words or WORDS, make)
        assert ended.value.code == 0
        return capsys.readouterr().out, made

    return ask


def test_same_question_is_answered_from_the_file(asked: Callable[..., tuple[str, int]]) -> None:
    assert [asked(), asked(), asked()] == [("options: first\n", 1)] * 3
    assert asked("train", "point", "--help")[1] == 2


@pytest.mark.parametrize("kept_times", [False, True])
def test_changed_file_is_read_again(
    asked: Callable[..., tuple[str, int]], beside: Path, kept_times: bool
) -> None:
    asked()
    before = beside.stat()
    beside.write_text("other")  # equally long
    if kept_times:
        os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert asked() == ("options: other\n", 2)


@pytest.mark.parametrize("change", ["file", "environment", "path", "width", "damage", "others"])
def test_text_is_made_anew_when_anything_else_changes(
    asked: Callable[..., tuple[str, int]], beside: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    asked()
    (kept,) = (beside.parent / "cache" / "metarl" / "help").iterdir()
    if change == "file":
        beside.with_name("gone.py").touch()
    elif change == "environment":
        monkeypatch.setenv("SOME_SETTING", "1")
    elif change == "path":
        monkeypatch.syspath_prepend(beside.parent)
    elif change == "width":
        monkeypatch.setenv("COLUMNS", "33")
    elif change == "damage":
        kept.write_bytes(kept.read_bytes()[:-7])
    else:
        kept.chmod(0o666)  # anybody could have written it
    assert asked() == ("options: first\n", 2)
    assert asked()[1] == 2


def test_nothing_is_kept_of_a_refusal_of_a_command_that_goes_on_or_of_a_users_file(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        sys.exit(2)

    def run() -> None:
        ran.append(1)

    def help_of_a_file() -> None:
        sys.exit(0)

    ran: list[int] = []
    for _ in range(2):
        with pytest.raises(SystemExit):
            show_help(WORDS, refuse)
        show_help(WORDS, run)
        with pytest.raises(SystemExit):
            show_help(("train", "point", "--agent", "mine.py:Mine", "--help"), help_of_a_file)
    assert len(ran) == 2
    assert not list((beside.parent / "cache").rglob("*.json"))


def test_program_prints_the_same_help_again(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "COLUMNS": "80"}
    answers = [
        subprocess.run(
            [METARL, "list", "--help"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert "usage: metarl list" in answers[0]
    assert answers[0] == answers[1]
    (kept,) = (tmp_path / "metarl" / "help").iterdir()
    text = kept.read_text()
    assert "usage: metarl list" in text
    kept.write_text(text.replace("usage: metarl list", "usage: as it is kept"))
    again = subprocess.run([METARL, "list", "--help"], env=environment, capture_output=True, check=True)
    assert b"usage: as it is kept" in again.stdout
