"""Losses with policy gradients as derivatives, of log densities of any distribution.

Each maps ``log pi(a|s)``, ``[M, B]``, to each task's loss, ``[M]``. At the policy that drew the actions all
have the gradient of :func:`metarl.learning.adaptation.policy_gradient_loss`, ``-mean_t A_t grad log pi``.
They differ in what is left when an inner step is differentiated once more; with ``s_t = grad log
pi(a_t|s_t)`` and ``H_t`` its Hessian, the second derivative is minus the mean over t of

    policy gradient   A_t H_t                                           as MAML's programs do
    LVC, ratio        A_t (H_t + s_t s_t')
    DiCE              A_t (H_t + s_t s_t' + sum over u < t of (s_u s_t' + s_t s_u'))

of which DiCE's alone is the Hessian of the expected return, on average.
"""

from __future__ import annotations

import torch

from metarl.learning.advantages import Batch


def live_ratio(log_probs: torch.Tensor, old_log_probs: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
    """Return ``pi / pi_old`` where ``live``, and one elsewhere.

    Past an episode's end a density is of zeros, and may be too large for float32: infinity times a weight of
    zero is no number.
    """
    return torch.exp((log_probs - old_log_probs).where(live, 0.0))


def likelihood_ratio(log_probs: torch.Tensor, old_log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return losses ``-mean_t A_t pi(a_t|s_t) / pi_old(a_t|s_t)``.

    Source: Rothfuss et al. 2019, ProMP (arXiv 1810.06784), section 6, the inner objective.
    """
    ratio = live_ratio(log_probs, old_log_probs, batch.weights > 0)
    return -(batch.weights * batch.advantages * ratio).sum(dim=1)


def low_variance_curvature(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the loss of the ratio to the policy itself, held fixed.

    It is one in value, not in its derivatives (Rothfuss et al. 2019, arXiv 1810.06784, section 5).
    """
    return likelihood_ratio(log_probs, log_probs.detach(), batch)


def dice(log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return each task's infinitely differentiable loss, with advantages.

    Foerster et al. 2018 (arXiv 1802.05098) give ``sum_t box_t r_t`` with ``box_t = exp(l_t - stop(l_t))`` and
    ``l_t = sum over u <= t of log pi(a_u|s_u)``. With advantages (Farquhar et al. 2019, arXiv 1909.10549):

        L = -mean_t (box_t - box_{t-1}) A_t

    which for ``A_t = r_t + r_{t+1} + ...`` is the same, up to a constant and over the number of steps.
    ``log_probs`` are ``[M, B]``; none of the batch's transitions may be left out.
    """
    assert batch.horizon > 0, "a thinned batch does not say which episode a transition is of"
    own = (log_probs - log_probs.detach()).unflatten(1, (-1, batch.horizon))
    upto = own.cumsum(dim=-1)
    gained = torch.exp(upto) - torch.exp(upto - own)
    return -(batch.weights * batch.advantages * gained.flatten(1)).sum(dim=1)


def clipped_ratio(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, batch: Batch, *, clip: float
) -> torch.Tensor:
    """Return each task's loss ``-mean_t min(r_t A_t, clip(r_t, 1 - clip, 1 + clip) A_t)``.

    ``r_t = pi / pi_old``. Source: Schulman et al. 2017, PPO (arXiv 1707.06347), equation 7.
    """
    ratio = live_ratio(log_probs, old_log_probs, batch.weights > 0)
    held = ratio.clamp(1 - clip, 1 + clip)
    gains = torch.minimum(ratio * batch.advantages, held * batch.advantages)
    return -(batch.weights * gains).sum(dim=1)
