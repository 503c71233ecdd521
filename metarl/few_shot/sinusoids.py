"""Sinusoid regression, MAML's first experiment.

Finn et al. 2017, arXiv 1703.03400, section 5.1:

y = amplitude sin(x - phase),  amplitude in 0.1..5, phase in 0..pi, x in -5..5, all uniform
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from metarl.few_shot.tasks import Task

_CHUNK = 100  # tasks drawn at once


def sinusoids(generator: torch.Generator, *, shots: int, queries: int) -> Iterator[Task]:
    """Yield tasks of ``shots`` and ``queries`` points, endlessly."""
    while True:
        amplitude = 0.1 + 4.9 * torch.rand(_CHUNK, 1, 1, generator=generator)
        phase = math.pi * torch.rand(_CHUNK, 1, 1, generator=generator)
        x = 10 * torch.rand(_CHUNK, shots + queries, 1, generator=generator) - 5
        y = amplitude * torch.sin(x - phase)
        for one_x, one_y in zip(x, y, strict=True):
            yield Task((one_x[:shots], one_y[:shots]), (one_x[shots:], one_y[shots:]))
