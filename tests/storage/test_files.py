"""Files that are whole or absent, whoever is killed and whatever the disk says, and no other way to write."""

from __future__ import annotations

import ast
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metarl.errors import MetarlError
from metarl.storage import checkpoints, files
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.files import all_or_none, check_writable, write_folder, write_rows, write_whole
from metarl.types import State

FULL = OSError(errno.ENOSPC, "No space left on device")


def write_and_fail(
    folder: Path, names: Sequence[str], error: Exception, cause: Exception | None = None
) -> None:
    for name in names:
        write_whole(folder / name, b"new")
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


def test_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, fsync = list[int](), os.fsync

    def short_of_space(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        if sizes[-1] > 1_000_000:
            raise FULL
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", short_of_space)
    check_writable(tmp_path / "small.json")
    with pytest.raises(MetarlError, match=r"report.html cannot be written: No space left on device; choose"):
        check_writable(tmp_path / "report.html", size=1_200_000)
    assert sizes == [65_536, 1_200_000]
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    fill_disk(monkeypatch)
    with pytest.raises(MetarlError, match=r"No disk space for the file .*file; the old file is intact"):
        write_whole(path, b"after")
    with pytest.raises(MetarlError, match=r"No disk space for the file .*new\.$"):
        write_whole(tmp_path / "new", b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_one_sentence() -> None:
    with pytest.raises(MetarlError, match=r"^/sys/metarl/file cannot be written: "):
        write_whole(Path("/sys/metarl/file"), b"content")


def test_output_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("before")
    for path in (tmp_path / "report.html", tmp_path / "new" / "report.html", tmp_path / "other.html"):
        check_writable(path)
    check_writable(tmp_path, folder=True)
    check_writable(tmp_path / "new", folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_output_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(MetarlError, match=r"is a folder; name a file with --output"):
        check_writable(tmp_path)
    for place in (tmp_path / "file" / "new", Path("/sys/metarl"), tmp_path / ("a" * 300)):
        for folder in (True, False):
            with pytest.raises(MetarlError, match=f"{place} cannot be written: "):
                check_writable(place, folder=folder)
    with pytest.raises(MetarlError, match="file cannot be written: Not a directory"):
        check_writable(tmp_path / "file", folder=True)
    with pytest.raises(MetarlError, match=r"Expected a folder for several files, got .*e0\.json; name"):
        check_writable(tmp_path / "e0.json", folder=True)
    (tmp_path / "v1.json").mkdir()
    check_writable(tmp_path / "v1.json", folder=True)


def test_results_on_a_full_disk_are_taken_back_and_others_stay(tmp_path: Path) -> None:
    for name in ("seed1.csv", "seed10.json"):
        (tmp_path / name).write_text("before")
    new = ["seed1.json", "seed1.csv", "seed1-map.png", "seed2.json"]  # the last is another process's
    said = f"No disk space for the results in {tmp_path}; none of them is kept"
    with pytest.raises(MetarlError, match=said), all_or_none(tmp_path, ["seed1"]):
        write_and_fail(tmp_path, new, FULL)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"seed1.csv": "before", "seed10.json": "before", "seed2.json": "new"}


def test_results_are_taken_back_when_a_figure_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="the figure"), all_or_none(tmp_path, ["it"]):
        write_and_fail(tmp_path, ["it.json"], MetarlError("the figure"), OSError(errno.EROFS, "Read-only"))
    assert not list(tmp_path.iterdir())


def test_results_before_another_mistake_stay(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match="a NaN"), all_or_none(tmp_path, ["it"]):
        write_and_fail(tmp_path, ["it.json"], MetarlError("a NaN"))
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]


