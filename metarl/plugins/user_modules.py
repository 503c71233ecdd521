"""Separate namespaces for the modules beside users' files, one for each folder.

A module ``helpers`` beside ``/p/suite.py`` is imported as ``metarl.plugins.user_modules.<folder>.helpers``,
so another folder may hold one of the same name. Imports in such modules look beside the file first, as in a
script, also where the name is one of the standard library's; those in other code never do so first.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import json
import logging
import os
import pickle
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

import cloudpickle

from metarl.plugins.user_imports import files_imported, find_beside
from metarl.system.signals import deferred

__path__: list[str] = []  # makes this module a package; a finder below knows what is in it
FOLDERS = "METARL_USER_FOLDERS"
"""Environment variable with the folders in use, a JSON list for processes of environments."""

# Loggers of users' modules are named after them and must not take part in what metarl's own show.
logging.getLogger(__name__).setLevel(logging.WARNING)


@dataclass
class UserFolder:
    """Folder of users' files, as first imported."""

    path: str
    version: int = 0  # version; counts up with changes of read modules
    # sources that were read, by file: a worker that starts later runs the same code
    sources: dict[str, bytes] = field(default_factory=dict)
    failed: bool = False  # whether a failed file is to be reread

    @property
    def package(self) -> str:
        """Name that the folder's modules are imported under."""
        name = f"f{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        return f"{__name__}.{name}" + (f"v{self.version}" if self.version else "")

    def changed(self, files: Mapping[str, bytes]) -> bool:
        """Return whether a file has changed since reading."""
        return any(self.sources.get(name, content) != content for name, content in files.items())

    def holds(self, name: str) -> bool:
        """Return whether a module is this folder's."""
        return f"{self.package}.{name}" in sys.modules or find_beside(self.path, name) is not None


_folders: dict[str, UserFolder] = {}  # by package
_loading: list[UserFolder] = []  # the innermost last
_aliases: dict[str, UserFolder] = {}  # which folder's modules have bare names now, by first part


def register_envs() -> None:
    """Register the names of our environments with Gymnasium."""
    importlib.import_module("metarl.envs").register_envs()


def import_file(path: Path) -> ModuleType:
    """Import a user's file once, as a module.

    Its functions and classes travel to workers whole; the modules that it imports are imported there.
    """
    importlib.invalidate_caches()
    path = path.resolve()
    folder = _folder_of(path)
    found = find_beside(folder.path, path.stem)
    own_name = found is not None and found.origin == str(path)  # not so for envs.py beside envs/
    name = f"{folder.package}.{path.stem if own_name else path.stem.replace('.', '_') + '_file'}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path, loader=_UserLoader(name, str(path), folder))
    assert spec is not None and spec.loader is not None
    register_envs()  # the file's own "import metarl" comes too late, as metarl was imported before Gymnasium
    module = sys.modules[name] = module_from_spec(spec)
    try:
        with bare_names(module), deferred():
            spec.loader.exec_module(module)
    except BaseException:
        folder.failed = True
        del sys.modules[name]
        raise
    cloudpickle.register_pickle_by_value(module)
    return module


@contextmanager
def bare_names(module: ModuleType) -> Iterator[None]:
    """Make modules beside users' files importable by string, as entry points do."""
    _drop_aliases()
    _loading.append(_folders[str(module.__package__)])
    try:
        yield
    finally:
        _loading.pop()
        _drop_aliases()


def line_of(error: BaseException) -> str:
    """Return an error's line in users' modules, `` (helpers.py, line 3)``."""
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({Path(error.filename).name}, line {error.lineno})"
    trace = error.__traceback__
    while trace is not None and not isinstance(error, SyntaxError):
        if folder := _folder_in(trace.tb_frame.f_globals):
            file = os.path.relpath(trace.tb_frame.f_code.co_filename, folder.path)
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def place_of(error: BaseException) -> str:
    """Return an error's line in users' modules, or else the innermost one, `` (package.py, line 3)``."""
    place, frames = line_of(error), traceback.extract_tb(error.__traceback__)
    return place or "".join(f" ({Path(last.filename).name}, line {last.lineno})" for last in frames[-1:])


def as_written(text: str) -> str:
    """Write users' module names as their authors do."""
    return re.sub(rf"{re.escape(__name__)}\.f\w+\.", "", text)


def dumps(factory: object) -> bytes:
    """Pickle an object that uses modules beside users' files, for :func:`loads` elsewhere."""
    data: bytes = cloudpickle.dumps(factory)
    used = [folder for folder in _folders.values() if folder.package.encode() in data]
    return pickle.dumps((used, data))


