"""Policy and value of an observation and a belief; actions are Gaussian or choices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from metarl.functional.distributions import Categorical, Distribution, Gaussian, bounded_log_std
from metarl.networks.layers import apply_layers, draw_layers
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class BeliefPolicy:
    """Perceptrons of policy and value, sharing no layer."""

    input_size: int  # size of an observation and a belief together
    action_size: int
    discrete: bool
    hidden_sizes: tuple[int, ...]
    tanh_mean: bool
    initial_std: float
    min_std: float
    max_std: float

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw orthogonal weights, small ones for actions (Andrychowicz et al. 2021, arXiv 2006.05990)."""
        sizes = (self.input_size, *self.hidden_sizes)
        params = {
            **draw_layers("policy", (*sizes, self.action_size), generator, last_gain=0.01, dtype=dtype),
            **draw_layers("value", (*sizes, 1), generator, last_gain=1.0, dtype=dtype),
        }
        if not self.discrete:
            params["log_std"] = torch.full((self.action_size,), math.log(self.initial_std), dtype=dtype)
        return params

    def __call__(self, params: Params, inputs: torch.Tensor) -> tuple[Distribution, torch.Tensor]:
        """Return action distribution and value for inputs ``[..., input_size]``."""
        values = apply_layers(params, "value", inputs, torch.tanh).squeeze(-1)
        chosen = apply_layers(params, "policy", inputs, torch.tanh)
        if self.discrete:
            return Categorical(chosen), values
        mean = torch.tanh(chosen) if self.tanh_mean else chosen
        return Gaussian(mean, self._log_std(params).expand_as(mean)), values

    def within_bounds(self, params: Params) -> Params:
        """Clip every deviation to its bounds; the policy acts as before."""
        return params if self.discrete else {**params, "log_std": self._log_std(params)}

    def _log_std(self, params: Params) -> torch.Tensor:
        return bounded_log_std(params["log_std"], self.min_std, self.max_std)
