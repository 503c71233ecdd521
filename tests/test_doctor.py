"""What ``metarl doctor`` says of engines, for machines that are not this one."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest
import torch

from metarl.cli import main
from metarl.commands.doctor import engines


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
    assert dict(engines("3.3.0", None))["threads"].startswith("runs in Python, slower: install a C compiler")


def test_command_prints_versions_devices_and_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("mujoco-warp", torch.__version__, "cpu", "processes", "threads", "warp"):
        assert word in printed
