"""Recurrent cells that remember, as functions of their parameters: one step, or a sequence at once.

``gru`` is the gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) as PyTorch computes it. ``linear`` is
minGRU (Feng et al. 2024, arXiv 2410.01201, section 3.1): its gate and its candidate see the input alone, so a
sequence takes one matrix product for all of its steps and then only a recurrence of single numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch

from metarl.errors import unknown_name
from metarl.types import Params

CellName: TypeAlias = Literal["gru", "linear"]


class Cell(Protocol):
    """A memory of ``size`` numbers that reads ``input_size`` numbers a step."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        ...

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw parameters, each uniform within ``1 / sqrt(size)``, as PyTorch does."""
        ...

    def step(self, params: Params, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Return the memory ``[B, H]`` after reading inputs ``[B, I]``."""
        ...

    def sequence(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> torch.Tensor:
        """Return the memory after each step of a sequence.

        Args:
            params: by name.
            inputs: ``[T, B, I]``, time first.
            memory: ``[B, H]``, before the first step.
            live: ``[T, B]`` bool; where it is false, memory stays as it was.

        Returns:
            ``[T, B, H]``.
        """
        ...


@dataclass(frozen=True)
class GRUCell:
    """The gated recurrent unit, with one matrix product a step."""

    input_size: int
    size: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, gates in PyTorch's order: reset, update, candidate."""
        gates = 3 * self.size
        return {
            "cell.input_weight": (gates, self.input_size),
            "cell.memory_weight": (gates, self.size),
            "cell.input_bias": (gates,),
            "cell.memory_bias": (gates,),
        }

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw parameters, each uniform within ``1 / sqrt(size)``, as PyTorch does."""
        return _uniform(self.shapes, 1 / math.sqrt(self.size), generator, dtype)

    def step(self, params: Params, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Return the memory ``[B, H]`` after reading inputs ``[B, I]``."""
        return torch.gru_cell(inputs, memory, *(params[name] for name in self.shapes))

    def sequence(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> torch.Tensor:
        """Return the memory after each step, ``[T, B, H]``."""
        weights = [params[name] for name in self.shapes]
        if bool(live.all()):
            after, _ = torch.gru(inputs, memory.unsqueeze(0), weights, True, 1, 0.0, False, False, False)
            return after
        states = []
        for step, alive in zip(inputs, live, strict=True):
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

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, the gate before the candidate."""
        return {"cell.weight": (2 * self.size, self.input_size), "cell.bias": (2 * self.size,)}

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw weights within ``1 / sqrt(input_size)``, and gates for memories of 1 to 100 steps.

        A gate of ``1 / n`` forgets over about n steps; n is spread evenly on a log scale (compare the
        time scales of Tallec and Ollivier 2018, arXiv 1804.11188).
        """
        params = _uniform(self.shapes, 1 / math.sqrt(self.input_size), generator, dtype)
        steps = 100 ** torch.rand(self.size, generator=generator, dtype=dtype)
        params["cell.bias"][: self.size] = -(steps - 1).clamp(min=1e-2).log()
        return params

    def step(self, params: Params, inputs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Return the memory ``[B, H]`` after reading inputs ``[B, I]``."""
        keep, write = self._gates(params, inputs)
        return keep * memory + write

    def sequence(
        self, params: Params, inputs: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> torch.Tensor:
        """Return the memory after each step, ``[T, B, H]``."""
        keep, write = self._gates(params, inputs)
        alive = live.unsqueeze(-1)
        return linear_recurrence(keep.where(alive, 1.0), write.where(alive, 0.0), memory)

    def _gates(self, params: Params, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factor of the old memory, ``1 - z``, and what is added to it, ``z tanh(c)``."""
        both = torch.nn.functional.linear(inputs, params["cell.weight"], params["cell.bias"])
        gate, candidate = both.chunk(2, dim=-1)
        return torch.sigmoid(-gate), torch.sigmoid(gate) * torch.tanh(candidate)


def linear_recurrence(keep: torch.Tensor, write: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Return ``h_t = keep_t h_{t-1} + write_t`` for all t; gradients flow to all three arguments.

    Args:
        keep: ``[T, ...]``.
        write: ``[T, ...]``.
        start: ``[...]``, ``h_0``.

    Returns:
        ``[T, ...]``. A gradient of a gradient is not available.
    """
    states: torch.Tensor = _LinearRecurrence.apply(keep, write, start)  # type: ignore[no-untyped-call]  # PyTorch's
    return states


class _LinearRecurrence(torch.autograd.Function):
    """The loop and its adjoint, each a few operations a step instead of a graph node for each of them."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, keep: torch.Tensor, write: torch.Tensor, start: torch.Tensor
    ) -> torch.Tensor:
        states = write.contiguous().clone()
        previous = start
        for state, factor in zip(states, keep, strict=True):
            state.addcmul_(factor, previous)
            previous = state
        ctx.save_for_backward(keep, states, start)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """With ``g_t = dL/dh_t`` from outside, the adjoint is ``a_t = g_t + keep_{t+1} a_{t+1}``."""
        keep, states, start = ctx.saved_tensors  # type: ignore[attr-defined]  # PyTorch adds it
        adjoint = gradients[0].contiguous().clone()
        for step in range(len(keep) - 2, -1, -1):
            adjoint[step].addcmul_(keep[step + 1], adjoint[step + 1])
        before = torch.cat([start.unsqueeze(0), states[:-1]])
        return adjoint * before, adjoint, keep[0] * adjoint[0]


CELLS: dict[str, type[GRUCell] | type[LinearCell]] = {"gru": GRUCell, "linear": LinearCell}


def make_cell(name: str, input_size: int, size: int) -> Cell:
    """Return the cell of a name.

    Raises:
        MetarlError: if there is none of that name.
    """
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
