"""Task recognition from a few short trajectories.

windows         episodes as sequences of a few frames, for an encoder to read
task_prototypes one embedding for each task, the mean over its trajectories
condition       episodes with the task's prototype behind each observation, for a policy to learn from
Conditioned     an actor that acts by a policy of such observations
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from metarl.errors import MetarlError, require
from metarl.few_shot.classification import prototypes
from metarl.meta_learner import Action, Actor, Inputs
from metarl.types import Params, Rollout


def windows(rollout: Rollout, *, frames: int, size: int | None = None) -> torch.Tensor:
    """Return observations and actions, ``[M, K, frames, size + A]``.

    Frames are steps evenly spread from the first; steps past an episode's end are zero. Of each observation
    the first ``size`` entries are taken, or all.

    Raises:
        MetarlError: if there are fewer steps than frames, or fewer entries than ``size``.
    """
    steps, entries = rollout.observations.shape[-2:]
    size = entries if size is None else size
    require(1 <= frames <= steps, f"frames must lie in 1..{steps}", frames)
    require(0 <= size <= entries, f"size must lie in 0..{entries}", size)
    chosen = torch.linspace(0, steps - 1, frames, device=rollout.mask.device).round().long()
    return torch.cat([rollout.observations[..., chosen, :size], rollout.actions[..., chosen, :]], dim=-1)


def changes(examples: torch.Tensor, size: int) -> torch.Tensor:
    """Return windows ``[..., frames, F]`` relative to the first frame.

    Of each frame, the first ``size`` entries become differences from the first frame's.
    """
    moved = examples[..., :size] - examples[..., :1, :size]
    return torch.cat([moved, examples[..., size:]], dim=-1)


@torch.no_grad()
def task_prototypes(encoder: nn.Module, examples: torch.Tensor) -> torch.Tensor:
    """Return one embedding ``[M, E]`` for each task, of examples ``[M, k, frames, ...]``.

    These are :func:`windows` of k trajectories of each task. The encoder takes ``[B, frames, ...]`` to
    ``[B, E]``.
    """
    embeddings: torch.Tensor = encoder(examples.flatten(0, 1))
    return prototypes(embeddings.unflatten(0, examples.shape[:2]))


def condition(rollout: Rollout, context: torch.Tensor) -> Rollout:
    """Append tasks' contexts ``[M, E]`` to observations.

    Raises:
        MetarlError: if there is not one context for each task.
    """
    return replace(
        rollout,
        observations=_join(rollout.observations, context) * rollout.mask.unsqueeze(-1),
        final_observations=_join(rollout.final_observations, context),
    )


@dataclass(frozen=True)
class Conditioned:
    """An :class:`~metarl.meta_learner.Actor` that appends contexts to observations."""

    actor: Actor  # acts on observations ``[M, K, O + E]``
    context: torch.Tensor  # ``[M, E]``, each task's prototype for instance

    @property
    def device(self) -> torch.device:
        """Device of observations and actions."""
        return self.actor.device

    def initial_memory(self, episodes: int) -> Params:
        """Return the policy's memory at a trial's start."""
        return self.actor.initial_memory(episodes)

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose actions for observations ``[M, K, O]``."""
        seen = _join(inputs.observations, self.context)
        return self.actor.act(inputs._replace(observations=seen), memory, generator)


def _join(observations: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    tasks = observations.shape[0]
    if context.ndim != 2 or len(context) != tasks:
        raise MetarlError(f"Expected a context [{tasks}, E], one row a task, got {tuple(context.shape)}.")
    middle = [1] * (observations.ndim - 2)
    spread = context.to(observations).view(tasks, *middle, -1).expand(*observations.shape[:-1], -1)
    return torch.cat([observations, spread], dim=-1)
