"""An LSTM as the inner optimiser, with the policy's parameters as its cell state.

Source: Ravi and Larochelle 2017, "Optimization as a model for few-shot learning", section 3 (openreview.net,
rJY0-Kcll). With theta a parameter and g its gradient, one step is

    theta_t = f_t * theta_{t-1} - i_t * g_t                   gradient descent, if f = 1 and i = inner_lr
    f_t = sigmoid(W_f [h_t, theta_{t-1}, f_{t-1}] + b_f)      the forget gate
    i_t = sigmoid(W_i [h_t, theta_{t-1}, i_{t-1}] + b_i)      the input gate
    h_t = LSTM([g_t, L_t], h_{t-1})                           g and the loss L log-scaled, see log_scaled

One set of weights serves all coordinates of all parameters of all tasks; its memory (h, the LSTM's
own cell, f and i) is each coordinate's own. The LSTM that gives h is the first of the paper's two layers, a
plain one; the second, with theta as its cell, is the update itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from metarl.functional.params import flatten_tasks, unflatten_tasks
from metarl.learning.adaptation import UpdateRule
from metarl.types import Params

LOG_SCALE = 10.0  # p of the log scaling: numbers below exp(-p) count as small

HIDDEN, CELL, GATES = "memory.hidden", "memory.cell", "memory.gates"
"""Names of the optimiser's memory between steps: ``[M, P, H]`` twice, and ``[M, P, 2]``."""


def log_scaled(values: torch.Tensor) -> torch.Tensor:
    """Return log size and sign of numbers ``[...]``, ``[..., 2]`` in about ±1.

    ``(log|x| / p, sign x)`` where ``|x| >= exp(-p)``, and ``(-1, exp(p) x)`` below.
    Source: Andrychowicz et al. 2016 (arXiv 1606.04474), appendix A.
    """
    size, least = values.abs(), math.exp(-LOG_SCALE)
    large = size >= least
    # the logarithm never sees a small number, so that the branch that is not taken has a finite slope
    logarithm = torch.where(large, size, torch.ones_like(size)).log() / LOG_SCALE
    first = torch.where(large, logarithm, -torch.ones_like(size))
    second = torch.where(large, values.sign(), values / least)
    return torch.stack([first, second], dim=-1)


@dataclass(frozen=True, kw_only=True)
class LSTMOptimizer:
    """Learned inner step; the caller holds its weights."""

    hidden_size: int = 20  # H, units of the first layer

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight."""
        size = self.hidden_size
        return {
            "lstm.gradient": (2, 4 * size),
            "lstm.loss": (2, 4 * size),
            "lstm.hidden": (size, 4 * size),
            "lstm.bias": (4 * size,),
            "gates.hidden": (size, 2),
            "gates.parameter": (2,),
            "gates.previous": (2,),
            "gates.bias": (2,),
        }

    def initial_weights(
        self,
        generator: torch.Generator,
        *,
        forget: float,
        inner_lr: float,
        dtype: torch.dtype = torch.float32,
    ) -> Params:
        """Draw weights for nearly gradient descent.

        Args:
            generator: where they are drawn from, uniform in ±0.01 as in the paper's own code.
            forget: forget gate at the start, just below one: so much of a parameter is kept.
            inner_lr: input gate at the start, below one: the step size.
        """
        weights = {name: torch.zeros(shape, dtype=dtype) for name, shape in self.shapes.items()}
        for value in weights.values():
            value.uniform_(-0.01, 0.01, generator=generator)
        logits = [math.log(gate / (1 - gate)) for gate in (forget, inner_lr)]
        return {**weights, "gates.bias": torch.tensor(logits, dtype=dtype)}

    def blank_memory(self, params: Params) -> Params:
        """Return zeros before the first step on stacked parameters ``[M, ...]``."""
        num_tasks = next(iter(params.values())).shape[0]
        like = next(iter(params.values()))
        coordinates = sum(value[0].numel() for value in params.values())
        sizes = {HIDDEN: self.hidden_size, CELL: self.hidden_size, GATES: 2}
        return {name: like.new_zeros(num_tasks, coordinates, size) for name, size in sizes.items()}

    def rule(self, weights: Params) -> UpdateRule:
        """Return the update rule, its memory apart."""

        def step(params: Params, gradients: Params, losses: torch.Tensor) -> Params:
            theta = {name: params[name] for name in gradients}
            memory = {name: params[name] for name in (HIDDEN, CELL, GATES)}
            slopes = flatten_tasks(gradients)
            memory = remember(weights, memory, flatten_tasks(theta), slopes, losses)
            forget, take = memory[GATES].unbind(dim=-1)
            # theta_t = f_t * theta_{t-1} - i_t * g_t
            return {**unflatten_tasks(forget * flatten_tasks(theta) - take * slopes, theta), **memory}

        return step


def remember(
    weights: Params, memory: Params, theta: torch.Tensor, slopes: torch.Tensor, losses: torch.Tensor
) -> Params:
    """Read one gradient; return new memory and gates.

    ``theta`` and ``slopes``, ``[M, P]``, are every parameter of every task and its gradient; ``losses``
    ``[M]``.
    """
    # [g, L, h] W + b; the term of the loss L is the same for all coordinates of a task
    shared = log_scaled(losses) @ weights["lstm.loss"] + weights["lstm.bias"]
    own = log_scaled(slopes) @ weights["lstm.gradient"] + memory[HIDDEN] @ weights["lstm.hidden"]
    take, keep, show, offered = (own + shared.unsqueeze(1)).chunk(4, dim=-1)
    cell = keep.sigmoid() * memory[CELL] + take.sigmoid() * offered.tanh()
    hidden = show.sigmoid() * cell.tanh()
    # forget and input gate side by side: [h, theta, the gate before] w + b
    gates = torch.sigmoid(
        hidden @ weights["gates.hidden"]
        + theta.unsqueeze(-1) * weights["gates.parameter"]
        + memory[GATES] * weights["gates.previous"]
        + weights["gates.bias"]
    )
    return {HIDDEN: hidden, CELL: cell, GATES: gates}
