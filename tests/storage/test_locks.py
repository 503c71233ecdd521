"""The lock on a run's folder, also on file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
from pathlib import Path

import pytest

from metarl.cli.main import main
from metarl.storage.locks import locked
from support.programs import POINT


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the file system refuse every lock."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO]
)
def test_without_locks_a_run_goes_on_and_says_so_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_locks(monkeypatch, number)
    for _ in range(2):
        with locked(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert caplog.text.count("nothing keeps a second process off this run") == 1
    assert os.strerror(number) in caplog.text


def test_run_without_locks_is_trained_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    without_locks(monkeypatch, errno.ENOSYS)
    assert main([*POINT, "--iterations", "1"]) == 0
    assert main(["train", "--resume", "runs/it", "--iterations", "2"]) == 0


def test_full_disk_at_the_lock_is_told_and_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text = Path.write_text

    def write(path: Path, text: str, encoding: str | None = None) -> int:
        if path.name == ".lock":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(path, text, encoding)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "write_text", write)
    assert main([*POINT, "--iterations", "1"]) == 2
    assert "The run folder runs/it cannot be locked: No space left on device.\n" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())


def test_windows_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert main(["list"]) == 2
    sentence = "metarl: Expected Linux or another POSIX system, got Windows; run metarl in WSL.\n"
    assert capsys.readouterr().err == sentence
