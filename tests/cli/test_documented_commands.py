"""Every command in README.md, CONTRIBUTING.md, docs/ and results/README.md is one that its program takes.

A command is parsed and not run. Files of one's own that it names are stand-ins.
"""

from __future__ import annotations

import functools
import inspect
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import torch
import tyro

from metarl.cli.main import main
from metarl.plugins import entry_points

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PROGRAMS = ("metarl", "make", "pytest", "python")
MINE = "from metarl.agents.maml_vpg import MAMLVPGConfig\nclass {name}(MAMLVPGConfig):\n    pass\n"


class Parsed(BaseException):
    """The arguments were taken, and nothing is run."""


def commands(page: str, *, inline: bool = False) -> Iterator[list[str]]:
    """Yield the words of each command in a page's blocks, or in its sentences."""
    whole = re.sub(r"\\\n\s*", " ", page)
    fenced = re.findall(r"^```\w*\n(.*?)^```", whole, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4,}(.*)$", whole, re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", whole)]
    for line in spans if inline else [*"\n".join(fenced).splitlines(), *indented]:
        if re.match(rf"(\w+=\S+ )*(\.venv/bin/)?({'|'.join(PROGRAMS)}) \S", line.strip()):
            for each in line.split(" && "):
                words = shlex.split(each, comments=True)
                yield [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]


def expanded(words: Sequence[str]) -> list[str]:
    """Return a command's words with the shell's patterns and variables filled in."""
    filled = [word.replace("$agent", "promp") for word in words]
    return [word.replace("*", each) for word in filled for each in ("ab" if "*" in word else "a")]


@pytest.fixture
def takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], bool]:
    """Return a function that says whether a program takes its arguments, in an empty folder."""
    monkeypatch.setattr(tyro, "cli", functools.partial(parse_only, tyro.cli))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)

    def takes(words: list[str]) -> bool:
        write_files(words)
        monkeypatch.setattr("sys.argv", list(words))
        try:
            start(words)
        except Parsed:
            return True
        except SystemExit:
            return False
        return False

    return takes


def parse_only(cli: Callable[..., object], asked: object, *arguments: object, **named: object) -> object:
    """Parse as tyro does, without calling a function of the arguments."""
    if named.get("return_unknown_args"):  # the rest is parsed next
        return cli(asked, *arguments, **named)
    if not inspect.isfunction(asked):
        cli(asked, *arguments, **named)
        raise Parsed

    @functools.wraps(asked)
    def stand_in(*_: object, **__: object) -> NoReturn:
        raise Parsed

    return cli(stand_in, *arguments, **named)


def write_files(words: Sequence[str]) -> None:
    """Write the files of one's own that a command names."""
    for word in words:
        path, found, name = word.partition(".py:")
        if found:
            Path(f"{path}.py").write_text(MINE.format(name=name))


def start(words: list[str]) -> None:
    """Start a program in this process; its arguments are those of ``sys.argv``."""
    if words[0] == "metarl":
        main(words[1:])
    elif words[1] == "-m":
        del sys.argv[:2]
        sys.modules.pop(words[2], None)  # another test may have imported it, of which runpy warns
        # as python -m does: the hints of a config are read in its module
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    else:
        del sys.argv[:1]
        runpy.run_path(str(ROOT / words[1]), run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_are_taken(page: Path, takes: Callable[[list[str]], bool]) -> None:
    for written in commands(page.read_text()):
        words = expanded(written)
        program = words[0] = Path(words[0]).name
        if program == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), written
        elif program == "pytest" or words[1].startswith("tests/"):
            files = [word for word in words[1:] if "/" in word]
            assert all((ROOT / file).exists() for file in files), written
        elif len(words) == 2 and program == "metarl":
            assert words[1] in entry_points.names(entry_points.COMMANDS), written
        else:
            assert takes(words), written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_are_taken(page: Path, takes: Callable[[list[str]], bool]) -> None:
    """Of one that begins with a preset all options, of others the name."""
    presets = entry_points.names(entry_points.PRESETS)
    for words in commands(page.read_text(), inline=True):
        if words[0] != "metarl" or words[1].startswith("-"):
            continue
        assert words[1] in entry_points.names(entry_points.COMMANDS), words
        if words[1] in ("train", "sweep") and set(words[2:3]) & set(presets) and "--help" not in words:
            assert takes(words), words


@pytest.mark.parametrize("command", ["train", "sweep", "evaluate"])
def test_wrong_command_is_found(takes: Callable[[list[str]], bool], command: str) -> None:
    first = "runs/NAME" if command == "evaluate" else "point"
    page = f"    metarl {command} {first} \\\n        --no-such-option 3   # a comment\n"
    (words,) = commands(page)
    assert words == ["metarl", command, first, "--no-such-option", "3"]
    assert not takes(words)
    assert takes(words[:3])
    assert list(commands("It says `metarl lst` here.", inline=True)) == [["metarl", "lst"]]
    assert not list(Path().iterdir())
