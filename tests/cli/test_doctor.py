"""What ``metarl doctor`` says of engines, for machines that are not this one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metarl.cli.commands.doctor import devices, engines, this_machine
from metarl.cli.main import main


@pytest.fixture
def with_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MuJoCo Warp be installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))


def say_of_warp(mujoco: str | None = "3.17.0", driver: tuple[int, int] | None = None) -> str:
    return dict(engines(mujoco, driver))["warp"]


def test_what_is_not_installed_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert say_of_warp() == (
        "cannot run: mujoco_warp is not installed; `make setup-warp` makes an environment, .venv-warp, for it"
    )


@pytest.mark.usefixtures("with_warp")
def test_an_older_mujoco_cannot_run_warp() -> None:
    assert "it needs mujoco 3.17, and this is 3.3.0" in say_of_warp("3.3.0")
    assert "cannot" not in say_of_warp("3.17.0")


@pytest.mark.usefixtures("with_warp")
def test_without_cuda_warp_is_said_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert say_of_warp() == "runs on the CPU, slowly: there is no NVIDIA driver here"
    assert say_of_warp(driver=(12, 8)).endswith("the NVIDIA driver supports CUDA 12.8")


@pytest.mark.usefixtures("with_warp")
def test_an_old_driver_is_to_be_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert say_of_warp(driver=(12, 2)) == "needs a driver for CUDA 12.4, and this one is for 12.2: update it"
    assert say_of_warp(driver=(12, 4)) == "runs on CUDA"


def test_without_a_compiler_threads_run_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert dict(engines("3.3.0", None))["threads"].startswith(
        "runs in Python, slower: there is no C compiler; install one"
    )


def test_command_prints_versions_devices_and_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("mujoco-warp", torch.__version__, "cpu", "processes", "threads", "warp"):
        assert word in printed


def doctor(tmp_path: Path, **environment: str) -> str:
    """Return what ``metarl doctor`` prints in a process with these variables set."""
    done = subprocess.run(
        [sys.executable, "-m", "metarl", "doctor"],
        env={**os.environ, "COLUMNS": "200", **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def row(printed: str, name: str) -> str:
    return next(line for line in printed.splitlines() if line.split()[:1] == [name])


def test_wrong_mujoco_gl_is_foreseen(tmp_path: Path) -> None:
    printed = doctor(tmp_path, MUJOCO_GL="foo", OMP_NUM_THREADS="many")
    for engine in ("threads", "warp"):
        assert "cannot run: invalid value for environment variable MUJOCO_GL: foo" in row(printed, engine)
    assert "Set MUJOCO_GL to egl, osmesa or glfw, or unset it" in row(printed, "processes")
    assert "cannot draw" in row(printed, "drawing")
    assert "'many' is no number of threads" in row(printed, "OMP_NUM_THREADS")


def test_what_stops_the_compiled_physics_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    assert dict(engines("3.3.0", None))["threads"] == (
        "runs in Python, slower: CC=no-such-compiler -O3 names no program ('no-such-compiler' is not found)"
    )
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "the C compiler" in dict(engines("3.3.0", None))["threads"]


@pytest.mark.parametrize("value", ["1", "4", " 2 ", "4,2"])
def test_number_of_threads_is_not_complained_of(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert "OMP_NUM_THREADS" not in dict(devices(None))


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "4,"])
def test_nonsense_number_of_threads_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert repr(value) in dict(devices(None))["OMP_NUM_THREADS"]


def test_folder_for_caches_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert dict(this_machine())["caches"] == str(tmp_path / "metarl")
