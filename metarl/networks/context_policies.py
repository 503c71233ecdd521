"""Policy that reads a task's own context.

Source: Zintgraf et al. 2019, CAVIA (arXiv 1810.03642), section 3: the context parameters phi are concatenated
to the input of the first layer, start every task at zero, and are all that adapts; the weights are shared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from metarl.functional.distributions import Distribution
from metarl.networks.policies import CategoricalMLPPolicy, GaussianMLPPolicy, ObservationScale
from metarl.types import Params

CONTEXT = "context"  # name of the context parameter, [M, C]


@dataclass(frozen=True, kw_only=True)
class ContextPolicy:
    """Perceptron of ``[observation, context]``; the context is the same in every state."""

    network: GaussianMLPPolicy | CategoricalMLPPolicy  # reads O + C numbers, the context last
    context_size: int  # C

    @property
    def observation_size(self) -> int:
        """Numbers of an observation, O."""
        return self.network.observation_size - self.context_size

    def scaled(self, scale: ObservationScale | None) -> ContextPolicy:
        """Return the same policy for observations on a scale, or as they are; the context has none."""
        return replace(self, network=self.network.scaled(scale))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of shared parameters, without task axis."""
        return self.network.shapes

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw what tasks share, as the network does."""
        return self.network.initial_params(generator, dtype)

    def blank_context(self, params: Params, num_tasks: int) -> Params:
        """Return zero contexts, a leaf on ``params``'s device."""
        like = next(iter(params.values()))
        return {CONTEXT: like.new_zeros(num_tasks, self.context_size, requires_grad=True)}

    def __call__(self, params: Params, observations: torch.Tensor) -> Distribution:
        """Return tasks' action distributions for ``[M, B, O]``."""
        return self.network(self._folded(params), observations)

    def within_bounds(self, params: Params) -> Params:
        """Clip the network's parameters to their bounds."""
        return self.network.within_bounds(params)

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each layer's output for ``[M, B, O]``, mean or logits last."""
        return self.network.activations(self._folded(params), observations)

    def _folded(self, params: Params) -> Params:
        """Fold tasks' contexts into the first layer's bias."""
        weight, bias = params["layer_0.weight"], params["layer_0.bias"]
        split = weight.shape[1] - self.context_size
        # [s, phi] W + b = s W_s + (phi W_phi + b): the context moves the bias, once for all states
        moved = torch.baddbmm(bias.unsqueeze(1), params[CONTEXT].unsqueeze(1), weight[:, split:]).squeeze(1)
        return {**params, "layer_0.weight": weight[:, :split], "layer_0.bias": moved}
