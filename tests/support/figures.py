"""Figures that stay blank in tests of what is around them: drawing two takes half of a tiny run's time."""

from __future__ import annotations

import io

from matplotlib.figure import Figure
from PIL import Image

SAVE = Figure.savefig


def save_blank(figure: Figure, file: io.BytesIO, *, format: str, **options: object) -> None:
    """Stand for ``Figure.savefig``: a PNG has its size and nothing drawn, other formats are drawn."""
    if format == "png":
        Image.new("L", tuple(map(int, figure.get_size_inches() * figure.dpi))).save(file, "png")
    else:
        SAVE(figure, file, format=format, **options)
