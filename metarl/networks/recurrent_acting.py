"""One step of a recurrent policy without gradients, as acting takes it many times.

Everything that the parameters alone decide is computed once: joined and doubled weights, deviations and the
density's constant. A step is then a dozen operations, where gradients would need four times as many.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from metarl.functional.distributions import log_prob, mode, sample
from metarl.networks.recurrent import GRUCell
from metarl.networks.recurrent_policy import RecurrentPolicy
from metarl.networks.recurrent_scan import doubled_candidate, gate_and_candidate_
from metarl.networks.tanh_layer import tanh_
from metarl.types import Params


class Choice(NamedTuple):
    """Outcome of a step of N slots."""

    actions: torch.Tensor  # [N, A]
    log_probs: torch.Tensor  # [N]
    distribution: torch.Tensor  # means or logits, [N, A]
    values: torch.Tensor | None  # [N]; None if the network has no value
    memory: torch.Tensor  # [N, H], after the step


class ActingPolicy:
    """A recurrent policy with fixed parameters, which acts; other parameters need another."""

    @torch.no_grad()
    def __init__(self, policy: RecurrentPolicy, params: Params) -> None:
        self._policy, self._params = policy, params
        self._is_fast = policy.head == "perceptron" and not policy.discrete
        if not self._is_fast:
            return
        # tanh x = 2 sigmoid(2 x) - 1: the weights of tanh units are doubled, which is exact
        self._embedding = 2 * params["embedding.weight"].t(), 2 * params["embedding.bias"]
        is_gru = isinstance(policy.cell, GRUCell)
        gates = None if is_gru else doubled_candidate(params["cell.weight"], params["cell.bias"])
        self._gates = gates and (gates[0].t(), gates[1])
        heads = ["policy", "value"] if policy.has_value else ["policy"]
        weight = 2 * torch.cat([params[f"{head}_hidden.weight"] for head in heads]).t()
        self._of_embedded, self._of_memory = weight.split([policy.embedding_size, policy.memory_size])
        self._bias = 2 * torch.cat([params[f"{head}_hidden.bias"] for head in heads])
        # each head reads its own part of the hidden layer
        self._head = torch.block_diag(*(params[f"{head}.weight"] for head in heads)).t()
        self._head_bias = torch.cat([params[f"{head}.bias"] for head in heads])
        log_std = policy.log_std(params)
        self._std, self._minus_half = log_std.exp(), torch.full_like(log_std, -0.5)
        self._density_at_mean = (-log_std.sum() - 0.5 * len(log_std) * math.log(2 * math.pi)).unsqueeze(0)

    def __call__(
        self, inputs: torch.Tensor, memory: torch.Tensor, generator: torch.Generator | None
    ) -> Choice:
        """Choose actions for ``[N, I]`` and memory ``[N, H]``, or the likeliest without a generator."""
        if not self._is_fast:
            (policy, values), memory = self._policy.step(self._params, inputs, memory)
            actions = mode(policy) if generator is None else sample(policy, generator)
            return Choice(actions, log_prob(policy, actions), policy[0], values, memory)
        weight, bias = self._embedding
        embedded = tanh_(torch.addmm(bias, inputs, weight))
        memory = self._remember(embedded, memory)
        hidden = tanh_(torch.addmm(self._bias, embedded, self._of_embedded).addmm_(memory, self._of_memory))
        outputs = torch.addmm(self._head_bias, hidden, self._head)
        size = self._policy.action_size
        mean, values = outputs.narrow(1, 0, size), outputs.select(1, size) if self._policy.has_value else None
        if self._policy.tanh_mean:
            mean.tanh_()
        if generator is None:
            log_probs = self._density_at_mean.expand(len(mean))
            return Choice(mean, log_probs, mean, values, memory)
        noise = torch.empty_like(mean).normal_(generator=generator)
        actions = torch.addcmul(mean, self._std, noise)
        # log p = -1/2 ((x - mu) / sigma)^2 - log sigma - 1/2 log 2 pi, and (x - mu) / sigma is the noise
        log_probs = torch.addmv(self._density_at_mean, noise.square_(), self._minus_half)
        return Choice(actions, log_probs, mean, values, memory)

    def _remember(self, embedded: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        if self._gates is None:
            return self._policy.cell.step(self._params, embedded, memory)
        weight, bias = self._gates
        gate, candidate = gate_and_candidate_(torch.addmm(bias, embedded, weight))
        return torch.lerp(memory, candidate, gate)
