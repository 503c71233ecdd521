"""The folder for caches: where it is without a home, and that no one else can put code there."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from metarl.envs.engines.threads.compiled import build, open_library
from metarl.envs.metaworld.goals import Goal, Goals, published_goals
from metarl.system import caches
from metarl.system.c_compiler import BuildError, find_compiler
from metarl.system.caches import cache_folder, is_own_file, keep_matplotlib_quiet


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a home and a temporary folder of the test's own, and nothing else."""
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(caches, "_choose", caches._choose.__wrapped__)


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no HOME, and no entry in /etc/passwd."""

    def no_entry(user: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


def spare(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / f"metarl-{os.geteuid()}"


def test_caches_are_in_the_home_or_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "home" / ".cache" / "metarl"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "metarl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "metarl"
    assert cache_folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("no_home")
def test_without_a_home_caches_are_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == spare(tmp_path)
    goals = Goals((Goal("reach-v3", (0.1,)),), ())
    monkeypatch.setattr("metarl.envs.metaworld.goals.draw_goals", lambda *_, width: goals)
    assert published_goals("ml1", 3, "reach-v3") == goals
    assert [path.name.startswith("metaworld") for path in spare(tmp_path).iterdir()] == [True]


@pytest.mark.parametrize("home", ["nowhere", "file", "", "relative"])
def test_home_that_is_no_folder_is_passed_over(
    tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / home) if home in ("nowhere", "file") else home)
    assert cache_folder() == spare(tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_home_that_cannot_be_written_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(os, "access", lambda path, mode: ".cache" not in str(path))
    assert cache_folder() == spare(tmp_path)
    assert f"Caches are kept in {spare(tmp_path)} (" in caplog.text
    assert "it cannot be written to)." in caplog.text


def test_folder_that_another_user_made_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (tmp_path / "home" / ".cache" / "metarl", spare(tmp_path)):
        folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    (tmp_path / "tmp" / "metarl-1").mkdir()
    assert cache_folder() == Path(os.devnull)
    assert "what they hold is computed again each time" in caplog.text
    with pytest.raises(BuildError, match="there is no folder for compiled code"):
        build()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link another user's")
def test_link_of_another_user_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    spare(tmp_path).symlink_to(tmp_path / "scratch")
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    assert cache_folder() == spare(tmp_path)
    os.lchown(spare(tmp_path), 1, 1)
    assert cache_folder() == Path(os.devnull)


def test_folder_that_others_can_replace_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "metarl"
    (tmp_path / "shared").chmod(0o1777)  # as /tmp: only the owner may rename or remove
    assert cache_folder() == tmp_path / "shared" / "metarl"


def test_own_folder_that_others_could_write_to_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".cache" / "metarl"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert cache_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_code_that_another_could_have_written_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(name: str, *_: object) -> Path:
        target = cache_folder() / f"{name}.so"
        target.touch(0o700)
        return target

    monkeypatch.setattr("metarl.envs.engines.threads.compiled.compile_library", touch)
    library = build()
    assert is_own_file(library)
    library.chmod(0o777)
    assert not is_own_file(library)
    library.unlink()
    library.symlink_to("/elsewhere.so")
    assert not is_own_file(library)


def test_matplotlib_keeps_its_fonts_in_our_folder_only_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_matplotlib_quiet()
    assert "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    keep_matplotlib_quiet()
    assert os.environ["MPLCONFIGDIR"] == str(spare(tmp_path) / "matplotlib")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("sh -m64 'a b'", ["-m64", "a b"]),
        ("env sh", ["sh"]),
        ("sh", []),
    ],
)
def test_compiler_may_have_arguments_or_a_launcher(
    named: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", named)
    program, *rest = find_compiler()
    assert Path(program).is_absolute()
    assert rest == words


def test_compiler_in_a_folder_with_a_space_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "my cc"
    compiler.write_text("#!/bin/sh\necho 'no licence, sorry.' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert find_compiler() == [str(compiler)]
    with pytest.raises(BuildError, match=r"my cc said: no licence, sorry$"):
        open_library()


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("no-such-compiler", r"CC=no-such-compiler names no program \('no-such-compiler' is not found\)"),
        ("no-such-launcher gcc", r"names no program \('no-such-launcher' is not found\)"),
        ("'gcc", r"CC='gcc cannot be read \(no closing quotation\)"),
        ("false", r"said: nothing \(exit status 1\)"),
        ("true", r"said: nothing \(exit status 0\)"),
    ],
)
def test_compiler_that_does_not_serve_is_named(
    named: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", named)
    with pytest.raises(BuildError, match=reason):
        build()
