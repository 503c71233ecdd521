"""Linear feature baseline, fitted for all tasks by one solve (Duan et al. 2016, arXiv 1604.06778)."""

from __future__ import annotations

import torch

from metarl.errors import require
from metarl.types import Rollout

OBSERVATION_LIMIT = 10.0
TIME_SCALE = 100.0
ENOUGH_TRANSITIONS = 2.0
"""Live transitions per feature that a fit needs; with fewer it takes much of the signal away."""


def linear_features(observations: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return each step's features, ``[..., 2 O + 4]`` in float64.

    They are ``o, o^2, t/100, (t/100)^2, (t/100)^3, 1``.

    Args:
        observations: ``[..., O]``; entries are clipped to ±10.
        steps: ``[...]``, how many steps the episode had taken; broadcasts.
    """
    clipped = observations.clamp(-OBSERVATION_LIMIT, OBSERVATION_LIMIT).double()
    time = steps.double().unsqueeze(-1) / TIME_SCALE
    powers = torch.cat([time, time**2, time**3, torch.ones_like(time)], dim=-1)
    return torch.cat([clipped, clipped.square(), powers.expand(*clipped.shape[:-1], -1)], dim=-1)


def num_linear_features(observation_size: int) -> int:
    """Return how many :func:`linear_features` O numbers have."""
    return 2 * observation_size + 4


def fit_linear(
    features: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, *, ridge: float = 1e-5
) -> torch.Tensor:
    """Solve each task's ridge regression in float64; return weights ``[M, F]``.

    ``(X'X + ridge I) w = X'y``. On data so singular that the factorisation fails, that task's ridge is
    raised tenfold until it succeeds, so that the weights are always finite.

    Args:
        features: ``[M, K, T, F]``.
        targets: ``[M, K, T]``.
        mask: ``[M, K, T]`` bool; masked steps do not count.
        ridge: added to the diagonal.

    Raises:
        MetarlError: if a feature or a target is not finite, or the ridge is not positive.
    """
    require(ridge > 0, "ridge must be positive", ridge)
    live = features if mask.all() else torch.where(mask.unsqueeze(-1), features, 0.0)
    rows = live.flatten(1, 2)
    transposed = rows.transpose(1, 2)
    # X'X and X'y of each task
    gram = transposed @ rows
    moments = transposed @ torch.where(mask, targets, 0.0).to(rows.dtype).flatten(1).unsqueeze(-1)
    finite = bool(gram.isfinite().all() & moments.isfinite().all())
    require(finite, "The features and targets of a baseline must be finite numbers", "not so for every step")
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    ridges = torch.full((gram.shape[0], 1, 1), ridge, dtype=gram.dtype, device=gram.device)
    while True:
        # only tasks with a failed factorisation get a larger ridge
        factor, failed = torch.linalg.cholesky_ex(gram + ridges * identity)
        if not failed.any():
            return torch.cholesky_solve(moments, factor).squeeze(-1)
        ridges = torch.where(failed.reshape(-1, 1, 1) > 0, 10 * ridges, ridges)


def constant_reward_values(returns: torch.Tensor, mask: torch.Tensor, discount: float) -> torch.Tensor:
    """Return the values that equal rewards, or equal returns, explain.

    Least squares on two columns, without a ridge: 1, and ``sum over j < n of discount^j`` where n steps are
    left to the longest episode. The ridge of :func:`fit_linear` would keep back some of them, and no cubic
    of the time follows a discounted sum over many steps.

    Args:
        returns: ``[M, K, T]`` in float64.
        mask: ``[M, K, T]`` bool.
        discount: per step, in 0..1.

    Returns:
        ``[M, T + 1]``, the same for all episodes of a task; the last entry is of what follows step T.
    """
    steps = torch.arange(mask.shape[-1] + 1, device=mask.device)
    sums = torch.cat([returns.new_zeros(1), discount ** steps[:-1].to(returns.dtype)]).cumsum(dim=0)
    longest = mask.sum(dim=-1).amax(dim=-1, keepdim=True)
    profile = sums[(longest - steps).clamp(min=0)].unsqueeze(1)  # [M, 1, T + 1]
    column, count = profile[..., :-1].expand(mask.shape), mask.sum(dim=(1, 2), keepdim=True)
    mean = torch.where(mask, returns, 0.0).sum(dim=(1, 2), keepdim=True) / count
    middle = torch.where(mask, column, 0.0).sum(dim=(1, 2), keepdim=True) / count
    varying = torch.where(mask, column - middle, 0.0)
    # without variation, as with one step, what is left of it is rounding, and the second term decides
    squares = varying.square().sum(dim=(1, 2), keepdim=True) + 1e-20 * count * middle.square()
    slope = (varying * torch.where(mask, returns - mean, 0.0)).sum(dim=(1, 2), keepdim=True) / squares
    return (mean + slope * (profile - middle)).squeeze(1)


def transitions_per_feature(rollout: Rollout) -> float:
    """Return live transitions per baseline feature, of the task that has fewest.

    Below :data:`ENOUGH_TRANSITIONS` the fit follows single returns and takes much of the signal away.
    """
    features = num_linear_features(rollout.observations.shape[-1])
    return int(rollout.mask.sum(dim=(1, 2)).min()) / features


def predict_linear(weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Return values by weights ``[M, F]`` and features ``[M, ..., F]``."""
    return torch.bmm(features.flatten(1, -2), weights.unsqueeze(-1)).view(features.shape[:-1])
