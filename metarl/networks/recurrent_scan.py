"""The linear cell's recurrence over a whole sequence.

It is written for speed: few passes over memory, few operations, and the same bits whatever the number of
threads. On a CPU it is compiled C where there is a compiler, whose last bits are others than PyTorch's.
"""

from __future__ import annotations

import math

import torch

from metarl.networks import compiled_recurrence
from metarl.networks.tanh_layer import affine, minus_one


def gated_layer(
    weight: torch.Tensor, bias: torch.Tensor, inputs: torch.Tensor, start: torch.Tensor, live: torch.Tensor
) -> torch.Tensor:
    """Return all states of a gated average of what a layer reads.

    ``h_t = (1 - z_t) h_{t-1} + z_t tanh(c_t)`` with ``z_t = sigmoid(g_t)`` and ``[g_t, c_t] = W x_t + b``.

    Args:
        weight: ``[2 H, I]``, of gate and then candidate.
        bias: ``[2 H]``.
        inputs: ``[T, B, I]``, contiguous.
        start: ``[B, H]``, ``h_0``.
        live: ``[T, B]`` bool; where it is false, ``h_t = h_{t-1}``.

    Returns:
        ``[T, B, H]``. A gradient of a gradient is not available.
    """
    idle = None if bool(live.all()) else ~live.unsqueeze(-1)
    states: torch.Tensor = _GatedLayer.apply(weight, bias, inputs, start, idle)  # type: ignore[no-untyped-call]  # PyTorch's
    return states


def doubled_candidate(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a gated layer's weight and bias with those of the candidate doubled, for tanh by a sigmoid."""
    factors = torch.ones_like(bias)
    factors[len(bias) // 2 :] = 2
    return weight * factors.unsqueeze(1), bias * factors


def gate_and_candidate_(doubled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn ``[..., 2 H]``, the candidate doubled, in place into sigmoid and tanh; return these halves."""
    gate, candidate = doubled.sigmoid_().chunk(2, dim=-1)
    # tanh x = 2 sigmoid(2 x) - 1
    return gate, torch.add(minus_one(candidate), candidate, alpha=2, out=candidate)


def accumulate_(
    factors: torch.Tensor, values: torch.Tensor, start: torch.Tensor, *, reverse: bool = False
) -> torch.Tensor:
    """Replace values by states ``h_t = factors_t h_{t-1} + values_t``; the factors are spoilt.

    Time is cut into about sqrt(T) blocks. Steps of all blocks are taken at once, as if each began with zero;
    then each block gets its share of the true start (Blelloch 1990, "Prefix sums and their applications").
    That takes about 3 sqrt(T) operations instead of T, and divides by nothing.

    Args:
        factors: ``[T, ...]``, contiguous.
        values: ``[T, ...]``, contiguous; returned.
        start: ``[...]``, the state before the first step.
        reverse: go from the last step to the first: ``h_t = factors_t h_{t+1} + values_t``.
    """
    length = math.isqrt(len(values))
    blocks = len(values) // length
    cut = blocks * length
    block_factors = factors[:cut].view(blocks, length, *factors.shape[1:])
    block_values = values[:cut].view(blocks, length, *values.shape[1:])
    # 1. inside every block at once, as if each began with zero
    within = range(length - 2, -1, -1) if reverse else range(1, length)
    step = 1 if reverse else -1
    places, shares = block_values.unbind(1), block_factors.unbind(1)
    for place in within:
        places[place].addcmul_(shares[place], places[place + step])
        shares[place].mul_(shares[place + step])
    last = 0 if reverse else -1
    # 2. from block to block, h_end = end + share * h_start
    starts, carry = torch.empty_like(places[last]), start
    if reverse:
        carry = _one_by_one_(factors, values, carry, range(len(values) - 1, cut - 1, -1))
    whole = list(zip(places[last].unbind(), shares[last].unbind(), starts.unbind(), strict=True))
    for end, share, before in reversed(whole) if reverse else whole:
        before.copy_(carry)
        carry = torch.addcmul(end, share, carry)
    # 3. every step gets its share of the state before its block
    block_values.addcmul_(block_factors, starts.unsqueeze(1))
    if not reverse:
        _one_by_one_(factors, values, carry, range(cut, len(values)))
    return values


def _one_by_one_(
    factors: torch.Tensor, values: torch.Tensor, carry: torch.Tensor, steps: range
) -> torch.Tensor:
    """Take the steps that fill no block; return the last state."""
    for step in steps:
        carry = values[step].addcmul_(factors[step], carry)
    return carry


class _GatedLayer(torch.autograd.Function):
    """Recurrence and adjoint, in few passes over memory."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        weight: torch.Tensor,
        bias: torch.Tensor,
        inputs: torch.Tensor,
        start: torch.Tensor,
        idle: torch.Tensor | None,
    ) -> torch.Tensor:
        both = affine(*doubled_candidate(weight, bias), [inputs.flatten(0, 1)]).view(*inputs.shape[:2], -1)
        start = start.contiguous()
        if compiled_recurrence.serves(both):
            _hold_idle_(both.sigmoid_(), idle)
            states = compiled_recurrence.average(both, start)
        else:
            gate, candidate = gate_and_candidate_(both)
            _hold_idle_(both, idle)
            states = accumulate_(1 - gate, gate * candidate, start)
        ctx.save_for_backward(weight, inputs, both, start, states)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """Return gradients by the adjoint recurrence.

        With ``g_t = dL/dh_t`` from outside, the adjoint is ``a_t = g_t + (1 - z_{t+1}) a_{t+1}``.
        """
        weight, inputs, both, start, states = ctx.saved_tensors  # type: ignore[attr-defined]  # PyTorch adds it
        of_states = gradients[0].contiguous()
        backward = compiled_recurrence.gradients if compiled_recurrence.serves(both) else _gradients
        to_both, to_start = backward(both, start, states, of_states)
        to_both = to_both.flatten(0, 1)
        to_weight = torch.mm(inputs.flatten(0, 1).t(), to_both).t()
        return to_weight, to_both.sum(dim=0), torch.mm(to_both, weight).view_as(inputs), to_start, None


def _hold_idle_(both: torch.Tensor, idle: torch.Tensor | None) -> None:
    """Close the gates of idle steps, ``[T, B, 1]``."""
    if idle is not None:
        both[..., : both.shape[-1] // 2].masked_fill_(idle, 0.0)


def _gradients(
    both: torch.Tensor, start: torch.Tensor, states: torch.Tensor, of_states: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`.compiled_recurrence.gradients` returns, by PyTorch's operations."""
    gate, candidate = both.chunk(2, dim=-1)
    factors, one = torch.empty_like(states), gate.new_ones(())
    torch.sub(one, gate[1:], out=factors[:-1])
    factors[-1] = 0
    adjoint = of_states.clone()
    accumulate_(factors, adjoint, torch.zeros_like(start), reverse=True)
    to_start = (1 - gate[0]) * adjoint[0]
    # dh_t/dz_t = tanh(c_t) - h_{t-1};   dz/dgate = z (1 - z);   dh_t/dc_t = z_t (1 - tanh(c_t)^2)
    moved = torch.empty_like(states)
    torch.sub(candidate[0], start, out=moved[0])
    torch.sub(candidate[1:], states[:-1], out=moved[1:])
    to_both = torch.empty_like(both)
    to_gate, to_candidate = to_both.chunk(2, dim=-1)
    torch.ops.aten.sigmoid_backward(moved.mul_(adjoint), gate, grad_input=to_gate)
    torch.ops.aten.tanh_backward(adjoint.mul_(gate), candidate, grad_input=to_candidate)
    return to_both, to_start
