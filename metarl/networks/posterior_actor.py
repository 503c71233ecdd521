"""Policy that draws a latent from a posterior over tasks, once for each episode.

Posterior sampling explores consistently over an episode (Rakelly et al. 2019, arXiv 1903.08254, section 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from metarl.functional.distributions import Gaussian
from metarl.functional.gaussian_products import Evidence, posterior
from metarl.functional.squashed_gaussian import squash
from metarl.meta_learner import Action, Inputs
from metarl.networks.off_policy import SquashedPolicy
from metarl.types import Params

LATENT = "latent"  # name of the latent z, [M, K, Z], in memory


class ActionRange(NamedTuple):
    """Map from actions in -1..1 to the suite's."""

    middle: torch.Tensor  # [A]
    half: torch.Tensor  # [A], half of the range

    def to_suite(self, actions: torch.Tensor) -> torch.Tensor:
        """Return actions ``[..., A]`` of the suite's space."""
        return torch.addcmul(self.middle, self.half, actions)

    def to_networks(self, actions: torch.Tensor) -> torch.Tensor:
        """Undo :meth:`to_suite`."""
        return ((actions - self.middle) / self.half).clamp(-1.0, 1.0)


@dataclass(frozen=True)
class PosteriorActor:
    """Policy for M tasks, with each task's posterior."""

    policy: SquashedPolicy
    params: Params
    actions: ActionRange
    evidence: Evidence  # [M, Z], of all experience so far
    seed: int  # of the draws of z

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.evidence.precision.device

    def initial_memory(self, episodes: int) -> Params:
        """Draw each episode's z, ``[M, K, Z]``, the same at each call."""
        belief = posterior(self.evidence)
        tasks, size = belief.mean.shape
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(tasks, episodes, size, generator=generator).to(self.device)
        return {LATENT: belief.mean.unsqueeze(1) + belief.log_std.exp().unsqueeze(1) * noise}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Draw actions given z, or the likeliest."""
        latents = memory[LATENT]
        if generator is None:
            latents = posterior(self.evidence).mean.unsqueeze(1).expand_as(latents)
        shape = latents.shape[:2]
        gaussian = self._before_tanh(inputs, latents)
        noise = torch.zeros_like(gaussian.mean)
        drawn = squash(gaussian, noise if generator is None else noise.normal_(generator=generator))
        # the density of a scaled action is that of the action over the product of scales
        log_probs = drawn.log_probs - self.actions.half.log().sum()
        actions = self.actions.to_suite(drawn.actions).view(*shape, -1)
        return Action(actions, log_probs.view(shape)), memory

    @torch.no_grad()
    def distribution(self, inputs: Inputs, memory: Params) -> Gaussian:
        """Return the Gaussian of actions before the tanh, ``[M, K, A]``.

        Divergences are those of the actions: the tanh is invertible.
        """
        gaussian = self._before_tanh(inputs, memory[LATENT])
        return Gaussian(*(part.view(*inputs.live.shape, -1) for part in gaussian))

    def _before_tanh(self, inputs: Inputs, latents: torch.Tensor) -> Gaussian:
        """Return the Gaussian ``[M * K, A]`` before the tanh."""
        return self.policy(self.params, torch.cat([inputs.observations, latents], dim=-1).flatten(0, 1))
