"""A policy and a value with a memory, for Gaussian actions or for choices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import linear

from metarl.functional.distributions import Categorical, Distribution, Gaussian
from metarl.networks.recurrent import Cell, make_cell
from metarl.types import Params

MEMORY = "memory"
"""Name of the memory, ``[M, K, H]``, that an actor carries."""


class Reading(NamedTuple):
    """What the network makes of a step or of a sequence of them."""

    policy: Distribution
    """``[..., A]``."""
    values: torch.Tensor
    """``[...]``."""


@dataclass(frozen=True, kw_only=True)
class RecurrentPolicy:
    """An embedding, a recurrent cell, and two heads that read both: one acts, one values.

    The heads see the embedding beside the memory, so that what is seen now need not pass through the memory.
    """

    input_size: int
    action_size: int
    discrete: bool
    cell_name: str
    memory_size: int
    embedding_size: int
    tanh_mean: bool
    initial_std: float
    min_std: float
    max_std: float

    @property
    def cell(self) -> Cell:
        """The recurrent cell, which reads the embedding."""
        return make_cell(self.cell_name, self.embedding_size, self.memory_size)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw orthogonal weights, small ones for actions (Andrychowicz et al. 2021, arXiv 2006.05990)."""
        width, read = self.memory_size, self.memory_size + self.embedding_size
        params = {
            **_layer("embedding", self.input_size, self.embedding_size, math.sqrt(2), generator),
            **self.cell.initial_params(generator),
            **_layer("policy_hidden", read, width, math.sqrt(2), generator),
            **_layer("policy", width, self.action_size, 0.01, generator),
            **_layer("value_hidden", read, width, math.sqrt(2), generator),
            **_layer("value", width, 1, 1.0, generator),
        }
        if not self.discrete:
            params["log_std"] = torch.full((self.action_size,), math.log(self.initial_std))
        return params

    def embed(self, params: Params, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the cell and the heads read of inputs ``[..., input_size]``."""
        return torch.tanh(_apply(params, "embedding", inputs))

    def read(self, params: Params, embedded: torch.Tensor, memory: torch.Tensor) -> Reading:
        """Return actions' distribution and value from an embedding and the memory after it, ``[..., H]``."""
        both = torch.cat([embedded, memory], dim=-1)
        policy_hidden, value_hidden = (
            torch.tanh(_apply(params, f"{head}_hidden", both)) for head in ("policy", "value")
        )
        values = _apply(params, "value", value_hidden).squeeze(-1)
        chosen = _apply(params, "policy", policy_hidden)
        if self.discrete:
            return Reading(Categorical(chosen), values)
        mean = torch.tanh(chosen) if self.tanh_mean else chosen
        return Reading(Gaussian(mean, self._log_std(params).expand_as(mean)), values)

    def within_bounds(self, params: Params) -> Params:
        """Move every deviation into its bounds; the policy acts as before."""
        return params if self.discrete else {**params, "log_std": self._log_std(params)}

    def _log_std(self, params: Params) -> torch.Tensor:
        return params["log_std"].clamp(math.log(self.min_std), math.log(self.max_std))


def _layer(name: str, inputs: int, units: int, gain: float, generator: torch.Generator) -> Params:
    weight = torch.empty(units, inputs)
    torch.nn.init.orthogonal_(weight, gain, generator=generator)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(units)}


def _apply(params: Params, name: str, inputs: torch.Tensor) -> torch.Tensor:
    return linear(inputs, params[f"{name}.weight"], params[f"{name}.bias"])