KILLED = """
import os, pathlib, signal, sys
from metarl.storage import files
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
folder = pathlib.Path(sys.argv[1])
{"file": lambda: files.write_whole(folder / "file", b"after"),
 "folder": lambda: files.write_folder(folder / "run", {"config.json": b"{}"})}[sys.argv[2]]()
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path: Path, root: Path, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), what],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2  # the temporary one is there, and the run is not
    write_whole(tmp_path / "another", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "file"]


@pytest.mark.parametrize(
    ("table", "process", "hours", "kept"),
    [
        (files._process_table(), os.getppid(), 0.0, True),
        (files._process_table(), os.getpid(), 99.0, True),
        ("0" * 16, 2**30, 0.0, True),
        ("0" * 16, os.getppid(), 99.0, False),
        (files._process_table(), 2**30, 0.0, False),
    ],
    ids=["another that runs", "our own", "another machine's", "another machine's, old", "a dead one's"],
)
def test_temporary_files_of_others_stay_while_they_may_run(
    tmp_path: Path, table: str, process: int, hours: float, kept: bool
) -> None:
    path = tmp_path / f".metarl-{table}-{process}-{'a' * 16}.tmp"
    path.write_bytes(b"")
    then = path.stat().st_mtime - 3600 * hours
    os.utime(path, (then, then))
    files.tidy(tmp_path)
    assert path.exists() is kept


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100_000 for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_whole(tmp_path / "file", content), contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_file_system_that_cannot_sync_folders_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    write_whole(tmp_path / "new" / "file", b"content")
    write_folder(tmp_path / "run", {"config.json": b"{}"})
    checkpoints.save(tmp_path / "checkpoints", Checkpoint(1, {}, State({}, {}), {}), keep=1)
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_failing_disk_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(MetarlError, match="file cannot be written: Input/output error"):
        write_whole(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())


def test_longest_name_that_a_file_can_have_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 255), b"content")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"content"


def test_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_whole(tmp_path / "ours", b"")
    (tmp_path / "any").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        write_folder(tmp_path / "run", {"config.json": b"{}"})
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "thesis.tex"]


def test_csv_quotes_what_needs_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "table.csv", [["task", "return"], ['a "b", c', 1.5]])
    assert (tmp_path / "table.csv").read_bytes() == b'task,return\r\n"a ""b"", c",1.5\r\n'


WRITES = {"write_text", "write_bytes", "savefig", "save_file", "mkstemp", "NamedTemporaryFile", "rename"}
WRITERS = {
    "metarl.storage.files": "the writer",
    "metarl.storage.metrics": "logs that are appended to",
    "metarl.training.sweep": "logs that are appended to",
    "metarl.deploy.episodes": "journals that are appended to, and set aside",
    "metarl.system.c_compiler": "compiled code, which is renamed when it is whole",
    "metarl.storage.locks": "no content that anyone reads",
    "metarl.cli.main": "the null device",
    "metarl.cli.console": "the null device",
    "metarl.storage.checkpoints": "renames folders that are whole",
    "metarl.envs.engines.processes.worker": "pictures between processes, in a folder of their own",
}
"""Modules that may open files for writing, and why."""


def opens_for_writing(call: ast.Call) -> bool:
    """Return whether a call writes, renames or opens a file by itself."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name == "open":
        given = (*call.args, *(keyword.value for keyword in call.keywords))
        words = [word.value for word in given if isinstance(word, ast.Constant)]
        modes = [word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+")]
        keeps_nothing = bool(call.args) and ast.unparse(call.args[0]) == "os.devnull"
        return (owner == "os" and not keeps_nothing) or any(set(mode) & set("wax+") for mode in modes)
    if name == "replace":  # of text it has two arguments, of dataclasses keywords
        return owner == "os" or (bool(owner) and len(call.args) == 1 and not call.keywords)
    if name in ("save", "savez", "savetxt", "dump"):
        return owner in ("np", "torch", "json", "pickle") and not in_memory(call)
    if owner == "files" and name == "write_text":
        return False
    return name in WRITES and bool(owner) and not in_memory(call)


def in_memory(call: ast.Call) -> bool:
    """Return whether what is written goes to a buffer, which the same function hands to the writer."""
    return bool(call.args) and ast.unparse(call.args[0]) in ("content", "picture", "archive")


def test_nothing_else_writes_files(source_files: dict[str, Path]) -> None:
    found = {
        f"{module}: line {node.lineno}"
        for module, path in source_files.items()
        if module not in WRITERS and not module.startswith("benchmarks")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and opens_for_writing(node)
    }
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        'path.open("w")',
        'open(path, mode="ab")',
        'path.write_text("x")',
        "os.replace(a, b)",
        "part.replace(path)",
        "figure.savefig(path)",
        "np.savez(path, a=1)",
        "json.dump(data, file)",
        "tempfile.NamedTemporaryFile(dir=folder)",
    ],
)
def test_each_way_to_write_is_found(line: str) -> None:
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert opens_for_writing(call)
