"""A suite without a package: a distribution in a Python file, ``my_file.py:my_distribution``.

What the name stands for may be a distribution, a suite's config, or a function without arguments that returns
one of them; the same goes for what a package declares in the entry-point group ``metarl.suites``.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, ClassVar, cast

import tyro

from metarl.config import SuiteConfig
from metarl.errors import MetarlError, unknown_name
from metarl.plugins.suite_imports import files_imported
from metarl.plugins.suite_modules import as_written, bare_names, import_file, line_of
from metarl.tasks import TaskDistribution

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FileSuiteConfig(SuiteConfig):
    """A distribution in a Python file of yours: metarl train --suite my_file.py:my_distribution."""

    kind: ClassVar[str] = "file"

    place: str = ""
    """Path of the file, a colon, and the distribution's name in it."""
    sha256: Annotated[str, tyro.conf.Suppress] = ""
    """Of the file when the run was started; a change of it is told."""
    modules: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """SHA-256 and path, from the file's folder on, of each module beside it that it imports, likewise."""

    @property
    def label(self) -> str:
        """The distribution's name in its file."""
        return self.place.rpartition(":")[2]

    def build(self) -> TaskDistribution:
        """Run the file and return its distribution.

        Raises:
            MetarlError: if the file is gone, does not run, or holds no such distribution.
        """
        path, name = _split(self.place)
        for changed in self._changed(path):
            logger.warning("%s has changed since this run was started.", changed)
        module = _load(path)
        with bare_names(module):
            return distribution_of(_attribute(module, path, name), f"{name!r} of {path}")

    def _changed(self, path: Path) -> list[Path]:
        """Return the files that are not as they were when the run was started."""
        now = _digests(path)
        before = {path.name: self.sha256} if self.sha256 else {}
        for line in self.modules:
            digest, _, name = line.partition(" ")
            before[name] = digest
        return [path.parent / name for name, digest in before.items() if now.get(name) != digest]


def is_place(name: str) -> bool:
    """Return whether a name is meant to be one in a file."""
    return ".py:" in name or name.endswith(".py")


def file_suite(place: str) -> FileSuiteConfig:
    """Return the config of a suite in a file, found again from any folder.

    Raises:
        MetarlError: if there is no such file, or no name is given.
    """
    path, name = _split(place)
    path = path.resolve()
    digests = _digests(path)
    modules = tuple(f"{digest} {file}" for file, digest in digests.items() if file != path.name)
    return FileSuiteConfig(place=f"{path}:{name}", sha256=digests[path.name], modules=modules)


def distribution_of(found: object, where: str) -> TaskDistribution:
    """Return the distribution that something stands for.

    Raises:
        MetarlError: if it stands for none.
    """
    if inspect.isfunction(found) or (inspect.isclass(found) and not hasattr(found, "make_vector_env")):
        found = _call(found, where)
    if isinstance(found, SuiteConfig):
        found = _call(found.build, where)
    missing = [name for name in _PARTS if not hasattr(found, name)]
    if missing:
        raise MetarlError(
            f"A task distribution was wanted, but {where} is of type {type(found).__name__}, "
            f"which has no {missing[0]}; metarl.envs.from_gymnasium makes one."
        )
    return cast("TaskDistribution", found)


_PARTS = (
    *("name", "observation_space", "action_space", "horizon", "reports_success"),
    *("tasks", "sample", "make_vector_env"),
)


def _call(make: object, where: str) -> object:
    assert callable(make)
    try:
        return cast("object", make())
    except MetarlError as error:
        raise _located(error) from error
    except (Exception, SystemExit) as error:
        raise MetarlError(f"{where} fails when it is called: {_told(error)}{about_opengl(error)}") from error


def _split(place: str) -> tuple[Path, str]:
    path, _, name = place.rpartition(":")
    if not path or not name or not path.endswith(".py"):
        raise MetarlError(f"Expected a suite in a file as my_file.py:my_distribution, got {place!r}.")
    return Path(path), name


def _digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file and of what it imports from its folder, by path from there on."""
    try:
        files = files_imported(path)
    except OSError as error:
        raise MetarlError(
            f"The suite's file {error.filename or path} cannot be read ({error.strerror}); "
            "it must be where it was."
        ) from error
    digests = {os.path.relpath(file, path.parent): hashlib.sha256(text) for file, text in files.items()}
    return {file: digests[file].hexdigest() for file in sorted(digests)}


def _load(path: Path) -> ModuleType:
    """Run a file; what it imports is looked for in its folder first, as from a script there."""
    try:
        return import_file(path)
    except (Exception, SystemExit) as error:  # a program ends itself when it is run
        raise (
            _located(error)
            if isinstance(error, MetarlError)
            else MetarlError(f"The suite's file {path} does not run: {_told(error)}{about_opengl(error)}")
        ) from error


def _attribute(module: ModuleType, path: Path, name: str) -> object:
    if not hasattr(module, name):
        known = [each for each in vars(module) if not each.startswith("_")]
        raise unknown_name(f"distribution in {path}", name, known)
    return cast("object", getattr(module, name))


def about_opengl(error: BaseException) -> str:
    """Say what MuJoCo may miss, which looks for a library to draw with as soon as it is imported."""
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


def _located(error: MetarlError) -> MetarlError:
    """Return an error with the place in the suite's modules where it arose, if it arose in one."""
    place = line_of(error)
    return MetarlError(f"{str(error).rstrip('.')}{place}.") if place else error


def _told(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    sentence = " ".join(f"{type(error).__name__}: {as_written(text)}".split())
    return f"{sentence.rstrip(' .:')}{line_of(error)}."
