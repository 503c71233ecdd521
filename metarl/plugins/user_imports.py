"""Modules that a user's file imports, read unrun."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_ENTRY_POINT = re.compile(r"[A-Za-z_][\w.]*:[\w.-]+")
"""Classes named by module, as ``gymnasium.register`` takes them."""


def find_beside(folder: str, name: str) -> ModuleSpec | None:
    """Return where a folder's module ``a`` or ``a.b`` is, if anywhere.

    A folder without ``__init__.py`` counts only where no package has its name, as in Python.
    """
    if name.partition(".")[0] in ("metarl", *sys.builtin_module_names):
        return None
    places: Sequence[str] | None = [folder]
    spec = None
    for depth, part in enumerate(name.split(".")):
        spec = PathFinder.find_spec(part, places) if places else None
        if spec is None or (depth == 0 and spec.origin is None and _is_package(part)):
            return None
        places = spec.submodule_search_locations
    return spec


def _is_package(name: str) -> bool:
    spec = PathFinder.find_spec(name)
    return spec is not None and spec.origin is not None


def files_imported(path: Path) -> dict[str, bytes]:
    """Return contents of a file and of neighbours it may import."""
    folder = str(path.parent)
    files: dict[str, bytes] = {}
    pending = [(str(path), "")]
    while pending:
        file, package = pending.pop()
        if file not in files:
            files[file] = Path(file).read_bytes()
            for name in sorted(imported_names(files[file], package)):
                pending += _files_of(folder, name)
    return files


def _files_of(folder: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield files and packages of a module, its packages, or ``a.*``."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        if parts[end - 1] == "*":
            yield from _files_in(folder, ".".join(parts[: end - 1]))
            return
        spec = find_beside(folder, name)
        if spec is None:
            return
        if spec.origin and Path(spec.origin).is_file():
            is_package = spec.submodule_search_locations is not None
            yield spec.origin, name if is_package else name.rpartition(".")[0]


def _files_in(folder: str, package: str) -> Iterator[tuple[str, str]]:
    spec = find_beside(folder, package) if package else None
    inside = spec.submodule_search_locations if spec else None
    for place in (inside or ()) if package else (folder,):
        yield from ((str(file), package) for file in Path(place).glob("*.py"))


def imported_names(source: bytes, package: str) -> set[str]:
    """Return modules that a source may import, ``a.*`` for any in ``a``."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # reported when the module is run
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                base = _joined(_above(package, node.level), node.module or "")
                names |= {base, *(_joined(base, alias.name) for alias in node.names)}
            case ast.Call(args=[first, *_]) if _imports(node.func):
                names.add(_absolute(_pattern(first), package))
            case ast.Constant(str(text)) if _ENTRY_POINT.fullmatch(text):
                names.add(text.partition(":")[0])
    return names - {""}


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _above(package: str, level: int) -> str:
    """Return the package of ``level`` leading dots."""
    parts = package.split(".")
    return ".".join(parts[: len(parts) - level + 1]) if level else ""


def _absolute(name: str, package: str) -> str:
    bare = name.lstrip(".")
    return _joined(_above(package, len(name) - len(bare)), bare)


def _imports(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _pattern(argument: ast.expr) -> str:
    """Return the name that such a call imports, as ``tasks.*`` if open."""
    first = argument
    while isinstance(first, ast.BinOp | ast.JoinedStr):
        first = first.left if isinstance(first, ast.BinOp) else next(iter(first.values), ast.Constant(""))
    known = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
    if first is argument and known:
        return known
    base, dot, _ = known.rpartition(".")
    return f"{base}{dot}*"
