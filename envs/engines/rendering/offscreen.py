"""Pictures of MuJoCo models, without a window."""

from __future__ import annotations

import atexit
import importlib
import threading
from typing import Protocol, TypeAlias

import mujoco
import numpy as np

from metarl.envs.engines.rendering.gl_backend import INSTALL, gl_backend
from metarl.errors import EngineError, MetarlError, unknown_name

Frame: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]  # [height, width, 3], red, green and blue

MAX_SIZE = 4096  # pixels along a side
_MAX_GEOMS = 2000


class _Context(Protocol):
    """MuJoCo's wrapper of an OpenGL context."""

    def make_current(self) -> None: ...
    def free(self) -> None: ...


class Offscreen:
    """Draws one model into memory; only the thread that made it may use it.

    The model's offscreen buffer grows to the size of the pictures, ``width`` and ``height`` pixels; a size
    that makes no sense raises ``MetarlError``. Without OpenGL, ``EngineError`` says what to install.
    """

    def __init__(self, model: mujoco.MjModel, *, width: int, height: int) -> None:
        if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
            raise MetarlError(
                f"Expected a picture of 1 to {MAX_SIZE} pixels along each side, got {width} x {height}."
            )
        # the model sets the size of the buffer that pictures are drawn into
        buffer = model.vis.global_
        buffer.offwidth, buffer.offheight = max(buffer.offwidth, width), max(buffer.offheight, height)
        self._model = model
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._camera, self._look = mujoco.MjvCamera(), mujoco.MjvOption()
        self._size = mujoco.MjrRect(0, 0, width, height)
        # the context must be current before anything of OpenGL is made
        self._gl = gl_context()
        self._gl.make_current()
        try:
            self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        except mujoco.FatalError as error:
            raise _no_gl(error) from error

    def frame(self, data: mujoco.MjData, camera: str) -> Frame:
        """Return a picture, ``[height, width, 3]``; the data's poses must belong to its state."""
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = camera_id(self._model, camera)
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)  # another one drew last
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._look, None, self._camera, everything, self._scene)
        mujoco.mjr_render(self._size, self._scene, self._drawing)
        picture = np.empty((self._size.height, self._size.width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, self._size, self._drawing)
        return np.ascontiguousarray(picture[::-1])  # OpenGL counts rows from below

    def close(self) -> None:
        """Free the graphics memory; repeated calls are allowed."""
        self._gl.make_current()  # names are freed in the context that is current, whosever it is
        self._drawing.free()


def camera_id(model: mujoco.MjModel, name: str) -> int:
    """Return the number of a camera; raise ``MetarlError`` if the model has none of this name."""
    names = [model.camera(index).name for index in range(model.ncam)]
    if name not in names:
        raise unknown_name("camera", name, names)
    return names.index(name)


_of_this_thread = threading.local()


def gl_context() -> _Context:
    """Return the OpenGL context of all this thread's drawings; raise ``EngineError`` if there is none."""
    context: _Context | None = getattr(_of_this_thread, "context", None)
    if context is None:
        context = _new_context()
        _of_this_thread.context = context
        atexit.register(context.free)  # before the handler with which MuJoCo ends EGL itself
    return context


def _new_context() -> _Context:
    try:
        context: _Context = importlib.import_module(f"mujoco.{gl_backend()}").GLContext(640, 480)
        context.make_current()
    except Exception as error:  # a driver may raise anything
        raise _no_gl(error) from error
    return context


def _no_gl(error: BaseException) -> EngineError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return EngineError(f"Nothing can be drawn through {gl_backend()} ({reason}): {INSTALL}.")
