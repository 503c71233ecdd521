"""What a vector environment adds whose worlds live in a device's memory: steps that never leave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch


class TensorStep(NamedTuple):
    """What followed a step, on the environment's device."""

    observations: torch.Tensor
    """``[N, O]`` float32."""
    rewards: torch.Tensor
    """``[N]`` float32."""
    terminated: torch.Tensor
    """``[N]`` bool."""
    truncated: torch.Tensor
    """``[N]`` bool."""
    success: torch.Tensor | None
    """``[N]`` bool, whether the task is solved after this very step; None where the suite does not say."""


@runtime_checkable
class TensorVectorEnv(Protocol):
    """A :class:`~metarl.tasks.TaskVectorEnv` that speaks tensors too; ``isinstance`` tells which do.

    What is returned is a copy or never written again, and nothing here waits for the device.
    """

    @property
    def tensor_device(self) -> torch.device:
        """Where its tensors are."""
        ...

    def reset_tensors(
        self, mask: torch.Tensor | None = None, seeds: Sequence[int | None] | None = None
    ) -> torch.Tensor:
        """Start episodes in the slots that have a task, or in those of ``mask [N]``; return ``[N, O]``.

        Args:
            mask: which slots; None for all.
            seeds: of each slot, for what is random in its initial state; None goes on drawing.
        """
        ...

    def step_tensors(self, actions: torch.Tensor) -> TensorStep:
        """Step every live slot with actions ``[N, A]``."""
        ...
