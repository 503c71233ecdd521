"""Running means and deviations, which scale inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from metarl.types import Params

LEAST_DEVIATION = 1e-4  # numbers that vary less are divided by this


class Scale(NamedTuple):
    """Shift and divisor of numbers; both ``[...]``."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __call__(self, values: torch.Tensor, limit: float = 10.0) -> torch.Tensor:
        """Return ``(values - mean) / deviation``, within ``limit`` of 0."""
        return ((values - self.mean) / self.deviation).clamp(-limit, limit)

    def at_least(self, deviation: float) -> Scale:
        """Return the scale with no divisor below ``deviation``."""
        return Scale(self.mean, self.deviation.clamp(min=deviation))


class Moments(NamedTuple):
    """Count, mean and mean squared deviation."""

    seen: torch.Tensor  # a float64 scalar
    mean: torch.Tensor  # [...] float64
    variance: torch.Tensor  # [...] float64

    @property
    def deviation(self) -> torch.Tensor:
        """Standard deviation, at least :data:`LEAST_DEVIATION`; 1 before anything was seen."""
        found = self.variance.sqrt().clamp(min=LEAST_DEVIATION)
        return torch.where(self.seen > 0, found, torch.ones_like(found)).float()

    @property
    def scale(self) -> Scale:
        """Mean and deviation in float32, applied often."""
        return Scale(self.mean.float(), self.deviation)


def no_moments(*shape: int, device: torch.device | None = None) -> Moments:
    """Return empty moments of numbers ``[*shape]``."""
    seen, mean = (torch.zeros(size, dtype=torch.float64, device=device) for size in ((), shape))
    return Moments(seen, mean, torch.zeros_like(mean))


def with_batch(moments: Moments, values: torch.Tensor) -> Moments:
    """Return moments of all that was seen before and of ``values``, ``[n, ...]``.

    Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm", equations 2.1.
    """
    if not len(values):
        return moments
    variance, mean = torch.var_mean(values.double(), dim=0, correction=0)
    seen = moments.seen + len(values)
    share, step = len(values) / seen, mean - moments.mean
    pooled = (1 - share) * moments.variance + share * variance + share * (1 - share) * step.square()
    return Moments(seen, moments.mean + share * step, pooled)


def live_rows(values: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
    """Return the values ``[M, K, S, ...]`` of live steps ``[M, K, S]``, in order, ``[n, ...]``."""
    # as nearly always all are live, and then nothing has to be picked out
    return values.flatten(0, live.ndim - 1) if bool(live.all()) else values[live]


def save_moments(scales: Mapping[str, Moments]) -> Params:
    """Return moments as ``scale.NAME.seen``, ``.mean`` and ``.variance``."""
    return {
        f"scale.{name}.{part}": value
        for name, moments in scales.items()
        for part, value in moments._asdict().items()
    }


def load_moments(params: Params, names: Iterable[str]) -> list[Moments]:
    """Return the named moments that :func:`save_moments` gave."""
    return [Moments(*(params[f"scale.{name}.{part}"] for part in Moments._fields)) for name in names]
