"""Recurrent cells, as functions of their parameters: one step, or a sequence at once.

``gru`` is the gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) as PyTorch computes it. ``linear`` is
minGRU (Feng et al. 2024, arXiv 2410.01201, section 3.1): its gate and its candidate see the input alone, so a
sequence takes one matrix product for all of its steps and then only a recurrence of single numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch.nn.functional import linear

from metarl.errors import unknown_name
from metarl.networks.recurrent_scan import gated_layer
from metarl.networks.tanh_layer import fast_tanh
from metarl.types import Params


@dataclass(frozen=True)
class GRUCell:
    """Gated recurrent unit, one matrix product a step."""

    input_size: int
    size: int
    sequences_per_thread: ClassVar[int] = 12
    """Fewest sequences worth a thread: each step costs much beside its products."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter; gates in PyTorch's order: reset, update, candidate."""
        gates = 3 * self.size
        return {
            "cell.input_weight": (gates, self.input_size),
            "cell.memory_weight": (gates, self.size),
            "cell.input_bias": (gates,),
            "cell.memory_bias": (gates,),
        }

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw parameters uniformly within ``1 / sqrt(size)``, as PyTorch does."""
        return _uniform(self.shapes, 1 / math.sqrt(self.size), generator, dtype)

    def step(self, params: Params, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Return the memory ``[B, H]`` after inputs ``[B, I]``."""
        return torch.gru_cell(inputs, memory, *(params[name] for name in self.shapes))

    def sequence(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> torch.Tensor:
        """Return the memory after each step of a sequence, ``[T, B, H]``.

        Inputs are ``[T, B, I]``, time first, and the memory before the first step ``[B, H]``. Where ``live``,
        ``[T, B]``, is false, memory stays as it was.
        """
        weights = [params[name] for name in self.shapes]
        if bool(live.all()):
            # without idle steps, one call of the fused kernel does all
            after, _ = torch.gru(inputs, memory.unsqueeze(0), weights, True, 1, 0.0, False, False, False)
            return after
        states = []
        for step, alive in zip(inputs, live, strict=True):
            # idle slots keep their memory
            memory = torch.where(alive.unsqueeze(1), torch.gru_cell(step, memory, *weights), memory)
            states.append(memory)
        return torch.stack(states)


@dataclass(frozen=True)
class LinearCell:
    """minGRU: ``h_t = (1 - z_t) h_{t-1} + z_t tanh(c_t)``.

    The gate ``z``, a sigmoid, and the candidate ``c`` are linear in the input. The candidate is bounded by
    tanh, so the memory stays in -1..1 over trials of any length.
    """

    input_size: int
    size: int
    sequences_per_thread: ClassVar[int] = 1  # fewest sequences worth a thread: one long one

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, gate before candidate."""
        return {"cell.weight": (2 * self.size, self.input_size), "cell.bias": (2 * self.size,)}

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw weights within ``1 / sqrt(input_size)``, and gates that remember 1 to 100 steps.

        A gate of ``1 / n`` forgets over about n steps; n is spread evenly on a log scale (compare the
        time scales of Tallec and Ollivier 2018, arXiv 1804.11188).
        """
        params = _uniform(self.shapes, 1 / math.sqrt(self.input_size), generator, dtype)
        steps = 100 ** torch.rand(self.size, generator=generator, dtype=dtype)
        params["cell.bias"][: self.size] = -(steps - 1).clamp(min=1e-2).log()
        return params

    def step(self, params: Params, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Return the memory ``[B, H]`` after inputs ``[B, I]``."""
        gate, candidate = linear(inputs, params["cell.weight"], params["cell.bias"]).chunk(2, dim=-1)
        return torch.lerp(memory, fast_tanh(candidate), torch.sigmoid(gate))

    def sequence(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> torch.Tensor:
        """Return the memory after each step of a sequence, as :meth:`GRUCell.sequence`."""
        return gated_layer(params["cell.weight"], params["cell.bias"], inputs, memory, live)


Cell: TypeAlias = GRUCell | LinearCell  # memory of size numbers, which reads input_size numbers a step
CELLS: dict[str, type[Cell]] = {"gru": GRUCell, "linear": LinearCell}


def make_cell(name: str, input_size: int, size: int) -> Cell:
    """Return the cell of a name; an unknown one raises ``MetarlError``."""
    if name not in CELLS:
        raise unknown_name("recurrent cell", name, CELLS)
    return CELLS[name](input_size, size)


def _uniform(
    shapes: dict[str, tuple[int, ...]], bound: float, generator: torch.Generator, dtype: torch.dtype
) -> Params:
    return {
        name: torch.empty(shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
        for name, shape in shapes.items()
    }
