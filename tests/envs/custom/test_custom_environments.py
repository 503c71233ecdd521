"""The guide to environments of one's own: every block of its code is run."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from metarl.plugins.suite_check import examine
from metarl.plugins.suite_files import file_suite

BLOCK = re.compile(r"^```\w+\n# file: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = """
import sys
from metarl.cli.main import main
sys.exit(any(main(line.split()) for line in sys.argv[1:]))
"""
"""Runs commands in one process: each would import PyTorch anew."""
SHORT = {"poles": 100, "rails": 20, "heavy": 50, "perturbed": 50, "fetch": 50, "pendulums": 30, "things": 20}


@pytest.fixture(scope="module")
def guide(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the guide's files."""
    folder = tmp_path_factory.mktemp("guide")
    for name, text in BLOCK.findall((root / "docs" / "custom_environments.md").read_text()):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def path_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file's folder stay on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(*command: str, cwd: Path, path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "160"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_guide_shows_every_way(guide: Path) -> None:
    assert {path.stem for path in guide.iterdir()} == {*SHORT, "pyproject", "my_poles", "train_sb3"}


def test_ten_lines_are_enough(guide: Path) -> None:
    lines = (guide / "poles.py").read_text().partition("\n\n\n")[2].splitlines()
    statements = [line for line in lines if line.strip()]
    assert len(statements) <= 10


@pytest.mark.parametrize("name", SHORT)
def test_distribution_of_the_guide_keeps_every_promise(guide: Path, name: str) -> None:
    suite = file_suite(f"{guide / name}.py:{name}").build()
    assert suite.horizon == SHORT[name]
    findings = examine(suite)
    assert not findings.faults
    assert not findings.doubts


def test_package_of_the_guide_is_listed_and_checked(guide: Path, tmp_path: Path) -> None:
    package = tmp_path / "my-poles"
    package.mkdir()
    for name in ("pyproject.toml", "my_poles.py"):
        (package / name).write_text((guide / name).read_text())
    target = tmp_path / "target"
    pip = ("install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target))
    run(sys.executable, "-m", "pip", *pip, str(package), cwd=tmp_path)
    said = run(sys.executable, "-c", COMMANDS, "list", "check my-poles", cwd=tmp_path, path=str(target))
    assert "CartPole on other planets." in said
    assert said.splitlines()[-1].startswith("my-poles keeps every promise")


def test_stable_baselines3_trains_on_a_distribution_of_the_guide(
    guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(guide))
    assert runpy.run_path(str(guide / "train_sb3.py"))["agent"].num_timesteps == 64
