"""The choice of OpenGL backend for pictures.

The environment variable ``MUJOCO_GL`` decides (``egl``, ``osmesa``, ``glfw``); without it the screen where
there is one, and else whichever library is there for machines that have none.
"""

from __future__ import annotations

import ctypes.util
import functools
import os
import sys

INSTALL = (
    "without a screen, install an OpenGL that needs none (Debian and Ubuntu: "
    "`apt install libegl1 libgl1-mesa-dri`) and unset MUJOCO_GL or set it to egl"
)


@functools.cache
def gl_backend() -> str:
    """Return MuJoCo's module for OpenGL contexts."""
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named in ("egl", "osmesa", "glfw"):
        return named
    if sys.platform == "darwin":
        return "cgl"
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return "glfw"
    has_only_mesa = ctypes.util.find_library("EGL") is None and ctypes.util.find_library("OSMesa")
    return "osmesa" if has_only_mesa else "egl"


def choose_backend() -> None:
    """Let new renderers draw without a screen, where there is none.

    Gymnasium's look at the variable, and else try to open a window first.
    """
    if gl_backend() in ("egl", "osmesa"):
        os.environ.setdefault("MUJOCO_GL", gl_backend())
