"""Sums of the files that a MuJoCo model is made of."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_ELEMENT = re.compile(rb"<(\w+)((?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>")
_ATTRIBUTE = re.compile(rb"(\w+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")


class _Element(NamedTuple):
    """An element of MJCF, and the file in which it stands."""

    place: Path
    tag: str
    attributes: dict[str, str]


def model_sum(path: str | Path, more: str = "") -> str:
    """Return the SHA-256 sum of an MJCF file and all that it includes, meshes too, textures not.

    Args:
        path: the file; those that it names are looked for where MuJoCo does.
        more: whatever else the model depends on.
    """
    sums = sorted(_sum(file) for file in _files(Path(path)) if file.is_file())
    return hashlib.sha256("".join([*sums, more]).encode()).hexdigest()


def _files(path: Path) -> set[Path]:
    """Return a model's file and those that MuJoCo reads with it, but for textures."""
    files = {path}
    elements = list(_elements(path, path.parent, files))
    folder, strips = _settings(elements)
    for place, tag, attributes in elements:
        name = attributes.get("file")
        if name is None or tag in ("include", "texture"):
            continue
        # a model within the model has includes and settings of its own
        if tag == "model":
            model = _found(path.parent / name, place.parent / name)
            files |= {model} if model in files else _files(model)
            continue
        name = Path(name).name if strips else name
        files.add(_found(path.parent / folder / name, place.parent / name))
    return files


def _elements(file: Path, root: Path, files: set[Path]) -> Iterator[_Element]:
    """Yield the elements of a file, those of its includes in their place, and add these to ``files``."""
    for tag, attributes in _read(file) if file.is_file() else ():
        yield _Element(file, tag, attributes)
        if tag != "include" or "file" not in attributes:
            continue
        name = attributes["file"]
        included = _found(root / name, file.parent / name)
        if included not in files:
            files.add(included)
            yield from _elements(included, root, files)


def _settings(elements: Iterable[_Element]) -> tuple[str, bool]:
    """Return the folder of meshes, and whether files go by their names alone: the last to say so counts."""
    folder, strips = "", False
    for _, tag, attributes in elements:
        if tag == "compiler":
            folder = attributes.get("meshdir", attributes.get("assetdir", folder))
            strips = attributes.get("strippath", "true" if strips else "") == "true"
    return folder, strips


def _found(first: Path, second: Path) -> Path:
    """Return the first place where MuJoCo looks for a file, or the second if there is none."""
    first, second = Path(os.path.normpath(first)), Path(os.path.normpath(second))
    return first if first.is_file() else second


@cache  # Meta-World's 50 models share most of their files
def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _read(path: Path) -> tuple[tuple[str, dict[str, str]], ...]:
    """Return the elements of an MJCF file that name files or say where they are."""
    # files in comments count, as in sums of older runs; settings in comments do not
    content = _COMMENT.sub(lambda comment: comment[0].replace(b"<compiler", b""), path.read_bytes())
    elements = [
        (tag.decode(), {key.decode(): os.fsdecode(one or two) for key, one, two in _ATTRIBUTE.findall(rest)})
        for tag, rest in _ELEMENT.findall(content)
        if b"file" in rest or tag == b"compiler"
    ]
    return tuple(
        (tag, {key: value.replace("\\", "/") for key, value in attributes.items()})
        for tag, attributes in elements
    )
