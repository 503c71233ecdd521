"""Chunks of trials, for truncated backpropagation through time.

Source: Williams and Peng 1990, Neural Computation 2(4). Gradients flow back to a chunk's first step only;
earlier steps reach it by its initial memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from metarl.learning.ppo import Experience
from metarl.system.threads import parallel_map


class Sequences(NamedTuple):
    """Whole trials of a meta-batch, or chunks of them, ``[S, B, ...]``."""

    features: torch.Tensor
    memory: torch.Tensor  # [B, H], before the first step
    acted: torch.Tensor  # mean or logits of the policy that acted, [S, B, A]
    experience: Experience


def in_chunks(
    trials: Sequences,
    steps: int,
    memories: Callable[[torch.Tensor], torch.Tensor],
    parts: Sequence[torch.Tensor],
) -> Sequences:
    """Cut trials into chunks of ``steps``, padded with zeros.

    Args:
        memories: memory after each step of some trials, ``[S, n, H]``, given their numbers ``[n]``.
        parts: numbers of all trials, in parts for threads.
    """
    chunks = -(-len(trials.features) // steps)

    @torch.no_grad()
    def starts(part: torch.Tensor) -> torch.Tensor:
        """Return the chunks' initial memories, ``[chunks, n, H]``."""
        # the memory before chunk c is that after its predecessor's last step
        after = memories(part)[steps - 1 :: steps][: chunks - 1]
        return torch.cat([trials.memory[part].unsqueeze(0), after])

    def cut(values: torch.Tensor) -> torch.Tensor:
        """Cut ``[S, B, ...]`` into ``[steps, chunks * B, ...]``."""
        filled = torch.cat([values, values.new_zeros(chunks * steps - len(values), *values.shape[1:])])
        return filled.view(chunks, steps, *values.shape[1:]).transpose(0, 1).flatten(1, 2)

    # the recurrence over whole trials is read once more, without a graph
    memory = torch.cat(parallel_map(starts, parts), dim=1).flatten(0, 1)
    experience = Experience(*(cut(part) for part in trials.experience))
    # a chunk after its trial's end has no step to learn from, nor may a minibatch be made of such alone
    used = experience.live.any(dim=0).nonzero().squeeze(1)
    return Sequences(
        cut(trials.features).index_select(1, used),
        memory[used],
        cut(trials.acted).index_select(1, used),
        experience.of_trials(used),
    )
