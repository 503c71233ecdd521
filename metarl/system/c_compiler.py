"""Compiles C code on first use, and keeps the library in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from metarl.system.caches import cache_folder, is_own_file

# no multiplication is merged with an addition, so that results are the same on every processor
_FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC")


class BuildError(RuntimeError):
    """There is no compiled code, and why."""


def find_compiler() -> list[str]:
    """Return the C compiler's command, ``$CC`` or ``cc``; raise ``BuildError`` if there is none."""
    named = os.environ.get("CC", "").strip()
    try:
        words = [named] if shutil.which(named) else shlex.split(named) or ["cc"]
    except ValueError as error:
        raise BuildError(f"CC={named} cannot be read ({str(error).lower()})") from error
    program = shutil.which(words[0])
    if program is None:
        raise BuildError(
            f"CC={named} names no program ({words[0]!r} is not found)" if named else "there is no C compiler"
        )
    return [program, *words[1:]]


def compile_library(name: str, source: str, flags: Sequence[str] = (), link: Sequence[str] = ()) -> Path:
    """Return the shared library of some C source, compiled unless that was done.

    Args:
        name: beginning of the library's name.
        source: C11.
        flags: further options of the compiler.
        link: what to link against, after the source.

    Raises:
        BuildError: without a compiler or a folder, or with what the compiler says.
    """
    compiler = find_compiler()
    arguments = [word for word in compiler if word.startswith("-")]
    # the name changes with everything that the compiled code depends on
    key = "\0".join([source, platform.machine(), *_FLAGS, *flags, *link, *arguments])
    if not cache_folder().is_dir():
        raise BuildError("there is no folder for compiled code")
    target = cache_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    # a library that someone else could have written is not loaded
    if is_own_file(target):
        return target
    try:
        _compile([*compiler, *_FLAGS, *flags], source, link, target)
    except OSError as error:
        raise BuildError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def _compile(command: Sequence[str], source: str, link: Sequence[str], target: Path) -> None:
    """Write the library, whole or not at all, whoever else is building it."""
    # a scratch folder of the same file system, from which the result is renamed
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        written, output = Path(scratch) / "source.c", Path(scratch) / "library.so"
        written.write_text(source)
        whole = [*command, str(written), *link, "-o", str(output)]
        try:
            done = subprocess.run(whole, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be run ({error.strerror})") from error
        if done.returncode or not output.exists():
            said = done.stderr.strip() or done.stdout.strip() or f"nothing (exit status {done.returncode})"
            raise BuildError(f"the C compiler {command[0]} said: {said.splitlines()[0].rstrip('.')}")
        output.chmod(0o700)
        with output.open("rb") as file:
            os.fsync(file.fileno())
        output.replace(target)
