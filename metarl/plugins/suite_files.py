"""Suites in Python files, ``my_file.py:my_distribution``, without a package.

The name stands for a distribution, a suite's config, or a function without arguments that returns
one of them; the same goes for what a package declares in the entry-point group ``metarl.suites``.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import tyro

from metarl.config import SuiteConfig
from metarl.plugins.user_files import Sums, UserFile, at_fault, require_parts
from metarl.tasks import TaskDistribution


@dataclass(frozen=True, kw_only=True)
class FileSuiteConfig(SuiteConfig):
    """A distribution in a Python file of yours: metarl train --suite my_file.py:my_distribution."""

    kind: ClassVar[str] = "file"

    place: str = ""
    """Path of the file, a colon, and the distribution's name in it."""
    sha256: Annotated[str, tyro.conf.Suppress] = ""
    """Of the file when the run was started; a change of it is logged."""
    modules: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """SHA-256 and path, from the file's folder on, of each module beside it that it imports, likewise."""

    @property
    def label(self) -> str:
        """The distribution's name in its file."""
        return self.place.rpartition(":")[2]

    def build(self) -> TaskDistribution:
        """Run the file and return its distribution; MetarlError if there is none."""
        file = UserFile.at(self.place, "suite")
        file.tell_changes(Sums(self.sha256, self.modules))
        return file.find(lambda found: distribution_of(found, f"{file.name!r} of {file.path}"))


def file_suite(place: str) -> FileSuiteConfig:
    """Return the config of a suite in a file, or raise MetarlError."""
    file = UserFile.at(place, "suite")
    return FileSuiteConfig(place=file.place, **file.sums()._asdict())


def distribution_of(found: object, where: str) -> TaskDistribution:
    """Return the distribution that something stands for, or raise MetarlError."""
    if inspect.isfunction(found) or (inspect.isclass(found) and not hasattr(found, "make_vector_env")):
        found = _call(found, where)
    if isinstance(found, SuiteConfig):
        found = _call(found.build, where)
    mend = "metarl.envs.from_gymnasium makes one"
    require_parts(found, TaskDistribution, "a task distribution", where, mend)
    return cast("TaskDistribution", found)


def _call(make: object, where: str) -> object:
    assert callable(make)
    try:
        return cast("object", make())
    except (Exception, SystemExit) as error:
        raise at_fault(error, f"{where} fails when it is called") from error
