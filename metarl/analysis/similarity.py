"""Similarity of two representations: shape and place.

Linear centered kernel alignment (CKA) compares the shape: it is 1 for representations that a rotation, a
reflection, a scaling of all units together or a shift turns into one another, and 0 where no linear function
of one says anything about the other. A shift, the effect of a change of biases, is measured by itself.
"""

from __future__ import annotations

import torch


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return two representations' similarity of shape, 0..1.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), section 3. For centered X and Y, ``[B, P]`` and
    ``[B, Q]`` of the same B observations (equation 4 with linear kernels, written with their features)::

        CKA = |Y' X|^2 / (|X' X| |Y' Y|)        in Frobenius norms

    Of representations that are constant, it is 1 if both are and 0 if one is.
    """
    x, y = (features.double() - features.double().mean(dim=0) for features in (one, other))
    scale = torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y)
    if scale == 0:
        return float((x == 0).all() and (y == 0).all())
    return min(1.0, float(torch.linalg.norm(y.T @ x).square() / scale))


def shift(before: torch.Tensor, after: torch.Tensor) -> float:
    """Return the mean's move in former spreads.

    That is the distance between both means over the root of the mean squared distance from the mean before,
    of representations ``[B, P]``; of one that was constant, 1 if it moved and 0 if not.
    """
    one, other = before.double(), after.double()
    distance = torch.linalg.norm(other.mean(dim=0) - one.mean(dim=0))
    spread = (one - one.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    return float(distance > 0) if spread == 0 else float(distance / spread)
