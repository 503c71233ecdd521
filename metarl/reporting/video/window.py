"""A window that shows pictures as they come; it needs a screen, and Python's Tk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from PIL import Image

from metarl.errors import MetarlError
from metarl.vector_env import Picture

try:
    import tkinter

    from PIL import ImageTk
except ImportError:  # Linux distributions package it apart from Python
    HAS_TK = False
else:
    HAS_TK = True

_INSTEAD = "leave --window out to get an MP4 file"


class Window:
    """A window with one picture.

    Args:
        title: of the window.
        on_close: called when a person closes it.

    Raises:
        MetarlError: if no window can be opened here.
    """

    def __init__(self, title: str, on_close: Callable[[], None]) -> None:
        if not HAS_TK:
            raise MetarlError(
                f"No window can be opened: Python's Tk is missing (apt install python3-tk), or {_INSTEAD}."
            )
        try:
            self._root = tkinter.Tk(className="metarl")
        except tkinter.TclError as error:
            screen = os.environ.get("DISPLAY") or "none is named by DISPLAY"
            raise MetarlError(
                f"No window can be opened: there is no screen ({screen}); {_INSTEAD}."
            ) from error
        self.closed = False
        self._on_close = on_close
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._photo: ImageTk.PhotoImage | None = None
        """Tk draws what Python still holds."""

    def show(self, picture: Picture) -> None:
        """Show a picture at once."""
        if self.closed:
            return
        self._photo = ImageTk.PhotoImage(Image.fromarray(picture), master=self._root)
        self._label.configure(image=self._photo)
        self._root.update()

    def repeat(self, frames: Sequence[Picture], frames_per_second: int) -> None:
        """Show a film over and over until the window is closed."""

        def frame(index: int) -> None:
            self.show(frames[index % len(frames)])
            if not self.closed:
                self._root.after(1000 // frames_per_second, frame, index + 1)

        if not self.closed:
            frame(0)
            self._root.mainloop()

    def close(self) -> None:
        """Close it; it may be called again."""
        if not self.closed:
            self.closed = True
            self._root.destroy()
            self._on_close()