def loads(pickled: bytes) -> object:
    """Load what :func:`dumps` pickled, with its modules as they were there."""
    folders, data = pickle.loads(pickled)
    for folder in folders:
        _add(folder)
    return cast("object", pickle.loads(data))


def _folder_of(path: Path) -> UserFolder:
    """Return a file's folder, renewed after changes."""
    files = files_imported(path)
    known = [folder for folder in _folders.values() if folder.path == str(path.parent)]
    folder = max(known, key=lambda each: each.version, default=None)
    if folder is None or folder.failed or folder.changed(files):
        folder = UserFolder(str(path.parent), 0 if folder is None else folder.version + 1)
        _add(folder)
    folder.sources |= files
    return folder


def _add(folder: UserFolder) -> None:
    """Make a folder's modules importable, also in processes started from now on."""
    if builtins.__import__ is not _import_beside:
        builtins.__import__ = _import_beside
    _folders[folder.package] = folder
    os.environ[FOLDERS] = json.dumps(sorted({*_inherited_folders(), folder.path}))
    importlib.import_module(folder.package)


def _inherited_folders() -> list[str]:
    return list(json.loads(os.environ.get(FOLDERS, "[]")))


def _folder_in(names: Mapping[str, object] | None) -> UserFolder | None:
    """Return the folder of a module's globals."""
    name = str((names or {}).get("__name__"))
    folder = name.removeprefix(f"{__name__}.").partition(".")[0]
    return _folders.get(f"{__name__}.{folder}")


_import = builtins.__import__


def _import_beside(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import as ``import`` does, but in a user's module take neighbours first."""
    folder = None if level else _folder_in(globals)
    top = name.partition(".")[0]
    if folder is None or not folder.holds(top):
        return _import(name, globals, locals, fromlist or (), level)
    found = _import(f"{folder.package}.{name}", globals, locals, fromlist or (), 0)
    return found if fromlist else sys.modules[f"{folder.package}.{top}"]


class _UserLoader(SourceFileLoader):
    """Loads the source first read, never cached code."""

    def __init__(self, name: str, path: str, folder: UserFolder) -> None:
        super().__init__(name, path)
        self._sources = folder.sources

    def get_code(self, fullname: str) -> CodeType:
        # compiled files that Python keeps go by time and size, and may be older than they look
        path = self.get_filename(fullname)
        if path not in self._sources:
            self._sources[path] = Path(path).read_bytes()
        return self.source_to_code(self._sources[path], path)


class _Finder(MetaPathFinder):
    """Finder of users' modules by full name, or below a bare one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith(f"{__name__}."):
            package, _, name = fullname.removeprefix(f"{__name__}.").partition(".")
            folder = _folder_named(f"{__name__}.{package}")
            return _spec(folder, fullname, path if name else None) if folder else None
        top, _, below = fullname.partition(".")
        if below and top in _aliases:
            return spec_from_loader(fullname, _Alias(f"{_aliases[top].package}.{fullname}"))
        return None


def _folder_named(package: str) -> UserFolder | None:
    """Return a package's folder, even a parent process's."""
    first, _, version = package.rpartition(".")[2].partition("v")
    for path in _inherited_folders() if package not in _folders else ():
        if UserFolder(path).package.endswith(f".{first}"):
            _add(UserFolder(path, int(version or 0)))
    return _folders.get(package)


def _spec(folder: UserFolder, name: str, places: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of a folder's module."""
    if places is None:
        package = ModuleSpec(name, None, is_package=True)
        package.submodule_search_locations = [folder.path]
        return package
    spec = PathFinder.find_spec(name, places)
    if spec is not None and isinstance(spec.loader, SourceFileLoader):
        spec.loader = _UserLoader(name, spec.loader.path, folder)
    return spec


class _Alias(Loader):
    """Loads a user's module under its bare name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # the module has run under its full name; importing the alias must not rename it
        module.__spec__ = self._spec


class _BareFinder(MetaPathFinder):
    """Finder of users' modules by string, where no others are."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if "." in fullname or not _folders:
            return None
        newest = {each.path: each for each in sorted(_folders.values(), key=lambda each: each.version)}
        holders = [each for each in _loading[-1:] or newest.values() if each.holds(fullname)]
        if len(holders) > 1:
            folders = " and ".join(each.path for each in holders)
            raise ImportError(f"{folders} both hold a module {fullname!r}; import it in the user's file.")
        if not holders:
            return None
        _aliases[fullname] = holders[0]
        return spec_from_loader(fullname, _Alias(f"{holders[0].package}.{fullname}"))


def _drop_aliases() -> None:
    """Remove all bare names, so that the next import looks again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _aliases]:
        del sys.modules[name]
    _aliases.clear()


sys.meta_path.insert(0, _Finder())
sys.meta_path.append(_BareFinder())
