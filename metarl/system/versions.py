"""Versions of metarl and of the libraries that results depend on."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata

from metarl import __version__
from metarl.types import Json

_LIBRARIES = ("torch", "numpy", "gymnasium", "mujoco", "metaworld")


def library_versions() -> dict[str, Json]:
    """Return versions of metarl and its libraries."""
    return dict(_versions())


@functools.cache  # reading them takes as long as writing a checkpoint
def _versions() -> dict[str, Json]:
    versions: dict[str, Json] = {"metarl": __version__}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
