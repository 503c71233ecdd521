"""Results that are whole or absent: a file that replaces another, and several files that belong together."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from metarl.errors import MetarlError
from metarl.files import all_or_none, write_whole

FULL = OSError(errno.ENOSPC, "No space left on device")


def write_and_fail(
    folder: Path, names: Sequence[str], error: Exception, cause: Exception | None = None
) -> None:
    for name in names:
        (folder / name).write_text("new")
    raise error from cause


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file reach the disk whole, as on one that is full by then."""

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        raise FULL

    monkeypatch.setattr(os, "fsync", full)


def test_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one")
    write_whole(path, b"other")
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


def test_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    fill_disk(monkeypatch)
    with pytest.raises(MetarlError, match=r"No disk space for the file .*file; what was there is intact"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_one_sentence() -> None:
    with pytest.raises(MetarlError, match=r"^/sys/metarl/file cannot be written: "):
        write_whole(Path("/sys/metarl/file"), b"content")


def test_results_on_a_full_disk_are_taken_back_and_others_stay(tmp_path: Path) -> None:
    for name in ("seed1.csv", "seed10.json"):
        (tmp_path / name).write_text("before")
    new = ["seed1.json", "seed1-map.png", "seed2.json"]  # the last is another process's
    said = f"No disk space for the results in {tmp_path}; none of them is kept"
    with pytest.raises(MetarlError, match=said), all_or_none(tmp_path, ["seed1"]):
        write_and_fail(tmp_path, new, FULL)
    assert {path.name for path in tmp_path.iterdir()} == {"seed1.csv", "seed10.json", "seed2.json"}


def test_results_are_taken_back_when_a_figure_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="the figure"), all_or_none(tmp_path, ["it"]):
        write_and_fail(tmp_path, ["it.json"], MetarlError("the figure"), OSError(errno.EROFS, "Read-only"))
    assert not list(tmp_path.iterdir())


def test_results_before_another_mistake_stay(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="a NaN"), all_or_none(tmp_path, ["it"]):
        write_and_fail(tmp_path, ["it.json"], MetarlError("a NaN"))
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]
