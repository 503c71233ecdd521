"""Users' Python files that a run depends on.

The file is run when it is needed, and found again by its absolute path. A run records the SHA-256 of the file
and of each module beside it that it imports, so that a change of any of them is noticed.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar, cast

from metarl.errors import MetarlError, unknown_name
from metarl.plugins.user_imports import files_imported
from metarl.plugins.user_modules import as_written, bare_names, import_file, line_of, place_of

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

EXAMPLES = {
    "suite": "my_file.py:my_distribution",
    "agent": "my_file.py:MyConfig",
    "environment": "my_robot.py:make_env",
    "workspace": "my_robot.py:is_inside",
}
NOUNS = {"suite": "distribution", "agent": "config", "environment": "environment", "workspace": "function"}


def is_place(name: str) -> bool:
    """Return whether a name points into a file."""
    return ".py:" in name or name.endswith(".py")


class Sums(NamedTuple):
    """Recorded contents of a file and of the modules beside it."""

    sha256: str  # of the file
    modules: tuple[str, ...]  # SHA-256 and path, from the file's folder on, of each imported neighbour


@dataclass(frozen=True)
class UserFile:
    """A name in a Python file."""

    path: Path
    name: str
    part: str  # kind of the thing named, one of :data:`EXAMPLES`

    @classmethod
    def at(cls, place: str, part: str) -> UserFile:
        """Return a place's file, found from any folder, or raise MetarlError."""
        path, _, name = place.rpartition(":")
        if not path or not name or not path.endswith(".py"):
            article = "an" if part in ("agent", "environment") else "a"
            raise MetarlError(f"Expected {article} {part} in a file as {EXAMPLES[part]}, got {place!r}.")
        try:
            return cls(Path(path).resolve(), name, part)
        except (OSError, RuntimeError) as error:  # the latter is Python 3.11's for links that go round
            raise MetarlError(f"The {part}'s file {path} cannot be found ({error}).") from error

    @property
    def place(self) -> str:
        """The file and the name."""
        return f"{self.path}:{self.name}"

    def sums(self) -> Sums:
        """Return SHA-256 sums of file and imports."""
        digests = self._digests()
        modules = tuple(f"{digest} {file}" for file, digest in digests.items() if file != self.path.name)
        return Sums(digests[self.path.name], modules)

    def tell_changes(self, recorded: Sums) -> None:
        """Log files that changed since the run's start."""
        now = self._digests()
        lines = [*([f"{recorded.sha256} {self.path.name}"] if recorded.sha256 else []), *recorded.modules]
        for digest, _, name in (line.partition(" ") for line in lines):
            if now.get(name) != digest:
                logger.warning("%s has changed since this run was started.", self.path.parent / name)

    def find(self, use: Callable[[object], ResultT]) -> ResultT:
        """Run the file; ``use`` the named object."""
        self._digests()  # says which file cannot be read
        try:
            module = import_file(self.path)
        except (Exception, SystemExit) as error:  # a program ends itself when it is run
            raise at_fault(error, f"The {self.part}'s file {self.path} does not run") from error
        with bare_names(module):
            if not hasattr(module, self.name):
                known = own_names(module, self.path.read_bytes())
                raise unknown_name(f"{NOUNS[self.part]} in {self.path}", self.name, known)
            return use(cast("object", getattr(module, self.name)))

    def _digests(self) -> Mapping[str, str]:
        """Return SHA-256 by path below the file's folder."""
        try:
            files = files_imported(self.path)
        except OSError as error:
            file = f"The {self.part}'s file {error.filename or self.path}"
            if isinstance(error, FileNotFoundError):
                raise MetarlError(
                    f"{file} is not there; check its name, or put a run's file back where it was."
                ) from error
            raise MetarlError(f"{file} cannot be read ({error.strerror}).") from error
        texts = {os.path.relpath(file, self.path.parent): text for file, text in files.items()}
        return {file: hashlib.sha256(texts[file]).hexdigest() for file in sorted(texts)}


def own_names(module: ModuleType, source: bytes) -> list[str]:
    """Return a module's own public names."""
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom))
    imported = {(each.asname or each.name).partition(".")[0] for node in imports for each in node.names}
    return [name for name in vars(module) if not name.startswith("_") and name not in imported]


def require_parts(found: object, protocol: type, expected: str, where: str, mend: str) -> None:
    """Check an object against its protocol; MetarlError names the first missing part."""
    parts = [name for name in vars(protocol) if not name.startswith("_")]
    missing = [name for name in parts if not hasattr(found, name)]
    if missing:
        raise MetarlError(
            f"Expected {where} to be {expected}, but it is of type {type(found).__name__}, which has no "
            f"{missing[0]}; {mend}."
        )


def at_fault(error: BaseException, sentence: str) -> MetarlError:
    """Describe an exception of others' code, and its line, in a sentence."""
    if isinstance(error, MetarlError):
        return MetarlError(f"{described(error)}.") if line_of(error) else error
    return MetarlError(f"{sentence}: {described(error)}.{about_opengl(error)}")


def described(error: BaseException) -> str:
    """Return an exception's kind, text and line, without a full stop."""
    if isinstance(error, MetarlError):  # says by itself what is wrong, whichever line of ours found it
        return str(error).rstrip(".") + line_of(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    said = " ".join(f"{type(error).__name__}: {as_written(text)}".split())
    return said.rstrip(" .:") + place_of(error)


def about_opengl(error: BaseException) -> str:
    """Say which OpenGL library MuJoCo, which needs one at import, may miss."""
    places = " ".join(frame.filename for frame in traceback.extract_tb(error.__traceback__))
    if not re.search("OpenGL|MUJOCO_GL|mujoco/(egl|osmesa|gl_context)", f"{places} {error}"):
        return ""
    if "environment variable MUJOCO_GL" in str(error):
        return " Set MUJOCO_GL to egl, osmesa or glfw, or unset it."
    if "PYOPENGL_PLATFORM" in str(error):
        return " Unset PYOPENGL_PLATFORM."
    library = os.environ.get("MUJOCO_GL", "").lower()
    packages = {"osmesa": "libosmesa6", "egl": "libegl1 libgl1-mesa-dri"}
    if library in packages:
        return f" MUJOCO_GL={library} needs a library that may be missing (apt install {packages[library]})."
    return " On a machine without a screen set MUJOCO_GL=egl."
