"""Entry points, described without importing their packages.

Nothing heavy is imported here, so that ``metarl --help`` and ``metarl list`` answer at once.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast

from metarl.errors import MetarlError, unknown_name
from metarl.system.signals import deferred

SUITES, AGENTS, PRESETS, COMMANDS = "metarl.suites", "metarl.agents", "metarl.presets", "metarl.commands"
LOGGERS = "metarl.loggers"
KINDS = {SUITES: "suite", AGENTS: "agent", PRESETS: "preset", COMMANDS: "command", LOGGERS: "logger"}


def names(group: str) -> list[str]:
    """Return the names that a group offers, sorted."""
    return sorted(_entries(group))


def load(group: str, name: str) -> object:
    """Return a name's object, or raise MetarlError."""
    entry = find(group, name)
    try:
        with deferred():
            found = cast("object", entry.load())
    except (Exception, SystemExit) as error:  # whatever a stranger's package does when it is imported
        from metarl.plugins.user_files import about_opengl  # noqa: PLC0415  # start-up time

        plain = isinstance(error, ImportError | AttributeError | MetarlError)
        reason = str(error) if plain else f"{type(error).__name__}: {error}"
        reason = f"{' '.join(reason.split()).rstrip('.')}.{about_opengl(error)}"
        raise MetarlError(f"The {KINDS[group]} {name!r} ({entry.value}) does not load: {reason}") from error
    if group in (PRESETS, COMMANDS, LOGGERS) and not callable(found):
        kind = type(found).__name__
        raise MetarlError(
            f"Expected the {KINDS[group]} {name!r} ({entry.value}) to be a function, got {kind}."
        )
    return found


def find(group: str, name: str) -> EntryPoint:
    """Find a name's entry point unloaded; MetarlError if there is none, or another package has it too."""
    entries = _entries(group)
    if name not in entries:
        raise unknown_name(KINDS[group], name, entries)
    offers = {each.value: each for each in _read_all(group) if each.name == name}
    if len(offers) > 1:
        packages = [each.dist.name if each.dist else each.value for each in offers.values()]
        raise MetarlError(
            f"Expected one package with the {KINDS[group]} {name!r}, got {' and '.join(packages)}; "
            "uninstall one of them, or rename what it offers."
        )
    return entries[name]


def describe(group: str, name: str) -> str:
    """Describe a name by its source or error.

    The first line of its docstring is read from the source; what is not found there is imported.
    """
    try:
        about = _read(find(group, name))
        if about is None or (group == AGENTS and not about.source):
            found = load(group, name)
            about = About((found.__doc__ or "").strip().partition("\n")[0], getattr(found, "source", ""))
    except MetarlError as error:
        return str(error)
    return about.line + (f" {about.source}." if about.source else "")


class About(NamedTuple):
    """Docstring and source, read without importing."""

    line: str  # the first line of its docstring
    source: str  # attribute ``source``: the publication of an algorithm; may be empty


@functools.cache  # reading them takes as long as all else that a tiny command does
def _read_all(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


@functools.cache
def _entries(group: str) -> MappingProxyType[str, EntryPoint]:
    # read-only, as whoever asks next gets the same object
    return MappingProxyType({entry.name: entry for entry in _read_all(group)})


def _read(entry: EntryPoint) -> About | None:
    """Read an entry's source, without running it."""
    path = _source_file(tuple(entry.module.split(".")))
    for node in _parse(path).body if path is not None else ():
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == entry.attr:
            documented = ast.get_docstring(node) or ""
            return About(documented.partition("\n")[0], _source_attribute(node))
    return None


@functools.cache
def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


@functools.cache
def _source_file(parts: tuple[str, ...]) -> Path | None:
    """Find a module's file without importing its packages."""
    try:
        spec = importlib.util.find_spec(parts[0])
        for depth in range(2, len(parts) + 1):
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(".".join(parts[:depth]), list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _source_attribute(node: ast.ClassDef | ast.FunctionDef) -> str:
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id="source"), value=ast.Constant(value=str(text))):
                return text
    return ""
