"""Sums of the files that a MuJoCo model is made of."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

_NAMED = re.compile(rb'\bfile\s*=\s*["\']([^"\']+)["\']')
_PICTURES = (".png", ".jpg", ".ktx")


def model_sum(path: str | Path, more: str = "") -> str:
    """Return the SHA-256 sum of an MJCF file and all that it includes, meshes too, pictures not.

    Args:
        path: the file; those that it names are looked for beside it, as MuJoCo does.
        more: whatever else the model depends on.
    """
    root, todo, known = Path(path).parent, [Path(path)], dict[Path, str]()
    while todo:
        file = todo.pop()
        if file in known or not file.is_file() or file.suffix in _PICTURES:
            continue
        known[file], named = _read(file)
        todo += [Path(os.path.normpath(root / name)) for name in named]
    return hashlib.sha256("".join([*sorted(known.values()), more]).encode()).hexdigest()


@cache  # Meta-World's 50 models share most of their files
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return a file's sum, and the files that it names."""
    content = path.read_bytes()
    named = _NAMED.findall(content) if path.suffix == ".xml" else []
    names = tuple(os.fsdecode(name).replace("\\", "/") for name in named)
    return hashlib.sha256(content).hexdigest(), names
