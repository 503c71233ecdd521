"""Figures that stay blank in tests of what is around them: drawing two takes half of a tiny run's time."""

from __future__ import annotations

import io

import pytest
from matplotlib.figure import Figure
from PIL import Image

from metarl.reporting import evaluation_files

_SAVE = Figure.savefig
_CURVES = {name: getattr(evaluation_files, name) for name in ("draw_learning_curve", "draw_adaptation_curve")}


def leave_blank(patch: pytest.MonkeyPatch) -> None:
    """Draw nothing on the figures of a run and its evaluations, and save every figure blank."""
    patch.setattr(Figure, "savefig", save_blank)
    for name in _CURVES:
        patch.setattr(evaluation_files, name, lambda *_, **__: Figure())


def draw(patch: pytest.MonkeyPatch) -> None:
    """Draw and save them as users get them."""
    patch.setattr(Figure, "savefig", _SAVE)
    for name, curve in _CURVES.items():
        patch.setattr(evaluation_files, name, curve)


def save_blank(figure: Figure, file: io.BytesIO, *, format: str, **options: object) -> None:
    """Stand for ``Figure.savefig``: a PNG has its size and nothing drawn, other formats are drawn."""
    if format == "png":
        Image.new("L", tuple(map(int, figure.get_size_inches() * figure.dpi))).save(file, "png")
    else:
        _SAVE(figure, file, format=format, **options)
