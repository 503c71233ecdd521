"""Linear centered kernel alignment: how alike two representations of the same observations are.

Source: Kornblith et al. 2019 (arXiv 1905.00414), section 3. It is 1 for representations that a rotation, a
reflection, a shift or a scaling of all units together turns into one another, and 0 for those of which no
linear function of one says anything about the other.
"""

from __future__ import annotations

import torch


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the similarity of two representations, in 0..1.

    For centered X and Y (equation 4 with linear kernels, written with their features)::

        CKA = |Y' X|^2 / (|X' X| |Y' Y|)        in Frobenius norms

    Args:
        one: ``[B, P]``, P units for each of B observations.
        other: ``[B, Q]``, for the same observations.

    Returns:
        The similarity; of representations that are constant, 1 if both are and 0 if one is.
    """
    x, y = (features.double() - features.double().mean(dim=0) for features in (one, other))
    scale = torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y)
    if scale == 0:
        return float((x == 0).all() and (y == 0).all())
    return min(1.0, float(torch.linalg.norm(y.T @ x).square() / scale))
