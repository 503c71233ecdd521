"""A window for pictures, by matplotlib's GUI toolkit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

from matplotlib import pyplot

from metarl.errors import MetarlError
from metarl.vector_env import Picture


class Window:
    """A window with one picture; ``on_close`` is called when a person closes it.

    Raises:
        MetarlError: if there is no screen or no GUI toolkit.
    """

    def __init__(self, title: str, on_close: Callable[[], None]) -> None:
        self.closed = False
        self._on_close = on_close
        self._figure = pyplot.figure(title)
        if self._figure.canvas.required_interactive_framework is None:
            pyplot.close(self._figure)
            raise MetarlError(
                "No window can be opened: there is no screen, or no GUI toolkit (apt install python3-tk); "
                "leave --window out to get an MP4 file."
            )
        self._figure.canvas.mpl_connect("close_event", lambda _: self.close())
        self._figure.show()

    def show(self, picture: Picture) -> None:
        """Show a picture at once."""
        if self.closed:
            return
        height, width = picture.shape[:2]
        self._figure.clear()
        self._figure.set_size_inches(width / self._figure.dpi, height / self._figure.dpi)
        self._figure.figimage(picture)
        self._figure.canvas.draw()
        self._figure.canvas.flush_events()

    def repeat(self, frames: Sequence[Picture], frames_per_second: int) -> None:
        """Repeat a film until the window closes."""
        for frame in cycle(frames):
            self.show(frame)
            if self.closed:
                return
            pyplot.pause(1 / frames_per_second)

    def close(self) -> None:
        """Close it; it may be called again."""
        if not self.closed:
            self.closed = True
            pyplot.close(self._figure)
            self._on_close()
