"""Policy and value with a memory; actions are Gaussian or choices.

The policy's head is a perceptron, or a hypernetwork: the memory generates the layers of a small policy that
reads the inputs (Beck et al. 2022, arXiv 2210.11348).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch

from metarl.functional.distributions import Categorical, Distribution, Gaussian, bounded_log_std
from metarl.networks.layers import apply_layer, draw_layer
from metarl.networks.recurrent import Cell, make_cell
from metarl.networks.tanh_layer import fast_tanh, separate_layers, tanh_layer
from metarl.types import Params

MEMORY = "memory"  # name of an actor's memory, [M, K, H]
HeadName: TypeAlias = Literal["perceptron", "hypernetwork"]


class Reading(NamedTuple):
    """Outputs of the network for steps or sequences."""

    policy: Distribution  # [..., A]
    values: torch.Tensor | None  # [...]; None if the network has no value


@dataclass(frozen=True, kw_only=True)
class RecurrentPolicy:
    """Embedding, recurrent cell, policy and value heads.

    The heads see the embedding beside the memory, so that what is seen now need not pass through the memory.
    """

    input_size: int
    action_size: int
    discrete: bool
    cell_name: str
    memory_size: int
    embedding_size: int
    head: HeadName
    head_size: int  # units of the layer that a hypernetwork generates; a perceptron's are memory_size
    has_value: bool
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
            **draw_layer("embedding", self.input_size, self.embedding_size, generator),
            **self.cell.initial_params(generator),
        }
        if self.head == "hypernetwork":
            params |= self._hypernetwork(generator)
        else:
            params |= draw_layer("policy_hidden", read, width, generator)
            # a small last layer makes the first actions nearly independent of the inputs
            params |= draw_layer("policy", width, self.action_size, generator, gain=0.01)
        if self.has_value:
            params |= draw_layer("value_hidden", read, width, generator)
            params |= draw_layer("value", width, 1, generator, gain=1.0)
        if not self.discrete:
            params["log_std"] = torch.full((self.action_size,), math.log(self.initial_std))
        return params

    def step(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor
    ) -> tuple[Reading, torch.Tensor]:
        """Read inputs ``[B, I]``; return outputs and memory ``[B, H]``."""
        embedded = self._embed(params, inputs)
        remembered = self.cell.step(params, embedded, memory)
        return self._read(params, inputs, embedded, remembered), remembered

    def sequence(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> Reading:
        """Return policy and values of each step, ``[T, B, ...]``, as :meth:`GRUCell.sequence` reads them."""
        embedded = self._embed(params, inputs)
        states = self.cell.sequence(params, embedded, memory, live)
        return self._read(params, inputs, embedded, states)

    def memories(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> torch.Tensor:
        """Return memories after each step, ``[T, B, H]``; arguments as in :meth:`sequence`."""
        return self.cell.sequence(params, self._embed(params, inputs), memory, live)

    def within_bounds(self, params: Params) -> Params:
        """Clip every deviation to its bounds; the policy acts as before."""
        return params if self.discrete else {**params, "log_std": self.log_std(params)}

    def distribution(self, params: Params, chosen: torch.Tensor) -> Distribution:
        """Return the distribution of means or logits."""
        if self.discrete:
            return Categorical(chosen)
        return Gaussian(chosen, self.log_std(params).expand_as(chosen))

    def _embed(self, params: Params, inputs: torch.Tensor) -> torch.Tensor:
        weight, bias = params["embedding.weight"], params["embedding.bias"]
        return tanh_layer(weight, bias, inputs.flatten(0, -2)).view(*inputs.shape[:-1], -1)

    def _read(
        self, params: Params, inputs: torch.Tensor, embedded: torch.Tensor, memory: torch.Tensor
    ) -> Reading:
        """Return policy and value from inputs, their embedding, and the memory after them, ``[..., H]``."""
        shape = inputs.shape[:-1]
        inputs, embedded, memory = (part.flatten(0, -2) for part in (inputs, embedded, memory))
        generated = self.head == "hypernetwork"
        heads = ([] if generated else ["policy"]) + (["value"] if self.has_value else [])
        outputs = self._outputs(params, heads, embedded, memory)
        chosen = self._generated(params, inputs, memory) if generated else outputs["policy"]
        mean = torch.tanh(chosen) if self.tanh_mean and not self.discrete else chosen
        values = outputs["value"].view(shape) if self.has_value else None
        return Reading(self.distribution(params, mean.view(*shape, -1)), values)

    def _outputs(
        self, params: Params, heads: list[str], embedded: torch.Tensor, memory: torch.Tensor
    ) -> Params:
        """Return each perceptron head's output, ``[N, units]``."""
        if not heads:
            return {}
        # one matrix product serves the hidden layers of all heads
        weight = torch.cat([params[f"{head}_hidden.weight"] for head in heads])
        bias = torch.cat([params[f"{head}_hidden.bias"] for head in heads])
        layers = [params[f"{head}.{part}"] for head in heads for part in ("weight", "bias")]
        outputs = separate_layers(tanh_layer(weight, bias, embedded, memory), *layers)
        return dict(zip(heads, outputs, strict=True))

    def _generated(self, params: Params, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Return means or logits ``[N, A]`` of the policies that memories ``[N, H]`` generate."""
        layers = apply_layer(params, "hyper", memory)
        inner, units, outer = self.input_size, self.head_size, self.action_size
        weight, bias, out_weight, out_bias = layers.split([inner * units, units, units * outer, outer], dim=1)
        hidden = torch.baddbmm(bias.unsqueeze(1), inputs.unsqueeze(1), weight.view(-1, inner, units))
        hidden = fast_tanh(hidden)
        return torch.baddbmm(out_bias.unsqueeze(1), hidden, out_weight.view(-1, units, outer)).squeeze(1)

    def _hypernetwork(self, generator: torch.Generator) -> Params:
        """Draw a hypernetwork of zero weights with a usual policy as its bias (Bias-HyperInit, section 4)."""
        hidden = draw_layer("hidden", self.input_size, self.head_size, generator)
        acting = draw_layer("acting", self.head_size, self.action_size, generator, gain=0.01)
        parts = [layer.t().reshape(-1) if layer.ndim == 2 else layer for layer in (hidden | acting).values()]
        bias = torch.cat(parts)
        return {"hyper.weight": torch.zeros(len(bias), self.memory_size), "hyper.bias": bias}

    def log_std(self, params: Params) -> torch.Tensor:
        """Return log deviations ``[A]`` within their bounds."""
        return bounded_log_std(params["log_std"], self.min_std, self.max_std)
